"""Numbers and steps in operations: minfx.neptune_v2 sends texts for what JSON does not have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NOT_IN_JSON = {
    "NaN": math.nan,
    "PosInf": math.inf,
    "Infinity": math.inf,
    "NegInf": -math.inf,
    "-Infinity": -math.inf,
    "NegZero": -0.0,
}
"""What minfx.neptune_v2 sends, and what we answer with."""


def number_from(value: Any) -> float:
    """A float; `NaN(bits)` stands for a NaN of these bits. ValueError for what is no number."""
    if isinstance(value, str):
        if value in _NOT_IN_JSON:
            return _NOT_IN_JSON[value]
        if re.fullmatch(r"NaN\(\d+\)", value):
            return math.nan
        raise ValueError(f"{value!r} is not a number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def step_of(entry: Mapping[str, Any], last: float | None) -> float:
    """The step of a point; without one it follows the last by 1 (assumed)."""
    if entry.get("step") is None:
        return 0.0 if last is None else last + 1.0
    return number_from(entry["step"])


def refuse_late(path: str, late: list[float]) -> None:
    """ValueError when there are points whose step did not increase."""
    if late:
        raise ValueError(
            f"Steps of {path} must increase: {len(late)} points were skipped, the first at "
            f"step {late[0]:g}"
        )
