"""A sentence about progress at least every 10 seconds of work, and not much more often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

INTERVAL = 5.0
"""Seconds between two sentences, so that the next one comes before ten have passed."""


@contextmanager
def speaking(say: Callable[[str], None], sentence: Callable[[], str]) -> Iterator[None]:
    """Says the sentence of the moment every few seconds while the block runs.

    From a thread of its own, so that one long request or file does not mute it.
    """
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(INTERVAL):
            # Where it is said may be away for a while, such as a database; the work itself finds
            # out if it needs that, and the next sentence may be heard again.
            with suppress(Exception):
                say(sentence())

    thread = threading.Thread(target=speak, name="speaking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def still(say: Callable[[str], None], what: str) -> AbstractContextManager[None]:
    """Says every few seconds that something goes on, where there is nothing to count."""
    started = time.monotonic()
    return speaking(say, lambda: f"{what}: {time.monotonic() - started:.0f} s so far")


class Progress:
    """Counts runs, points and bytes, and speaks of them.

    Args:
        action: the verb, such as `export`.
        total: how many runs there are to do.
        say: takes a sentence.
    """

    def __init__(self, action: str, total: int, say: Callable[[str], None]) -> None:
        self.action, self.total = action, total
        self.done = self.failed = self.points = self.bytes = 0
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._speaking = speaking(say, self.sentence)

    def __enter__(self) -> Progress:
        self._speaking.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._speaking.__exit__(None, None, None)

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
