"""SQLite databases of trackers on this machine: how they are opened, and what their errors mean.

A wrapped connection class can be put in (`Opener.factory`), so that every statement that a target
sends can be seen.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migration_pipeline.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreNotWritableError,
    TargetRefusedError,
)

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
)
BUSY_SECONDS = 10.0
"""How long a statement waits for another process."""


@dataclass
class Opener:
    """Opens databases of one target.

    Args:
        target: its name, for messages.
        setting: the variable that says where it is, for messages.
    """

    target: str
    setting: str
    factory: type[sqlite3.Connection] = sqlite3.Connection

    def open(self, path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        """A connection without implicit transactions."""
        mode = "ro" if read_only else "rwc"
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            factory=self.factory,
            check_same_thread=False,
        )

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write, closed at the end; errors are ours."""
        with self.calls(path, "reading"):
            database = self.open(path, read_only=True)
            try:
                database.execute("BEGIN")  # all that is read is of one moment
                yield database
            finally:
                _close(database)

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[sqlite3.Connection]:
        """A connection for writing; an open transaction is undone at the end. Errors are ours."""
        with self.calls(path, "writing"):
            database = self.open(path)
            try:
                yield database
            finally:
                _close(database)

    @contextlib.contextmanager
    def calls(self, path: Path, action: str) -> Iterator[None]:
        """Turns errors of SQLite and of the file system into ours.

        Raises:
            StoreBusyError: another process holds the database.
            StoreNotWritableError: no space, no right, no folder.
            StoreDamagedError: it is no database.
            TargetRefusedError: anything else.
        """
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error, path, action) from error
        except OSError as error:
            said = error.strerror or str(error)
            shown = str(error.filename or path)
            raise StoreNotWritableError(self.target, shown, said, self.setting) from error

    def _error(self, error: sqlite3.Error, path: Path, action: str) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        said = str(error)
        if code in _BUSY:
            return StoreBusyError(self.target, str(path), said)
        if code in _DAMAGED:
            return StoreDamagedError(self.target, str(path), said)
        if code in _UNWRITABLE:
            return StoreNotWritableError(self.target, str(path), said, self.setting)
        return TargetRefusedError(
            f"target {self.target}: {action} {path}: {type(error).__name__}: {said}",
            "If the tracker's package was updated, go back to the tested version; else move the "
            "database away and load again.",
        )


def _close(database: sqlite3.Connection) -> None:
    """Ends a transaction before closing: a cursor that somebody still holds, such as the traceback
    of an error, would keep both open."""
    with contextlib.suppress(sqlite3.Error):
        database.rollback()
    database.close()


def sync(path: Path) -> None:
    """Makes sure that a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writable_folder(folder: Path, target: str, setting: str) -> None:
    """Checks that a folder is there and can be written, or can be made in the one above it.

    Raises:
        StoreNotWritableError: it cannot.
    """
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        reason = "it is not a folder" if place.exists() else f"there is no folder {place}"
        raise StoreNotWritableError(target, str(folder), reason, setting)
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreNotWritableError(target, str(place), "permission denied", setting)
