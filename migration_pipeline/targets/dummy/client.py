"""A folder as a target, for rehearsing a migration: it holds everything, and fails when it is told.

A rehearsal shows what a migration will do, how long reading takes and what is left after failures,
before any tracker is touched. A run is found by where it lies; `run.json` says `complete` as the
very last write, and a run that was begun and not finished is taken away and sent anew.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline import __version__
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.digest import segments
from migration_pipeline.archive.schema import FILE_TYPES
from migration_pipeline.archive.store_files import on_this_machine
from migration_pipeline.errors import TargetRefusedError, TargetUnavailableError
from migration_pipeline.mapping.scan import Cut, RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import float_from_json, float_json
from migration_pipeline.targets.dummy.capabilities import CAPABILITIES
from migration_pipeline.targets.dummy.config import DummyConfig
from migration_pipeline.targets.dummy.faults import Rates, UnreliableStore
from migration_pipeline.targets.dummy.store import Entry, Store, place_of
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun

_COMPLETE, _LOADING = "complete", "loading"


class DummyTarget:
    """See `targets.target.Target`."""

    name = "dummy"
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, config: DummyConfig) -> None:
        self._root = Path(config.path).absolute()
        self._store: Any = Store(self._root)
        rates = Rates(config.failing, config.refused)
        if any((*rates.failing.values(), *rates.refused.values())):
            self._store = UnreliableStore(self._store, rates, config.seed_number)

    @property
    def address(self) -> str:
        return str(self._root)

    def check(self) -> None:
        with self._calls("looking whether it is there"):
            self._store.check()

    def has_store(self) -> bool:
        with self._calls("looking whether it is there"):
            return bool(self._store.exists())

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        with self._calls("listing runs"):
            entries = self._store.runs(_project(project, mapping))
        found = {RunKey(e["project"], e["run"], e["kind"]): e for e in entries}
        return {
            key: self._target_run(key, entry, mapping)
            for key, entry in found.items()
            if key.project == project
        }

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        with self._calls("looking for a run"):
            entry = self._store.run(_place(key, mapping))
        return self._target_run(key, entry, mapping) if entry else TargetRun(LoadState.ABSENT)

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key, place = scan.key, _place(scan.key, mapping)
        entry = _entry(scan, mapping, kin)
        report = LoadReport(key, attributes=len(scan.attributes), id=str(place))
        with self._calls("beginning a run"):
            self._store.begin(place, entry)
        for batch in scan.run.batches():
            for start in range(0, batch.num_rows, self.capabilities.points_per_request):
                rows = batch.slice(start, self.capabilities.points_per_request)
                with self._calls("sending rows"):
                    self._store.rows(place, rows)
                points = sum(n for (_, kind), n in Cut(rows).counts if kind.endswith("_series"))
                report.points += points
                if meter:
                    meter.add(points=points)
        for row in scan.files:
            if row.path is not None:
                with on_this_machine(scan.run.file(row.path)) as source:
                    with self._calls("sending files"):
                        self._store.file(place, row.path, source)
                    size = source.stat().st_size
                report.files += 1
                report.bytes += size
                if meter:
                    meter.add(size=size)
        for child in map(Path, kin.children):
            with self._calls("naming the parent of a fork"):
                if forked := self._store.run(child):
                    self._store.note(child, {**forked, "forked_from": str(place)})
        with self._calls("finishing a run"):
            self._store.finish(place, {**entry, "state": _COMPLETE})
        return report

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        place = _place(key, mapping)
        self._one(key, mapping)
        into.mkdir(parents=True, exist_ok=True)
        with self._calls("reading a run"):
            for batch in self._store.read(place):
                if attributes is not None:
                    wanted = pa.array(attributes, pa.string())
                    paths = batch.column("attribute_path").cast(pa.string())
                    batch = batch.filter(pc.is_in(paths, value_set=wanted))
                if batch.num_rows:
                    yield self._with_files(place, batch, into)

    def _with_files(self, place: Path, batch: pa.RecordBatch, into: Path) -> pa.RecordBatch:
        """The batch with its files below `into`; a file that is gone leaves no row."""
        if not any(kind in FILE_TYPES for (_, kind), _ in segments(batch)):
            return batch
        paths, gone = [], []
        for number, value in enumerate(batch.column("file_value").to_pylist()):
            path = value["path"] if value else None
            if path is not None:
                file = Path(tempfile.mkdtemp(dir=into)) / "file"
                if not self._store.fetch(place, path, file):
                    gone.append(number)
                path = file.relative_to(into).as_posix()
            paths.append(None if path is None else {"path": path})
        at = batch.schema.get_field_index("file_value")
        field = batch.schema.field(at)
        batch = batch.set_column(at, field, pa.array(paths, field.type))
        return batch.take(pa.array([i for i in range(len(paths)) if i not in gone], pa.int64()))

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        given = dict(self._one(key, mapping)["facts"])
        given["fork_step"] = float_from_json(given["fork_step"])
        lists = {name: tuple(given[name]) for name in ("tags", "group_tags")}
        return RunFacts(**{**given, **lists})

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        return facts

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        entry = self._one(key, mapping)
        with self._calls("noting the verdict"):
            self._store.note(_place(key, mapping), {**entry, "verified": verified})

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        with self._calls("removing a run"):
            self._store.remove(_place(key, mapping))

    def _one(self, key: RunKey, mapping: ProjectMapping) -> Entry:
        with self._calls("looking for a run"):
            entry: Entry | None = self._store.run(_place(key, mapping))
        if entry is None:
            raise TargetRefusedError(
                f"run {key} is not at {self.address}", "Load it first, then verify it."
            )
        return entry

    def _target_run(self, key: RunKey, entry: Entry, mapping: ProjectMapping) -> TargetRun:
        return TargetRun(
            LoadState.COMPLETE if entry["state"] == _COMPLETE else LoadState.PARTIAL,
            digest=entry["digest"],
            fingerprint=entry["fingerprint"],
            step_decimals=entry["step_decimals"],
            step_multiplier=entry["step_multiplier"],
            damaged=entry["damaged"],
            verified=entry["verified"],
            ids=(str(_place(key, mapping)),),
            parent=entry["facts"]["parent"],
            sys_id=entry["facts"]["sys_id"],
        )

    @contextlib.contextmanager
    def _calls(self, action: str) -> Iterator[None]:
        """What the file system says, as errors of a target."""
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise TargetUnavailableError("dummy", self.address, str(error)) from error
        except OSError as error:
            if error.errno is None:  # Arrow's, of a file that is cut off
                raise self._damaged(action, error) from error
            raise TargetRefusedError(
                f"target dummy at {self.address}, {action}: {error.strerror or error}",
                "Free space, or give this user the right to write there, or set "
                "MIGRATION_DUMMY_PATH to another folder.",
            ) from error
        except (ValueError, pa.ArrowInvalid) as error:
            raise self._damaged(action, error) from error

    def _damaged(self, action: str, error: Exception) -> TargetRefusedError:
        return TargetRefusedError(
            f"target dummy at {self.address}, {action}: what is there is damaged: {error}",
            "Remove the run's folder and load it again.",
        )


def _project(project: str, mapping: ProjectMapping) -> str:
    return f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project


def _place(key: RunKey, mapping: ProjectMapping) -> Path:
    return place_of(_project(key.project, mapping), key)


def _entry(scan: RunScan, mapping: ProjectMapping, kin: Kin) -> Entry:
    """What is said of a run that is being loaded."""
    facts, content = asdict(scan.facts), scan.content
    return {
        "state": _LOADING,
        "project": scan.key.project,
        "run": scan.key.run,
        "kind": scan.key.kind,
        "digest": content.digest,
        "fingerprint": content.fingerprint,
        "step_decimals": content.step_decimals,
        "step_multiplier": mapping.step_multiplier,
        "damaged": bool(scan.run.damage),
        "damage": list(scan.run.damage),
        "verified": False,
        "facts": {**facts, "fork_step": float_json(scan.facts.fork_step)},
        "forked_from": kin.parent,
        "loaded_by": f"migration_pipeline {__version__}",
    }
