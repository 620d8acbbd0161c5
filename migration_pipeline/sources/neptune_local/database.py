"""A copy of a 3.x client's database, and every row of it that can be read.

The client's own class is not used: it opens databases for writing, loads whole tables, and
unpickles errors. Of those only type and text are read here. The tables are those of
`neptune_scale.sync.operations_repository`, version 5.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_pipeline.archive.location import writing
from migration_pipeline.sources.copying import copy_readable
from migration_pipeline.sources.neptune_local.finding import DATABASE
from migration_pipeline.sources.neptune_local.salvage import Leaves, page_size

VERSION = "v5"
_BYTES, _ROWS = 4 * 1024 * 1024, 20_000
_OPERATIONS = (
    "SELECT sequence_id, operation_type, operation, operation_size_bytes FROM run_operations "
    "ORDER BY sequence_id"
)
Operation = tuple[int, int, bytes]
"""Number, type (0: snapshot, 1: creation of the run), message."""


@dataclass
class Database:
    """Use it as a context manager: the copy is removed at its end.

    Args:
        folder: of the client.
        scratch: where the copy goes.
        damage: what cannot be read, as clauses.
    """

    folder: Path
    scratch: Path
    damage: list[str] = field(default_factory=list)

    def __enter__(self) -> Database:
        with writing(self.scratch):
            self.scratch.mkdir(parents=True, exist_ok=True)
        self._copy = self.scratch / DATABASE
        self._connection: sqlite3.Connection | None = None
        for suffix in ("", "-wal"):  # of -shm nothing is needed: it is made of -wal
            try:
                read = self.folder.joinpath(DATABASE + suffix).open("rb", buffering=0)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.damage.append(f"{DATABASE}{suffix} cannot be read: {error.strerror}")
                continue
            target = self._copy.with_name(DATABASE + suffix)
            if stopped := copy_readable(read, target):
                whole = target.stat().st_size
                self.damage.append(
                    f"{DATABASE}{suffix} cannot be read beyond byte {whole}: {stopped.strerror}"
                )
        if self._copy.exists() and self._copy.stat().st_size:
            if lost := _cut_to_pages(self._copy):
                self.damage.append(f"{DATABASE} {lost}")
            self._connection = sqlite3.connect(self._copy, check_same_thread=False)
            self._connection.execute("PRAGMA trusted_schema = OFF")
            with contextlib.suppress(sqlite3.Error):
                # SQLite opens a database that is shorter than it says only so.
                self._connection.execute("PRAGMA writable_schema = ON")
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def metadata(self) -> tuple[str, str, str] | None:
        """Version, project and run id, where they can be read."""
        return next(
            (
                (str(version), str(project), str(run))
                for _, version, project, run in self._rows(
                    "SELECT id, version, project, run_id FROM metadata", (int, str, str, str)
                )
            ),
            None,
        )

    def uploads(self) -> dict[str, tuple[str, int]]:
        """Destination of a file → where it lay, and its size."""
        rows = self._rows(
            "SELECT id, source_path, destination, mime_type, size_bytes, is_temporary "
            "FROM file_upload_requests",
            (int, str, str, str, int, int),
        )
        return {str(row[2]): (str(row[1]), int(row[4])) for row in rows}

    def errors(self) -> list[str]:
        """What the client noted as failed: type and text."""
        rows = self._rows(
            "SELECT error_id, timestamp, error_type, error_details FROM operation_errors",
            (int, int, str, str),
        )
        return [f"{kind}: {str(said)[:200]}" for _, _, kind, said, *_ in rows]

    def first(self) -> Operation | None:
        """The first operation; None where it cannot be read."""
        try:
            return next(self._select_operations(), None)
        except sqlite3.Error:
            return next(self._leaves().operations(0), None)

    def operations(self) -> Iterator[list[Operation]]:
        """All operations in their order, some megabytes at a time."""
        last = 0
        try:
            for group in _groups(self._select_operations()):
                last = group[-1][0]
                yield group
            return
        except sqlite3.Error as error:
            self.damage.append(f"{DATABASE} is damaged after operation {last} ({error})")
        found = 0
        for group in _groups(self._leaves().operations(last)):
            found += len(group)
            last = group[-1][0]
            yield group
        if found:
            self.damage.append(f"{found} operations up to {last} were read past the damage")

    def _select_operations(self) -> Iterator[Operation]:
        for number, kind, message, size in self._select(_OPERATIONS):
            if not isinstance(message, bytes) or len(message) != size:
                raise sqlite3.DatabaseError(f"row {number} is none")
            yield number, kind, message

    def _select(self, query: str) -> Iterator[Any]:
        if self._connection is None:
            raise sqlite3.DatabaseError("it is not there, or is empty")
        return self._connection.execute(query)

    def _rows(self, query: str, types: tuple[type, ...]) -> list[tuple[Any, ...]]:
        """The rows of a small table; of a damaged one those that look like its."""
        try:
            return list(self._select(query))
        except sqlite3.Error as error:
            table = query.rpartition(" ")[2]
            self.damage.append(f"table {table} of {DATABASE} cannot be read as such ({error})")
            return list(self._leaves().rows(types))

    def _leaves(self) -> Leaves:
        return Leaves([self.folder / DATABASE, self.folder / f"{DATABASE}-wal"])


def _cut_to_pages(copy: Path) -> str:
    """Without what is left of a page that was cut: SQLite would read zeros for what is missing.

    Returns what is missing by the database's own header; empty: nothing.
    """
    size, there = page_size([copy]), copy.stat().st_size
    if not size:
        return f"is none: its {there} bytes have not the header of one"
    with writing(copy), copy.open("r+b") as opened:
        header = opened.read(100)
        opened.truncate(there // size * size)
    announced = int.from_bytes(header[28:32], "big") * size
    return f"was cut off: {there} of its {announced} bytes are there" if there < announced else ""


def _groups(rows: Iterator[Operation]) -> Iterator[list[Operation]]:
    group: list[Operation] = []
    size = 0
    try:
        for row in rows:
            group.append(row)
            size += len(row[2])
            if size >= _BYTES or len(group) >= _ROWS:
                yield group
                group, size = [], 0
    except sqlite3.Error:
        if group:
            yield group
        raise
    if group:
        yield group
