"""Times of the 2.x protocol: ISO 8601 in UTC, whatever zone this machine is in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    """A time as the server writes it. One without a zone is UTC, as in the client's tables."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def milliseconds(text: str) -> int:
    """The same in milliseconds since 1970, exactly."""
    return (utc(text) - _EPOCH) // timedelta(milliseconds=1)
