"""Minfx: a service that speaks Neptune's 2.x protocol, through minfx.neptune_v2."""

from __future__ import annotations

from migration_pipeline.targets.minfx.capabilities import CAPABILITIES
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.neptune2.client import Neptune2Target


class MinfxTarget(Neptune2Target):
    """See `targets.target.Target`."""

    def __init__(self, config: MinfxConfig) -> None:
        super().__init__(config.place, config.retry_seconds, CAPABILITIES)
