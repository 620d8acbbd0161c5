"""Waiting as a server asks: one gate for all threads of a source.

Each vendor's client waits by itself after a Retry-After, thread by thread, while the other threads
go on asking. A gate that all requests pass holds them together.
"""

from __future__ import annotations

import email.utils
import threading
import time
from datetime import UTC, datetime


class Again(Exception):
    """What was tried may pass when it is tried again.

    Args:
        reason: what went wrong, as a clause.
        wait: seconds that the server asked for, where it did.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(reason)

    @staticmethod
    def when(error: Exception) -> bool | float:
        """stamina's hook: whether to try again, and after how long if the server said so."""
        if not isinstance(error, Again):
            return False
        return True if error.wait is None else error.wait


class Gate:
    """Holds every thread's next request while a Retry-After runs."""

    def __init__(self) -> None:
        self._open_at = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        while (left := self._open_at - time.monotonic()) > 0:
            time.sleep(left)

    def note(self, retry_after: str | None) -> float | None:
        """Closes the gate for a Retry-After header; returns its seconds, None without one."""
        if retry_after is None:
            return None
        seconds = _seconds(retry_after)
        with self._lock:
            self._open_at = max(self._open_at, time.monotonic() + seconds)
        return seconds


def _seconds(retry_after: str) -> float:
    """RFC 9110: a number of seconds, or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 1.0
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
