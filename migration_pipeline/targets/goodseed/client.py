"""GoodSeed as a target: finds, loads, reads back and marks runs in its local storage.

GoodSeed has one SQLite file a run, `projects/<project>/runs/<run>.sqlite`, and its server shows all
that lie there. A run is written under another name, looked through, synced and renamed: what has
the name is whole. Who a run is and what it was loaded from stands in tables of our own in its file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import MigrationError, TargetRefusedError, UntestedStoreError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.targets.goodseed.capabilities import CAPABILITIES, TESTED_SCHEMAS
from migration_pipeline.targets.goodseed.config import GoodseedConfig
from migration_pipeline.targets.goodseed.naming import (
    loading_path,
    project_folder,
    run_id,
    shown_name,
)
from migration_pipeline.targets.goodseed.reading import OWN, GoodseedReader
from migration_pipeline.targets.goodseed.writing import GoodseedSender
from migration_pipeline.targets.local import records
from migration_pipeline.targets.local.records import RunRecord
from migration_pipeline.targets.local.sqlite import Opener, sync, writable_folder
from migration_pipeline.targets.local.times import from_iso, iso
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun

_SETTING = "GOODSEED_HOME"


class GoodseedTarget:
    """See `targets.target.Target`."""

    name = "goodseed"
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, config: GoodseedConfig) -> None:
        self._home = config.folder.absolute()
        self._opener = Opener(self.name, _SETTING)

    @property
    def address(self) -> str:
        return str(self._home)

    def check(self) -> None:
        _schema()
        with self._opener.calls(self._home, "looking at"):
            writable_folder(self._home, self.name, _SETTING)

    def has_store(self) -> bool:
        with self._opener.calls(self._home, "looking at"):
            return (self._home / "projects").is_dir()

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        folder = self._runs_folder(project, mapping)
        found: dict[RunKey, TargetRun] = {}
        with self._opener.calls(folder, "listing"):
            names = sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []
        for name in names:
            if name.endswith(".sqlite.loading"):
                record = self._begun(folder / name)
            elif name.endswith(".sqlite"):
                record = self._record(folder / name)
            else:
                continue
            if record is not None and record.project == project:
                # Names of files that are written begin with a dot, so whole ones come later.
                found[record.key] = record.target_run()
        return found

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        path = self._path(key, mapping)
        record = self._record(path) if self._exists(path) else None
        if record is not None and record.key == key:
            return record.target_run()
        begun = loading_path(path)
        if self._exists(begun):
            return TargetRun(LoadState.PARTIAL, ids=(run_id(key),))
        return TargetRun(LoadState.ABSENT)

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key = scan.key
        schema, path = _schema(), self._path(key, mapping)
        self._not_anothers(key, path)
        begun = loading_path(path)
        record = records.record_of(scan, run_id(key), self._free_files(path))
        files = self._files_folder(key, mapping) / record.files
        with self._opener.calls(path, "writing"):
            writable_folder(self._home, self.name, _SETTING)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(begun)
            shutil.rmtree(files, ignore_errors=True)
            files.mkdir(parents=True)
        with self._opener.writing(begun) as database:
            _unsafe_and_fast(database)
            schema(database)
            database.executescript(records.TABLES)
            records.insert(database, record)
            database.execute("BEGIN")
            sender = GoodseedSender(database, scan, record, files, meter)
            report = sender.send()
            self._meta(database, scan, path, sender)
            records.finish(database, record, report.losses)
            self._look_through(database, path, sender)
            database.execute("COMMIT")
        self._publish(begun, path, files)
        return report

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        with self._one(key, mapping) as (database, record):
            folder = self._files_folder(key, mapping) / record.files
            yield from GoodseedReader(database, record, into, attributes, folder).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        with self._one(key, mapping) as (database, record):
            meta = dict(database.execute("SELECT key, value FROM run_meta").fetchall())
            names = {
                (a.path, a.type): a.name for a in records.attributes_of(database, record)
                if a.path.startswith("sys/")
            }  # fmt: skip

            def config(path: str, kind: str = "string") -> str:
                row = database.execute(
                    "SELECT value FROM configs WHERE path = ?", (names.get((path, kind)),)
                ).fetchone()
                return row[0] if row else ""

            step = config("sys/forking/step", "float")
            return RunFacts(
                name=meta.get("neptune_run", ""),
                start=_time(meta.get("created_at")),
                end=_time(meta.get("closed_at")),
                failed=meta.get("status") == "failed",
                tags=parse_tags(config("sys/tags", "string_set")),
                group_tags=parse_tags(config("sys/group_tags", "string_set")),
                description=config("sys/description"),
                owner=config("sys/owner"),
                parent=meta.get("neptune_parent", ""),
                experiment=config("sys/name"),
                sys_id=config("sys/id"),
                fork_step=float(step) if step else None,
            )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        return facts

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        path = self._path(key, mapping)
        with self._opener.writing(path) as database:
            database.execute("UPDATE neptune_runs SET verified = ?", (int(verified),))

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        path = self._path(key, mapping)
        self._not_anothers(key, path)
        with self._opener.calls(path, "removing"):
            _remove(path)
            _remove(loading_path(path))
            shutil.rmtree(self._files_folder(key, mapping), ignore_errors=True)

    # --- places ---------------------------------------------------------------------------------

    def _runs_folder(self, project: str, mapping: ProjectMapping) -> Path:
        return self._home / "projects" / project_folder(project, mapping) / "runs"

    def _path(self, key: RunKey, mapping: ProjectMapping) -> Path:
        return self._runs_folder(key.project, mapping) / f"{run_id(key)}.sqlite"

    def _files_folder(self, key: RunKey, mapping: ProjectMapping) -> Path:
        """Outside of `projects`: GoodSeed takes any `runs/*.sqlite` below that for a run."""
        return self._home / "files" / project_folder(key.project, mapping) / run_id(key)

    def _exists(self, path: Path) -> bool:
        with self._opener.calls(path, "looking at"):
            return path.exists()

    def _free_files(self, path: Path) -> str:
        """A folder that the run's present file does not use: that one stays whole meanwhile."""
        record = self._record(path) if self._exists(path) else None
        return "1" if record is None or record.files != "1" else "2"

    # --- finding --------------------------------------------------------------------------------

    def _record(self, path: Path) -> RunRecord | None:
        """The record in a run's file; None for a run that GoodSeed itself wrote."""
        with self._opener.reading(path) as database:
            return next(records.all_records(database), None)

    def _begun(self, path: Path) -> RunRecord | None:
        """The record of a run whose writing was interrupted, if it can be read still."""
        try:
            record = self._record(path)
        except MigrationError:
            return None
        if record is not None:
            record.state = records.LOADING
        return record

    def _not_anothers(self, key: RunKey, path: Path) -> None:
        if not self._exists(path):
            return
        record = self._record(path)
        if record is None or record.key != key:
            owner = "a run that GoodSeed wrote" if record is None else f"run {record.key}"
            raise TargetRefusedError(
                f"target goodseed: {path} is the file of {owner}, so run {key} cannot have it",
                "Move it away, or set MIGRATION_NAME_PREFIX to load into another project.",
            )

    @contextlib.contextmanager
    def _one(
        self, key: RunKey, mapping: ProjectMapping
    ) -> Iterator[tuple[sqlite3.Connection, RunRecord]]:
        path = self._path(key, mapping)
        if not self._exists(path):
            raise TargetRefusedError(
                f"run {key} is not at {self.address}", "Load it first, then verify it."
            )
        with self._opener.reading(path) as database:
            record = records.find_record(database, key)
            if record is None:
                raise TargetRefusedError(
                    f"run {key} is not at {self.address}", "Load it first, then verify it."
                )
            _check_version(database, path)
            yield database, record

    # --- writing --------------------------------------------------------------------------------

    def _meta(
        self, database: sqlite3.Connection, scan: RunScan, path: Path, sender: GoodseedSender
    ) -> None:
        """What GoodSeed shows of a run beside its configs (goodseed/run.py, close included)."""
        key, facts = scan.key, scan.facts
        status = "failed" if facts.failed else "finished"
        name = facts.experiment or (key.run if path.stem != key.run else "")
        meta = {
            "run_id": path.stem,
            "project": path.parent.parent.relative_to(self._home / "projects").as_posix(),
            "name": shown_name(name),
            "created_at": iso(facts.start),
            "modified_at": iso(facts.end),
            "closed_at": iso(facts.end),
            "status": status,
            "neptune_project": key.project,
            "neptune_run": key.run,
            "neptune_kind": key.kind,
            "neptune_parent": facts.parent,
        }
        database.executemany(
            "INSERT OR REPLACE INTO run_meta (key, value) VALUES (?, ?)",
            [(name, value) for name, value in meta.items() if value],
        )
        taken = set(sender.keys.values())
        for name, value in zip(OWN, (path.stem, status), strict=True):
            if name not in taken:
                database.execute(
                    "INSERT INTO configs (path, type_tag, value, updated_at) VALUES (?, ?, ?, ?)",
                    (name, "str", value, iso(facts.end)),
                )

    def _look_through(
        self, database: sqlite3.Connection, path: Path, sender: GoodseedSender
    ) -> None:
        """Before the file gets its name: whether all points that were written are there."""
        there = sum(
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("metric_points", "string_points")
        )
        if there != sender.written:
            raise TargetRefusedError(
                f"target goodseed: {path} has {there} points of {sender.written} that were written",
                "Load the run again; if that stays so, please report it.",
            )

    def _publish(self, begun: Path, path: Path, files: Path) -> None:
        """Gives a run's file its name: from now on it is there, and whole."""
        with self._opener.calls(path, "writing"):
            sync(begun)
            if not any(files.iterdir()):
                files.rmdir()
            else:
                for folder in (files, *(p for p in files.rglob("*") if p.is_dir())):
                    sync(folder)
            for suffix in ("-wal", "-shm", "-journal"):
                # Of the run's former file; the new one must not meet it.
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._rename(begun, path)
            sync(path.parent)
            for other in files.parent.iterdir() if files.parent.is_dir() else ():
                if other != files:
                    shutil.rmtree(other, ignore_errors=True)

    def _rename(self, begun: Path, path: Path) -> None:
        begun.replace(path)


def _unsafe_and_fast(database: sqlite3.Connection) -> None:
    """For a file that counts for nothing until it is renamed, synced and closed."""
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("PRAGMA cache_size = -32000")
    database.execute("PRAGMA temp_store = MEMORY")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _time(text: str | None) -> int | None:
    return from_iso(text) if text else None


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    row = database.execute("SELECT value FROM run_meta WHERE key = 'schema_version'").fetchone()
    tested = [str(version) for version in TESTED_SCHEMAS]
    if row is None or row[0] not in tested:
        raise UntestedStoreError(
            "goodseed", str(path), row[0] if row else "none", ", ".join(tested), "goodseed"
        )


@functools.cache
def _schema() -> Any:
    """GoodSeed's own function that makes its tables.

    Raises:
        UntestedStoreError: the installed package has tables of another version.
    """
    from goodseed import storage

    if storage.SCHEMA_VERSION not in TESTED_SCHEMAS:
        tested = ", ".join(map(str, TESTED_SCHEMAS))
        raise UntestedStoreError(
            "goodseed", "the installed goodseed", storage.SCHEMA_VERSION, tested, "goodseed"
        )
    return storage._init_schema
