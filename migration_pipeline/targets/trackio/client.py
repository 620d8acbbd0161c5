"""Trackio as a target: finds, loads, reads back and marks runs in its local storage.

Trackio has one SQLite database a project. A run is found by an id that follows from its project and
its own id; who it is and how far its load came stands in a table of our own in the same database.
A run of usual size is one transaction, so nobody ever sees a part of it; a large one is several,
and is marked complete by the last.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import cut
from migration_pipeline.targets.local import records
from migration_pipeline.targets.local.records import RunRecord
from migration_pipeline.targets.local.sqlite import Opener, writable_folder
from migration_pipeline.targets.local.times import from_iso
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun
from migration_pipeline.targets.trackio.capabilities import CAPABILITIES, TESTED_SCHEMAS
from migration_pipeline.targets.trackio.config import TrackioConfig
from migration_pipeline.targets.trackio.naming import artifact_name, project_name, run_id
from migration_pipeline.targets.trackio.package import (
    WriteLock,
    make_tables,
    remove_artifact,
    storage,
    untested,
)
from migration_pipeline.targets.trackio.reading import TrackioReader, config_of, number
from migration_pipeline.targets.trackio.writing import TrackioSender, blob_path

_SETTING = "TRACKIO_DIR"
_TRANSACTION_BYTES = 256 * 1024 * 1024
"""Of rows, after which a transaction ends: others wait that long to write."""


class TrackioTarget:
    """See `targets.target.Target`."""

    name = "trackio"
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, config: TrackioConfig) -> None:
        self._folder = config.folder.absolute()
        self._made_by_us = not config.directory
        self._opener = Opener(self.name, _SETTING)
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return str(self._folder)

    def check(self) -> None:
        storage()
        with self._opener.calls(self._folder, "looking at"):
            if self._made_by_us:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
            writable_folder(self._folder, self.name, _SETTING)

    def has_store(self) -> bool:
        with self._opener.calls(self._folder, "looking at"):
            return self._folder.is_dir()

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        path = self._path(project, mapping)
        if not self._exists(path):
            return {}
        with self._opener.reading(path) as database:
            return {
                record.key: record.target_run()
                for record in records.all_records(database)
                if record.project == project
            }

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        path = self._path(key.project, mapping)
        if not self._exists(path):
            return TargetRun(LoadState.ABSENT)
        with self._opener.reading(path) as database:
            record = records.find_record(database, key)
        return record.target_run() if record else TargetRun(LoadState.ABSENT)

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key = scan.key
        path = self._path(key.project, mapping)
        record = records.record_of(scan, run_id(key))
        with (
            self._writing(path) as work,
            tempfile.TemporaryDirectory(prefix="migration-") as scratch,
        ):
            former = self._begin(work.database, record)
            blobs = self._blobs(path)
            sender = TrackioSender(
                work.database, scan, record, Path(scratch), meter, blobs, work.pause
            )
            report = sender.send()
            sender.finish()
            records.finish(work.database, record, report.losses)
            work.database.execute("COMMIT")
            self._forget_blobs(work.database, blobs, former)
        return report

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        with self._one(key, mapping) as (database, record):
            blobs = self._blobs(self._path(key.project, mapping))
            yield from TrackioReader(database, record, into, attributes, blobs).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        with self._one(key, mapping) as (database, record):
            shown = config_of(database, record)
            named = {(a.path, a.type): a.name for a in records.attributes_of(database, record)}
        about: dict[str, Any] = shown.get("neptune") or {}

        def config(path: str, kind: str = "string") -> Any:
            return shown.get(named.get((path, kind), ""))

        step = config("sys/forking/step", "float")
        return RunFacts(
            name=about.get("run", ""),
            start=_time(shown.get("_Created")),
            end=_time(about.get("ended")),
            failed=about.get("status") == "failed",
            tags=tuple(config("sys/tags", "string_set") or ()),
            group_tags=tuple(config("sys/group_tags", "string_set") or ()),
            description=config("sys/description") or "",
            owner=shown.get("_Username") or "",
            parent=about.get("forked_from") or "",
            experiment=shown.get("_Group") or "",
            sys_id=config("sys/id") or "",
            fork_step=None if step is None else number(step),
        )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        can = self.capabilities
        limit, kept = can.parameter_max_length, can.beside
        return replace(facts, description=cut(facts.description, limit, kept))

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        with self._opener.writing(self._path(key.project, mapping)) as database, self._lock:
            database.execute(
                "UPDATE neptune_runs SET verified = ? WHERE project = ? AND kind = ? AND run = ?",
                (int(verified), key.project, key.kind, key.run),
            )

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        path = self._path(key.project, mapping)
        if not self._exists(path):
            return
        with self._writing(path) as work:
            former = self._remove(work.database, key)
            work.database.execute("COMMIT")
            self._forget_blobs(work.database, self._blobs(path), former)

    # --- places ---------------------------------------------------------------------------------

    def _path(self, project: str, mapping: ProjectMapping) -> Path:
        return self._folder / f"{project_name(project, mapping)}.db"

    def _blobs(self, path: Path) -> Path:
        """trackio/cas.py _project_blobs_root"""
        return self._folder / "artifacts" / path.stem / "blobs" / "sha256"

    def _exists(self, path: Path) -> bool:
        with self._opener.calls(path, "looking at"):
            return path.exists()

    @contextlib.contextmanager
    def _one(
        self, key: RunKey, mapping: ProjectMapping
    ) -> Iterator[tuple[sqlite3.Connection, RunRecord]]:
        path = self._path(key.project, mapping)
        missing = TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )
        if not self._exists(path):
            raise missing
        with self._opener.reading(path) as database:
            record = records.find_record(database, key)
            if record is None:
                raise missing
            _check_version(database, path)
            yield database, record

    # --- writing --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[_Work]:
        """The project's database within a transaction, with Trackio's lock held."""
        self.check()
        with self._lock, self._opener.calls(path, "writing"):
            self._folder.mkdir(exist_ok=True)
            if not path.exists():
                make_tables(path)
        lock = WriteLock(path)
        with self._lock, self._opener.writing(path) as database, lock.held():
            if _version(database) == 0:  # begun by a process that was stopped
                lock.release()
                make_tables(path)
                lock.take()
            _check_version(database, path)
            database.execute("PRAGMA journal_mode = WAL")
            # After a power cut the last transactions may be gone, in order: the mark first.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 16000")
            database.execute("PRAGMA cache_size = -32000")
            if not records.has_records(database):
                database.executescript(records.TABLES)
            database.execute("BEGIN IMMEDIATE")
            yield _Work(database, lock)

    def _begin(self, database: sqlite3.Connection, record: RunRecord) -> set[str]:
        """Notes that a run is being loaded, for all to see, and begins with nothing of it; returns
        the digests of the files that it had."""
        if records.find_record(database, record.key) is None:
            records.insert(database, record)
        else:
            records.begin(database, record.key)
        database.execute("COMMIT")
        database.execute("BEGIN IMMEDIATE")
        former = self._remove(database, record.key)
        records.insert(database, record)
        return former

    def _remove(self, database: sqlite3.Connection, key: RunKey) -> set[str]:
        """Removes all of a run; returns the digests of its files."""
        former = records.find_record(database, key)
        if former is None:
            return set()
        digests = {
            entry["digest"]
            for (manifest,) in database.execute(
                "SELECT v.manifest FROM artifact_versions v JOIN artifacts a"
                " ON a.id = v.artifact_id WHERE a.name = ?",
                (artifact_name(key),),
            )
            for entry in json.loads(manifest)
        }
        remove_artifact(database, artifact_name(key))
        for table in ("metrics", "configs"):
            database.execute(f"DELETE FROM {table} WHERE run_id = ?", (former.tracker_id,))
        records.forget(database, former)
        return digests

    def _forget_blobs(self, database: sqlite3.Connection, blobs: Path, digests: set[str]) -> None:
        """Removes files that no artifact names any more."""
        if not digests:
            return
        for (manifest,) in database.execute("SELECT manifest FROM artifact_versions"):
            digests -= {entry["digest"] for entry in json.loads(manifest)}
        for digest in digests:
            blob_path(blobs, digest).unlink(missing_ok=True)


@dataclass
class _Work:
    """A transaction that may be ended and begun anew."""

    database: sqlite3.Connection
    lock: WriteLock
    _bytes: int = 0

    def pause(self, size: int) -> None:
        """After many bytes: ends the transaction, lets others write, begins another."""
        self._bytes += size
        if self._bytes > _TRANSACTION_BYTES:
            self._bytes = 0
            self.database.execute("COMMIT")
            self.lock.release()
            self.lock.take()
            self.database.execute("BEGIN IMMEDIATE")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    if (found := _version(database)) not in TESTED_SCHEMAS:
        raise untested(str(path), found)


def _time(text: str | None) -> int | None:
    return from_iso(text) if text else None
