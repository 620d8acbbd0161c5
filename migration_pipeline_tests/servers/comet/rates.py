"""Comet's rate limits: values of each kind in any window of a minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PUBLISHED = {"metric": 12_000, "parameter": 10_000, "other": 8_000}
"""Values a minute (D): other is whatever is neither."""


@dataclass
class Rates:
    """Sliding windows of one account; what is refused does not count.

    Args:
        most: kind → values in a window; a kind that is not there is not limited.
        window: seconds.
    """

    most: Mapping[str, int]
    window: float = 60.0
    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    """Requests that were answered with 429."""
    taken: list[tuple[float, str, int]] = field(default_factory=list)
    """(when, kind, values) of all that was taken."""
    _recent: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def wait_for(self, kind: str, values: int) -> float:
        """0 and the values are counted, or seconds until there is room for them."""
        if kind not in self.most:
            return 0.0
        now, recent = self.clock(), self._recent.setdefault(kind, deque())
        while recent and recent[0][0] <= now - self.window:
            recent.popleft()
        excess = sum(n for _, n in recent) + values - self.most[kind]
        if excess <= 0:
            recent.append((now, values))
            self.taken.append((now, kind, values))
            return 0.0
        self.refused += 1
        for when, n in recent:
            excess -= n
            if excess <= 0:
                return when + self.window - now
        return self.window

    def busiest(self, kind: str) -> int:
        """The most values of a kind in any window."""
        taken = [(when, n) for when, what, n in self.taken if what == kind]
        most = total = start = 0
        for when, n in taken:
            total += n
            while taken[start][0] <= when - self.window:
                total -= taken[start][1]
                start += 1
            most = max(most, total)
        return most
