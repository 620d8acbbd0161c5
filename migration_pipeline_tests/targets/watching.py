"""Lets a test see, and disturb, every call that goes to a back end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

Seen = Callable[[str], None]


def watched_connection(before: Seen, after: Seen) -> type[sqlite3.Connection]:
    """A connection class that tells of each statement by its first two words."""

    def named(statement: str) -> str:
        return " ".join(statement.split()[:3])

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *rest: Any) -> Any:
            before(named(statement))
            super().execute(statement, *rest)
            return self._told(statement)

        def executemany(self, statement: str, *rest: Any) -> Any:
            before(named(statement))
            super().executemany(statement, *rest)
            return self._told(statement)

        def _told(self, statement: str) -> Any:
            try:
                after(named(statement))
            except BaseException:
                self.close()  # the error's traceback holds it, and it holds its locks
                raise
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any, **__: Any) -> Any:
            return super().cursor(Cursor)

        def execute(self, statement: str, *rest: Any) -> Any:
            return self.cursor().execute(statement, *rest)

        def executemany(self, statement: str, *rest: Any) -> Any:
            return self.cursor().executemany(statement, *rest)

    return Connection


def watched_calls(target: Any, names: Iterable[str], before: Seen, after: Seen) -> None:
    """Does the same for methods of an object."""
    for name in names:
        setattr(target, name, _watched(name, getattr(target, name), before, after))


def _watched(name: str, call: Callable[..., Any], before: Seen, after: Seen) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        before(name)
        result = call(*arguments, **options)
        after(name)
        return result

    return watched


class WatchedObject:
    """Stands before an object, and tells of each call to one of its methods."""

    def __init__(self, own: Any, before: Seen, after: Seen) -> None:
        self._own, self._before, self._after = own, before, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._own, name)
        return _watched(name, found, self._before, self._after) if callable(found) else found
