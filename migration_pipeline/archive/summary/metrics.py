"""Which float series a page draws: those that were asked for, else a few by a rule of thumb."""

from __future__ import annotations

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
        series: path, runs, points of each float series, sorted by path.
        wanted: a name is a path, or a regular expression that is searched in paths when no path
            is called so. Empty: those that most runs have, telling names first, none of hardware.

    Raises:
        InvalidRegexError: a name is neither a path nor a regular expression.
    """
    return _matching(list(series), wanted) if wanted else _telling(series)


def _telling(series: Iterable[tuple[str, int, int]]) -> Metrics:
    def rank(one: tuple[str, int, int]) -> tuple[bool, bool, int, int]:
        path, runs, points = one
        telling = _TELLING.search(path.rpartition("/")[2]) is not None
        return (_OF_THE_MACHINE.match(path) is not None, not telling, -runs, -points)

    best = sorted(series, key=rank)[:DEFAULT_METRICS]
    return Metrics(tuple(sorted(path for path, _, _ in best)))


def _matching(series: Sequence[tuple[str, int, int]], wanted: Sequence[str]) -> Metrics:
    paths = dict.fromkeys(path for path, _, _ in series)
    chosen: dict[str, None] = {}
    unmatched = []
    for name in wanted:
        found = [name] if name in paths else _search(name, paths)
        chosen |= dict.fromkeys(found)
        if not found:
            unmatched.append(name)
    kept = tuple(chosen)[:MOST_METRICS]
    return Metrics(kept, True, tuple(unmatched), len(chosen) - len(kept))


def _search(pattern: str, paths: Iterable[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidRegexError("metrics", pattern, str(error)) from error
    return [path for path in paths if compiled.search(path)]
