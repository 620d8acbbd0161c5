"""What is used of the trackio package: its tables, its lock, its way to note an artifact.

Trackio reads its folder once, when it is imported. Its functions are led to ours for the time of a
call, so that two targets in one process do not meet.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from migration_pipeline.errors import StoreBusyError, UntestedStoreError
from migration_pipeline.targets.trackio.capabilities import TESTED_SCHEMAS

_one_at_a_time = threading.Lock()


@functools.cache
def storage() -> Any:
    """The module trackio.sqlite_storage.

    Raises:
        UntestedStoreError: the installed package has tables of another version.
    """
    from trackio import sqlite_storage

    if sqlite_storage.SCHEMA_VERSION not in TESTED_SCHEMAS:
        raise untested("the installed trackio", sqlite_storage.SCHEMA_VERSION)
    return sqlite_storage


def untested(where: str, found: object) -> UntestedStoreError:
    tested = ", ".join(map(str, TESTED_SCHEMAS))
    return UntestedStoreError("trackio", where, found, tested, "trackio")


def make_tables(database: Path) -> None:
    """Trackio's own tables, in a new file or in one that has them already."""
    module = storage()
    with _one_at_a_time:
        before = module.TRACKIO_DIR
        module.TRACKIO_DIR = database.parent
        try:
            module.SQLiteStorage.init_db(database.stem)
        finally:
            module.TRACKIO_DIR = before


class WriteLock:
    """Trackio's lock between processes that write to one project."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: AbstractContextManager[Any] | None = None

    def take(self) -> None:
        """Waits up to ten seconds, as Trackio does.

        Raises:
            StoreBusyError: another process holds it.
        """
        lock = storage().ProcessLock(self._database.with_suffix(".lock"))
        try:
            lock.__enter__()
        except OSError as error:
            if error.filename is None:
                raise StoreBusyError("trackio", str(self._database), str(error)) from error
            raise
        self._held = lock

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self.take()
        try:
            yield
        finally:
            self.release()


def note_artifact(
    database: sqlite3.Connection,
    name: str,
    description: str,
    manifest: list[dict[str, Any]],
    run_id: str,
    run_name: str,
    when: str,
) -> None:
    """Makes an artifact that a run put out; `manifest` has path, digest (sha256) and size."""
    known = storage().SQLiteStorage
    rows = database.row_factory
    database.row_factory = sqlite3.Row
    try:
        number = known._create_or_get_artifact_cursor(database, name, "neptune", description, when)
        version, _, _ = known._insert_artifact_version_cursor(
            database, number, manifest, None, run_id, run_name, when
        )
        known._reassign_alias_cursor(database, number, "latest", version)
        known._insert_run_artifact_link_cursor(database, run_name, run_id, version, "output", when)
    finally:
        database.row_factory = rows


def remove_artifact(database: sqlite3.Connection, name: str) -> None:
    """Removes an artifact and all that names it; its bytes stay."""
    versions = "(SELECT v.id FROM artifact_versions v JOIN artifacts a ON a.id = v.artifact_id" \
               " WHERE a.name = ?)"  # fmt: skip
    database.execute(
        f"DELETE FROM run_artifact_links WHERE artifact_version_id IN {versions}", (name,)
    )
    database.execute(
        f"DELETE FROM artifact_aliases WHERE artifact_version_id IN {versions}", (name,)
    )
    database.execute(f"DELETE FROM artifact_versions WHERE id IN {versions}", (name,))
    database.execute("DELETE FROM artifacts WHERE name = ?", (name,))
