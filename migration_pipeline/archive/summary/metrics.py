"""Which float series a page draws: those that were asked for, else a few by a rule of thumb."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migration_pipeline.errors import InvalidRegexError

MOST_METRICS = 24
"""Drawn on a page at most."""
DEFAULT_METRICS = 4
_TELLING = re.compile(
    r"loss|acc|error|f1|auc|map|iou|dice|precision|recall|score|reward|return|perplexity|ppl|bleu"
    r"|rouge|wer|mae|mse|rmse|r2",
    re.IGNORECASE,
)
_OF_THE_MACHINE = re.compile(r"^(?:monitoring|sys|runtime|system)/")


@dataclass(frozen=True)
class Metrics:
    """What is drawn and why.

    Args:
        asked: somebody chose them; else the rule of thumb did.
        unmatched: what was asked for and no series matches.
        left_out: how many matched beyond `MOST_METRICS`.
    """

    paths: tuple[str, ...]
    asked: bool = False
    unmatched: tuple[str, ...] = ()
    left_out: int = 0


def choose(series: Iterable[tuple[str, int, int]], wanted: Sequence[str]) -> Metrics:
    """
    Args:
        series: path, runs, points of each float series, sorted by path. It is read once, and only
            what is chosen of it is kept.
        wanted: a name is a path, or a regular expression that is searched in paths when no path
            is called so. Empty: those that most runs have, telling names first; of the machine only
            when there are no others.

    Raises:
        InvalidRegexError: a name is neither a path nor a regular expression.
    """
    return _matching(series, wanted) if wanted else _telling(series)


def _telling(series: Iterable[tuple[str, int, int]]) -> Metrics:
    def rank(one: tuple[str, int, int]) -> tuple[bool, bool, int, int]:
        path, runs, points = one
        telling = _TELLING.search(path.rpartition("/")[2]) is not None
        return (_OF_THE_MACHINE.match(path) is not None, not telling, -runs, -points)

    best = [path for path, _, _ in heapq.nsmallest(DEFAULT_METRICS, series, key=rank)]
    trained = [path for path in best if not _OF_THE_MACHINE.match(path)]
    return Metrics(tuple(sorted(trained or best)))


class _Wanted:
    """A name, and the paths that it stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_path = False
        self.matching: list[str] = []
        self.why = ""
        self._pattern: re.Pattern[str] | None = None
        try:
            self._pattern = re.compile(name)
        except re.error as error:
            self.why = str(error)

    def look_at(self, path: str) -> None:
        if path == self.name:
            self.is_path = True
        elif not self.is_path and self._pattern and self._pattern.search(path):
            self.matching.append(path)

    def paths(self) -> list[str]:
        if self.why and not self.is_path:
            raise InvalidRegexError("metrics", self.name, self.why)
        return [self.name] if self.is_path else self.matching


def _matching(series: Iterable[tuple[str, int, int]], wanted: Sequence[str]) -> Metrics:
    names = [_Wanted(name) for name in wanted]
    for path, _, _ in series:
        for name in names:
            name.look_at(path)
    chosen = dict.fromkeys(path for name in names for path in name.paths())
    kept = tuple(chosen)[:MOST_METRICS]
    unmatched = tuple(name.name for name in names if not name.paths())
    return Metrics(kept, True, unmatched, len(chosen) - len(kept))
