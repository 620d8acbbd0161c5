"""Keeps what is sent below a rate, whatever window of a minute one looks at.

Values count from before their request leaves until a minute after its answer came, so that the
server, which counts them somewhere in between, never sees more than it takes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator


class Pace:
    """One kind of values; used by several threads.

    Args:
        most: values in a window.
        seconds: the window.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        most: int,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._most, self._seconds = most, seconds
        self._clock, self._sleep = clock, sleep
        self._sent: deque[tuple[float, int]] = deque()
        self._under_way = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def room(self, values: int) -> Iterator[None]:
        """Waits until so many values may be sent, which the block does."""
        while (wait := self._take(values)) > 0:
            self._sleep(wait)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= values
                self._sent.append((self._clock(), values))

    def _take(self, values: int) -> float:
        """0 when there is room, which is then taken; or seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            while self._sent and self._sent[0][0] <= now - self._seconds:
                self._sent.popleft()
            excess = sum(n for _, n in self._sent) + self._under_way + values - self._most
            # More than a whole window goes alone.
            if excess <= 0 or not (self._sent or self._under_way):
                self._under_way += values
                return 0.0
            for when, n in self._sent:
                excess -= n
                if excess <= 0:
                    # A clock's last digit must not bring it back too early.
                    return when + self._seconds - now + 1e-6
            return 0.01
