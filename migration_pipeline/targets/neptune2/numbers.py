"""Doubles in JSON: the protocol's words for what JSON does not have, and what comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_WORDS = {"NaN": math.nan, "PosInf": math.inf, "NegInf": -math.inf, "NegZero": -0.0}


def encoded(value: float) -> float | str:
    """As minfx sends it (operation_api_object_converter.py encode_float_for_json)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "PosInf" if value > 0 else "NegInf"
    if value == 0 and math.copysign(1.0, value) < 0:
        return "NegZero"
    return value


def all_encoded(values: npt.NDArray[np.float64]) -> list[float | str]:
    """The same of many; most often none is odd."""
    plain: list[float | str] = values.tolist()
    odd = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
    for at in np.flatnonzero(odd).tolist():
        plain[at] = encoded(float(values[at]))
    return plain


def decoded(value: Any) -> float:
    """A double as a server tells it; it may have words of its own.

    Raises:
        ValueError, TypeError: it is none.
    """
    if isinstance(value, bool):
        raise TypeError("a truth value is no number")
    if isinstance(value, str):
        if value.startswith("NaN("):
            return math.nan
        return _WORDS[value] if value in _WORDS else float(value)
    return float(value)
