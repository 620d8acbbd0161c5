"""A sentence about progress at least every 10 seconds of work, and not much more often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

INTERVAL = 5.0
"""Seconds between two sentences, so that the next one comes before ten have passed."""


class Progress:
    """Counts runs, points and bytes; speaks from a thread of its own, so long requests do not mute
    it.

    Args:
        action: the verb, such as `export`.
        total: how many runs there are to do.
        say: takes a sentence.
    """

    def __init__(self, action: str, total: int, say: Callable[[str], None]) -> None:
        self.action, self.total, self._say = action, total, say
        self.done = self.failed = self.points = self.bytes = 0
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def add(self, points: int = 0, size: int = 0) -> None:
        with self._lock:
            self.points += points
            self.bytes += size

    def run_done(self) -> None:
        with self._lock:
            self.done += 1

    def run_failed(self) -> None:
        with self._lock:
            self.failed += 1

    def sentence(self) -> str:
        elapsed = time.monotonic() - self._started
        finished = self.done + self.failed
        left = f"{elapsed / finished * (self.total - finished):.0f} s" if finished else "unknown"
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.action}: {self.done} of {self.total} runs{failed}, {self.points:,} points, "
            f"{self.bytes:,} bytes of files, {self.points / max(elapsed, 1e-3):,.0f} points/s, "
            f"time left {left}"
        )

    def _speak(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._say(self.sentence())
