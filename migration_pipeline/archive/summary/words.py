"""How figures are written for people and programs."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np

_IN_MARKDOWN = re.compile(r"([\\`*\[\]<>|~$])")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")


def step(value: Decimal | int | None) -> str | None:
    """All digits, no exponent, no trailing zeros."""
    return None if value is None else f"{Decimal(value).normalize():f}"


def time(milliseconds: Decimal | int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds; any year."""
    if milliseconds is None:
        return None
    return str(np.datetime_as_string(np.datetime64(int(milliseconds), "ms"), timezone="UTC"))


def size(count: int) -> str:
    """`12.3 MB`, in powers of ten."""
    number, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "bytes" else f"{number:.3g} {units[0]}"


def between(least: str | None, most: str | None) -> str:
    """A range in words; `–` for none."""
    if least is None or most is None:
        return "–"
    return least if least == most else f"{least} to {most}"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line, also within a table."""
    return _IN_MARKDOWN.sub(r"\\\1", _BREAKS.sub(" ", text))
