"""How fast points are sent."""

from __future__ import annotations

import threading
import time


class Pace:
    """Lets one request through in a while; for all threads together."""

    def __init__(self, per_second: float) -> None:
        self._apart = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._apart
        if turn > now:
            time.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """The service asked for silence; that goes for all threads."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
