"""Times as text, as trackers written in Python have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999
"""ms since 1970: the years 1 to 9999, beyond which Python has no dates."""


def iso(time: int | None) -> str:
    """ms since 1970 as Python writes times, with a zone; empty for none, and where it has none."""
    if time is None:
        return ""
    try:
        return (_EPOCH + timedelta(milliseconds=time)).isoformat()
    except OverflowError:
        return ""


def from_iso(text: str) -> int:
    """The inverse of `iso`.

    Raises:
        ValueError: it is no time.
    """
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
