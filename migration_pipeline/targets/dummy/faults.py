"""A store whose calls fail now and then, as trackers do."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from migration_pipeline.errors import TargetRefusedError, TargetUnavailableError
from migration_pipeline.targets.dummy.store import CALLS, Store

Fate = Literal["refused", "fails before", "fails after", "passes"]
_REMEDY = "It was made to, by its settings; set MIGRATION_DUMMY_REFUSAL_RATE to 0 to be rid of it."


@dataclass(frozen=True)
class Rates:
    """Call → share of it that fails for a moment, or is refused for good."""

    failing: Mapping[str, float]
    refused: Mapping[str, float]

    def fate(self, call: str, drawn: float) -> Fate:
        """
        Args:
            drawn: 0 to 1.
        """
        refused, failing = self.refused.get(call, 0.0), self.failing.get(call, 0.0)
        if drawn < refused:
            return "refused"
        if drawn < refused + failing / 2:
            return "fails before"
        return "fails after" if drawn < refused + failing else "passes"


class UnreliableStore:
    """Stands before a store. A call may do its work and fail after it, as where an answer is lost.

    Args:
        seed: the same one fails the same calls of a load that makes them in the same order; None:
            chance.
    """

    def __init__(self, store: Store, rates: Rates, seed: int | None) -> None:
        self._store, self._rates = store, rates
        # How often it was opened counts, or a step that is repeated by a new process would meet
        # the same failure for ever.
        chance = seed is None
        self._random = random.Random() if chance else random.Random(f"{seed}/{store.opened()}")
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in CALLS:
            return method

        def call(*arguments: Any) -> Any:
            with self._lock:
                fate = self._rates.fate(name, self._random.random())
            if fate == "refused":
                raise TargetRefusedError(
                    f"target dummy at {self._store.root} refuses the call `{name}`", _REMEDY
                )
            if fate == "fails before":
                raise self._away(name)
            result = method(*arguments)
            if fate == "fails after":
                raise self._away(name)
            return result

        return call

    def _away(self, name: str) -> TargetUnavailableError:
        reason = f"the call `{name}` failed, as it was made to"
        return TargetUnavailableError("dummy", str(self._store.root), reason)
