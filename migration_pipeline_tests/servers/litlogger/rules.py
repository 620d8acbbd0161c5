"""What the service refuses. Every refusal has the form of its gateway: code, message, details."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

import orjson

from migration_pipeline_tests.servers.litlogger.state import Values

KEY_LENGTH = 255
VALUE_LENGTH = 1000
NAME_LENGTH = 64
BODY_BYTES = 4 * 1024 * 1024
PHASES = ("RUNNING", "COMPLETED", "FAILED")
MEDIA_TYPES = ("MEDIA_TYPE_IMAGE", "MEDIA_TYPE_TEXT", "MEDIA_TYPE_VIDEO")
_SHORTEST = len("2026-01-01T00:00:00Z")
_USUAL = len("2026-01-01T00:00:00.000Z")
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 413: 8, 429: 8, 501: 12}


class Refused(Exception):
    """Answered with this status."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        self.status, self.message, self.retry_after = status, message, retry_after
        super().__init__(message)

    @property
    def body(self) -> dict[str, Any]:
        return {"code": _CODES.get(self.status, 2), "message": self.message, "details": []}


def parsed(body: bytes) -> dict[str, Any]:
    """JSON as the standard has it: NaN and infinities are no numbers there."""
    if len(body) > BODY_BYTES:
        raise Refused(413, f"received message larger than max ({len(body)} vs. {BODY_BYTES})")
    try:
        said = orjson.loads(body or b"{}")
    except ValueError as error:
        raise Refused(400, f"invalid JSON: {error}") from None
    if not isinstance(said, dict):
        raise Refused(400, "not an object")
    return said


def metrics(body: dict[str, Any], step: bool, created_at: bool) -> list[tuple[str, Values]]:
    """The series of one request; `step`, `created_at`: whether the stream keeps them."""
    found: list[tuple[str, Values]] = []
    for metric in _list(body, "metrics"):
        name = key(metric.get("name"))
        if any(name == other for other, _ in found):
            raise Refused(400, f"duplicate metric {name!r}")
        values = _list(metric, "values")
        found.append((name, _values(values, step, created_at)))
    return found


def _values(said: list[dict[str, Any]], keep_step: bool, keep_time: bool) -> Values:
    """Column by column, and what is usual fast."""
    numbers = [one.get("value", 0.0) for one in said]
    steps: list[Any] = [one.get("step") for one in said]
    times: list[Any] = [one.get("createdAt") for one in said]
    if not {*map(type, numbers)} <= {float, int}:
        bad = next(n for n in numbers if type(n) not in (float, int))
        raise Refused(400, f"invalid value for double field value: {bad!r}")
    return Values(
        _steps(steps) if keep_step else [0] * len(_steps(steps)),
        _times(times) if keep_time else [None] * len(_times(times)),
        [*map(float, numbers)],
    )


def _steps(said: list[Any]) -> list[int]:
    if {*map(type, said)} == {str}:
        with contextlib.suppress(ValueError):
            whole = [*map(int, said)]
            if min(whole) >= -(2**63) and max(whole) < 2**63:
                return whole
    return [*map(int64, said)]


def _times(said: list[Any]) -> list[str | None]:
    if {*map(type, said)} == {str} and {*map(len, said)} == {_USUAL}:
        text, count = "".join(said), len(said)
        if text[10::_USUAL] == "T" * count and text[_USUAL - 1 :: _USUAL] == "Z" * count:
            with contextlib.suppress(ValueError):
                [*map(datetime.fromisoformat, said)]
                return said
    return [*map(timestamp, said)]


def int64(said: Any) -> int:
    """A whole number, or the text of one; nothing is 0."""
    try:
        number = int(said) if isinstance(said, str) else 0 if said is None else said
    except ValueError:
        number = None
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise Refused(400, f"invalid value for int64 field step: {said!r}")
    return number


def timestamp(said: Any) -> str | None:
    """RFC 3339 with a zone, years 1 to 9999, as the service says it again."""
    if said is None:
        return None
    try:
        time = datetime.fromisoformat(said)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None or len(said) < _SHORTEST or said[10] != "T":
        raise Refused(400, f"invalid google.protobuf.Timestamp value {said!r}")
    return f"{said[:-6]}Z" if said.endswith("+00:00") else str(said)


def key(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise Refused(400, "a name is needed")
    if len(name) > KEY_LENGTH:
        raise Refused(400, f"name longer than {KEY_LENGTH}: {name[:40]!r}")
    if any(not c.isprintable() for c in name):
        raise Refused(400, f"invalid name {name!r}")
    return name


def tags(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Names once, values text."""
    seen: set[str] = set()
    for tag in _list(body, "tags"):
        name, value = key(tag.get("name")), tag.get("value", "")
        if name in seen:
            raise Refused(400, f"duplicate tag {name!r}")
        seen.add(name)
        if not isinstance(value, str):
            raise Refused(400, f"invalid value for string field value: {value!r}")
        if len(value) > VALUE_LENGTH or "\0" in value:
            raise Refused(400, f"invalid value of tag {name!r}")
    return [
        {
            "name": tag["name"],
            "value": tag.get("value", ""),
            "fromCode": bool(tag.get("fromCode")),
            "active": bool(tag.get("active")),
        }
        for tag in _list(body, "tags")
    ]


def experiment_name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > NAME_LENGTH:
        raise Refused(400, f"invalid name {str(name)[:80]!r}: 1 to {NAME_LENGTH} characters")
    return name


def _list(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = body.get(name) or []
    if not isinstance(found, list) or not {*map(type, found)} <= {dict}:
        raise Refused(400, f"invalid value for field {name}")
    return found
