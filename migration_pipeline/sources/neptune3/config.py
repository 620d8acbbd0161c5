"""Settings of the Neptune 3.x source."""

from __future__ import annotations

from migration_pipeline.sources.neptune import NeptuneConfig


class Neptune3Config(NeptuneConfig):
    """What every Neptune source is told."""
