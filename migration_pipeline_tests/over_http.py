"""For Neptune's 2.x client in tests, which sends no token over http unless that is allowed.

A variable that a test sets alone does not do: the sources and targets of tests before it hold it,
too, and take it away when the last of them is collected, at whatever moment that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from migration_pipeline.plain_http import Pass


@contextmanager
def over_http() -> Iterator[None]:
    """It is allowed within the block."""
    held = Pass("http://127.0.0.1")
    yield
    del held
