"""What is noted of a run in a tracker's own SQLite database: who it is, how far its load came, what
its attributes are called there, and everything that the tracker's tables cannot hold.

All of it stands in tables that begin with `neptune_`, which the trackers neither read nor touch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from migration_pipeline import __version__
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.sidecar import loss_entries
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.targets.target import LoadState, TargetRun

MAPPING_VERSION = 1
"""Raised when runs that were loaded before should be loaded again."""
COMPLETE, LOADING = "complete", "loading"

TABLES = """
CREATE TABLE IF NOT EXISTS neptune_runs (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    run TEXT NOT NULL,
    state TEXT NOT NULL,
    tracker_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    step_decimals INTEGER NOT NULL,
    step_multiplier INTEGER NOT NULL,
    damage TEXT NOT NULL,
    losses TEXT NOT NULL,
    verified INTEGER NOT NULL,
    parent TEXT NOT NULL,
    sys_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    files TEXT NOT NULL,
    mapping_version INTEGER NOT NULL,
    written_by TEXT NOT NULL,
    UNIQUE (project, kind, run)
);
CREATE TABLE IF NOT EXISTS neptune_attributes (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    rows INTEGER NOT NULL,
    timeless INTEGER NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS neptune_values (
    run INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    again INTEGER NOT NULL,
    shown TEXT,
    value TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS neptune_values_run ON neptune_values (run);
CREATE TABLE IF NOT EXISTS neptune_points (
    run INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    shown,
    shown_time INTEGER,
    shown_bits INTEGER,
    step INTEGER,
    time INTEGER,
    bits INTEGER
);
CREATE INDEX IF NOT EXISTS neptune_points_run ON neptune_points (run, shown, attribute);
CREATE TABLE IF NOT EXISTS neptune_lines (
    run INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    shown,
    step INTEGER,
    time INTEGER,
    value TEXT
);
CREATE INDEX IF NOT EXISTS neptune_lines_run ON neptune_lines (run, attribute, shown);
CREATE TABLE IF NOT EXISTS neptune_files (
    run INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    step INTEGER,
    time INTEGER,
    content TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS neptune_files_run ON neptune_files (run);
"""
"""Steps in millionths, times in ms, values of points as the 64 bits of a double.

`shown` names what the tracker shows for a point that is not exactly it: a step, or the id of a row;
it is empty for a point that the tracker does not show at all. `content` is JSON: path within the
archived file ("" for itself) → where its bytes are; null for a row without a file.
"""
OF_RUN = (
    "neptune_attributes",
    "neptune_values",
    "neptune_points",
    "neptune_lines",
    "neptune_files",
)


@dataclass
class RunRecord:
    """A row of `neptune_runs`."""

    project: str
    kind: str
    run: str
    state: str
    tracker_id: str
    digest: str
    fingerprint: str
    step_decimals: int
    step_multiplier: int
    damage: str
    losses: str
    verified: int
    parent: str
    sys_id: str
    start: int
    """Stands for the time of points that have none, ms."""
    files: str
    """Where the run's files are, as the target wants it."""
    mapping_version: int = MAPPING_VERSION
    written_by: str = f"migration_pipeline {__version__}"
    id: int = 0

    @property
    def key(self) -> RunKey:
        return RunKey(self.project, self.run, self.kind)  # type: ignore[arg-type]

    def target_run(self) -> TargetRun:
        whole = self.state == COMPLETE and self.mapping_version == MAPPING_VERSION
        return TargetRun(
            LoadState.COMPLETE if whole else LoadState.PARTIAL,
            digest=self.digest,
            fingerprint=self.fingerprint,
            step_decimals=self.step_decimals,
            step_multiplier=self.step_multiplier,
            damaged=self.damage != "[]",
            verified=bool(self.verified),
            ids=(self.tracker_id,),
            parent=self.parent,
            sys_id=self.sys_id,
        )


_COLUMNS = [f.name for f in fields(RunRecord)]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM neptune_runs"


def record_of(scan: RunScan, tracker_id: str, files: str = "") -> RunRecord:
    """The record of a run whose load begins."""
    content, facts = scan.content, scan.facts
    return RunRecord(
        scan.key.project,
        scan.key.kind,
        scan.key.run,
        LOADING,
        tracker_id,
        content.digest,
        content.fingerprint,
        content.step_decimals,
        scan.mapping.step_multiplier,
        json.dumps(list(scan.run.damage)),
        "[]",
        0,
        facts.parent,
        facts.sys_id,
        scan.mapper.time_for_none,
        files,
    )


def insert(database: sqlite3.Connection, record: RunRecord) -> None:
    """Writes a new record; gives it its id."""
    values = asdict(record)
    names = [name for name in _COLUMNS if name != "id"]
    cursor = database.execute(
        f"INSERT INTO neptune_runs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        [values[name] for name in names],
    )
    record.id = int(cursor.lastrowid or 0)


def begin(database: sqlite3.Connection, key: RunKey) -> None:
    """Takes the mark of completion from a run that is loaded again."""
    database.execute(
        "UPDATE neptune_runs SET state = ? WHERE project = ? AND kind = ? AND run = ?",
        (LOADING, key.project, key.kind, key.run),
    )


def finish(database: sqlite3.Connection, record: RunRecord, losses: list[Loss]) -> None:
    """The mark of completion."""
    record.state = COMPLETE
    record.losses = json.dumps([e.model_dump() for e in loss_entries(losses)], ensure_ascii=False)
    database.execute(
        "UPDATE neptune_runs SET state = ?, losses = ? WHERE id = ?",
        (record.state, record.losses, record.id),
    )


def forget(database: sqlite3.Connection, record: RunRecord) -> None:
    """Removes all that is noted of a run."""
    for table in OF_RUN:
        database.execute(f"DELETE FROM {table} WHERE run = ?", (record.id,))
    database.execute("DELETE FROM neptune_runs WHERE id = ?", (record.id,))


def has_records(database: sqlite3.Connection) -> bool:
    found = database.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'neptune_runs'"
    ).fetchone()
    return found is not None


def all_records(database: sqlite3.Connection) -> Iterator[RunRecord]:
    if has_records(database):
        for row in database.execute(_SELECT):
            yield RunRecord(**dict(zip(_COLUMNS, row, strict=True)))


def find_record(database: sqlite3.Connection, key: RunKey) -> RunRecord | None:
    if not has_records(database):
        return None
    row = database.execute(
        f"{_SELECT} WHERE project = ? AND kind = ? AND run = ?", (key.project, key.kind, key.run)
    ).fetchone()
    return RunRecord(**dict(zip(_COLUMNS, row, strict=True))) if row else None


@dataclass(frozen=True)
class Named:
    """An attribute as it was loaded: a row of `neptune_attributes`."""

    number: int
    path: str
    type: str
    name: str
    rows: int
    timeless: bool


def attributes_of(database: sqlite3.Connection, record: RunRecord) -> list[Named]:
    rows: list[Any] = database.execute(
        "SELECT number, path, type, name, rows, timeless FROM neptune_attributes WHERE run = ?"
        " ORDER BY number",
        (record.id,),
    ).fetchall()
    return [
        Named(number, path, kind, name, count, bool(timeless))
        for number, path, kind, name, count, timeless in rows
    ]
