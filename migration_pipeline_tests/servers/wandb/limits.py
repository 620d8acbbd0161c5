"""How many requests of GraphQL the W&B stand-in takes: so many in a window of time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field


@dataclass
class Window:
    """The service's limit for a user (D); the numbers are those of a plan.

    Args:
        requests: that pass in a window.
        seconds: how long a window is, from its first request on.
        retry_after: whether a refusal has that header, too; the others are the documented ones (D).
        kept: of each window, how many requests passed and how many were refused.
    """

    requests: int
    seconds: float
    retry_after: bool = False
    kept: list[list[int]] = field(default_factory=list)
    _ends: float = -math.inf

    def take(self) -> tuple[bool, dict[str, str]]:
        """Whether a request passes, and the headers of its answer."""
        now = time.monotonic()
        if now >= self._ends:
            self._ends = now + self.seconds
            self.kept.append([0, 0])
        counts = self.kept[-1]
        passes = counts[0] < self.requests
        counts[0 if passes else 1] += 1
        left = 1000 * (self.requests - counts[0]) // self.requests
        headers = {"RateLimit-Limit": "1000", "RateLimit-Remaining": str(left)}
        headers["RateLimit-Reset"] = f"{self._ends - now + 0.001:.3f}"
        if self.retry_after and not passes:
            headers["Retry-After"] = headers["RateLimit-Reset"]
        return passes, headers
