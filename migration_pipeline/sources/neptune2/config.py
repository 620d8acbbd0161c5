"""Settings of the Neptune 2.x source."""

from __future__ import annotations

from migration_pipeline.sources.neptune import NeptuneConfig


class Neptune2Config(NeptuneConfig):
    """What every Neptune source is told."""
