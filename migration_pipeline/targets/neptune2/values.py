"""Values of attributes as the server tells them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from migration_pipeline.targets.neptune2.numbers import decoded


class Moment(int):
    """A time, ms since 1970: told apart from a whole number."""


def attributes_of(attributes: Any) -> Collection[dict[str, Any]]:
    """A newer server keys them by an id of theirs (searching_entries.py to_leaderboard_entry)."""
    return attributes.values() if isinstance(attributes, dict) else attributes


def values_of(attributes: Any) -> dict[str, Any]:
    """Path → value of those that have a single one."""
    found = {}
    for one in attributes_of(attributes):
        value = value_of(one)
        if value is not None:
            found[one["name"]] = value
    return found


def value_of(attribute: dict[str, Any]) -> Any:
    """The value of an attribute as the server tells it; None where it has no single one."""
    kind = attribute["type"]
    properties = attribute.get(f"{kind}Properties") or {}
    if kind == "stringSet":
        return list(properties.get("values") or ())
    value = properties.get("value")
    if value is None or kind not in ("float", "int", "bool", "string", "datetime"):
        return None
    if kind == "float":
        return decoded(value)
    if kind == "datetime":
        return Moment(_milliseconds(value))
    return value


def _milliseconds(text: str) -> int:
    """`2023-11-14T22:13:20.123Z`, exactly; Python's own floats are not."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1000 + moment.microsecond // 1000
