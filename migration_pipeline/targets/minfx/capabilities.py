"""What Minfx can hold: what its protocol says, with what minfx 0.7.4 says of its own service."""

from __future__ import annotations

from migration_pipeline.targets.neptune2.capabilities import CAPABILITIES as _CAPABILITIES

CAPABILITIES = _CAPABILITIES
