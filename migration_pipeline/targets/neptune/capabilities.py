"""What a server of Neptune 2.x can hold, as far as its client `neptune` 1.14 sends it."""

from __future__ import annotations

from migration_pipeline.targets.neptune2.capabilities import CAPABILITIES as _CAPABILITIES

CAPABILITIES = _CAPABILITIES.model_copy(
    update={
        # internal/types/utils.py is_unsupported_float: floats and series of them leave these out
        "nan": False,
        "infinity": False,
        # types/series/string_series.py MAX_STRING_SERIES_VALUE_LENGTH
        "text_point_max_length": 1_000,
        "assumed": ("key_max_length", "monotonic_steps", "negative_zero", "parameter_nul"),
    }
)
