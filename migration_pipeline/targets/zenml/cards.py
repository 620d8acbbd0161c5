"""The cards of a model version: parameters and summaries of series as nested JSON, each small
enough for ZenML, as a person sees them on its page.

`a/b/c` is the value of c in b in a. A name whose beginning is a name itself cannot be nested; it
stands whole at the top, where no nested key has a slash. So joining the keys by slashes always
gives the name again, and what a card shows can be read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from migration_pipeline.mapping.points import Points
from migration_pipeline.mapping.values import float_from_json, float_json, from_text, to_text

Card = dict[str, Any]
_DEEPEST = 20
"""Slashes of a name that is nested; pydantic stops at some 200 levels."""
_PER_KEY = 8
"""Characters around a key of nested JSON: quotes, colon, braces, comma, spaces."""
_EXACT_IN_BROWSERS = 2**53
_COUNT = "count"


@dataclass
class CardWriter:
    """Collects the cards of one kind: `title`, or `title/000`, `title/001` … if one is too small.

    Args:
        names: all that will be added, to know which cannot be nested.
        put: takes a finished card.
    """

    title: str
    names: Collection[str]
    limit: int
    put: Callable[[str, Card], None]
    _card: Card = field(default_factory=dict)
    _size: int = 2
    _finished: int = 0

    def add(self, name: str, value: Any) -> None:
        """A value as `card_value` gives it, or a summary."""
        size = _length(name.split("/")) + len(json.dumps(value)) + _PER_KEY
        if self._card and self._size + size > self.limit:
            self._finish(f"{self.title}/{self._finished:03d}")
        self._size += size
        if _stays_whole(name, self.names):
            self._card[name] = value
            return
        card = self._card
        *parents, last = name.split("/")
        for parent in parents:
            card = card.setdefault(parent, {})
        card[last] = value

    def close(self) -> None:
        if self._card:
            several = f"{self.title}/{self._finished:03d}"
            self._finish(several if self._finished else self.title)

    def _finish(self, title: str) -> None:
        self.put(title, self._card)
        self._card, self._size = {}, 2
        self._finished += 1


def _length(keys: list[str]) -> int:
    return sum(len(json.dumps(key)) + _PER_KEY for key in keys)


def _stays_whole(name: str, names: Collection[str]) -> bool:
    if name.count("/") > _DEEPEST:
        return True
    at = name.find("/")
    while at >= 0:
        if name[:at] in names:
            return True
        at = name.find("/", at + 1)
    return False


def named_values(cards: Mapping[str, Any], title: str, summaries: bool = False) -> dict[str, Any]:
    """Name → value of all cards of one kind: what `CardWriter` was given.

    Args:
        summaries: the values are summaries, which are nested themselves.
    """
    found: dict[str, Any] = {}
    for key, card in cards.items():
        if (key == title or key.startswith(f"{title}/")) and isinstance(card, dict):
            found.update(_flat(card, summaries))
    return found


def _flat(card: Card, summaries: bool) -> Iterator[tuple[str, Any]]:
    for key, value in card.items():
        if isinstance(value, dict) and not (summaries and _is_summary(value)):
            yield from ((f"{key}/{rest}", leaf) for rest, leaf in _flat(value, summaries))
        else:
            yield key, value


def _is_summary(value: Card) -> bool:
    return _COUNT in value and not isinstance(value[_COUNT], dict)


def card_value(kind: str, value: Any) -> Any:
    """A parameter's value as JSON that a browser shows exactly.

    Args:
        kind: an attribute type of `PARAMETER_TYPES`.
        value: as in a `BATCH_SCHEMA` column; a datetime in ms since 1970 UTC.
    """
    if kind == "float":
        return float_json(value)
    if kind == "int" and abs(value) > _EXACT_IN_BROWSERS:
        return str(value)
    return to_text(kind, value) if kind == "datetime" else value


def value_of_card(kind: str, shown: Any) -> Any:
    """The inverse of `card_value`.

    Raises:
        ValueError: what is shown is not of that type.
    """
    allowed: tuple[type, ...] = {
        "float": (float, int, str),
        "int": (int, str),
        "bool": (bool,),
        "string_set": (list,),
    }.get(kind, (str,))
    if not isinstance(shown, allowed) or (isinstance(shown, bool) and kind != "bool"):
        raise ValueError(f"{shown!r} is not of type {kind}")
    if kind in ("float", "int", "datetime"):
        return from_text(kind, str(shown)) if kind != "float" else float_from_json(shown)
    return shown


@dataclass
class Summary:
    """Count, extremes and last value of a float series, filled batch by batch; NaN counts, and is
    an extreme only where there is nothing else."""

    count: int = 0
    low: float = np.nan
    high: float = np.nan
    last: float | None = None
    _last_step: int | None = None

    def update(self, points: Points) -> None:
        self.count += len(points)
        self.low = float(np.fmin(self.low, np.fmin.reduce(points.values)))
        self.high = float(np.fmax(self.high, np.fmax.reduce(points.values)))
        micros = np.where(points.no_step, np.iinfo(np.int64).min, points.micros)
        at = len(micros) - 1 - int(np.argmax(micros[::-1]))
        if self._last_step is None or micros[at] >= self._last_step:
            self._last_step = int(micros[at])
            self.last = None if points.no_value[at] else float(points.values[at])

    def shown(self) -> Card:
        """As it stands on a card; `last` is the value at the largest step."""
        return {
            _COUNT: self.count,
            "min": float_json(self.low),
            "max": float_json(self.high),
            "last": float_json(self.last),
        }
