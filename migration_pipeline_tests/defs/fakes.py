"""A source in memory and ways to start the real definitions with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import float_series_batch, make_batch
from migration_pipeline.errors import MigrationError, SourceRefusedError, UnknownProjectError
from migration_pipeline.sources.source import (
    DownloadedFile,
    Event,
    Rows,
    RunDone,
    RunFailed,
    RunRef,
    Selection,
)

MODIFIED = datetime(2025, 11, 1, 12, tzinfo=UTC)


@dataclass
class FakeSource:
    """Runs with some parameters, one float series and one file each.

    Args:
        projects: project → run ids.
        errors: run id → what its reading fails with, for as many readings as there are entries.
        parents: run id → run id.
        others: what the projects hold beside their runs.
        during: called before each run is read.
    """

    projects: dict[str, list[str]]
    errors: dict[str, list[MigrationError]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    others: list[RunKey] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)
    during: Callable[[str], None] = lambda run: None
    read_runs: list[str] = field(default_factory=list)
    listings: int = 0
    name: str = "fake"

    def list_projects(self) -> list[str]:
        return sorted(self.projects)

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        self.listings += 1
        if project not in self.projects:
            raise UnknownProjectError(project)
        keys = [RunKey(project, run) for run in self.projects[project]]
        keys += [key for key in self.others if key.project == project]
        return [
            RunRef(
                key,
                handle=f"FAKE-{number}",
                modified=self.modified.get(key.run, MODIFIED),
                parent=self.parents.get(key.run) if key.kind == "run" else None,
            )
            for number, key in enumerate(keys)
            if selection.wants_kind(key.kind)
        ]

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        for run in runs:
            self.during(run.key.run)
            self.read_runs.append(run.key.run)
            pending = self.errors.get(run.key.run)
            yield Rows(run, _parameters(run.key))
            if pending:
                yield RunFailed(run, pending.pop(0))
                continue
            yield Rows(run, _series(run.key))
            file = scratch / "note.txt"
            file.write_text(f"note of {run.key}")
            yield DownloadedFile(run, "note", "file", file, ".txt")
            yield RunDone(run, notes=self.notes.get(run.key.run, []))


def _parameters(key: RunKey) -> pa.RecordBatch:
    rows = [
        {"path": "config/rate", "type": "float", "value": 0.5},
        {"path": "sys/name", "type": "string", "value": key.run},
    ]
    return make_batch(key.project, key.run, rows)


def _series(key: RunKey) -> pa.RecordBatch:
    points = 20
    paths = pa.array(["metrics/loss"] * points).dictionary_encode()
    steps = np.arange(points, dtype=np.int64) * 1_000_000
    times = np.arange(points, dtype=np.int64) + 1_760_000_000_000
    return float_series_batch(key.project, key.run, paths, steps, times, np.sqrt(steps / 1e6))


def refused(run: str) -> MigrationError:
    return SourceRefusedError(f"run {run}: the server answered 400", "Look at its log.")


def resources(folder: Path) -> dict[str, Any]:
    """Run config: an archive in a folder, and the fake source."""
    return {
        "archive": {
            "config": {
                "data_path": str(folder / "data"),
                "files_path": str(folder / "files"),
                "report_path": str(folder / "report"),
            }
        },
        "source": {"config": {"kind": "fake"}},
    }


def records_of(instance: dg.DagsterInstance, asset: Sequence[str]) -> set[str]:
    return instance.get_materialized_partitions(dg.AssetKey(asset))


def latest(instance: dg.DagsterInstance, asset: Sequence[str], partition: str) -> Mapping[str, Any]:
    """Metadata of the latest materialization of a partition, as plain values."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records[0]
    assert found.asset_materialization
    return {name: value.value for name, value in found.asset_materialization.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Everything that a failed step says, causes included."""
    said = []
    for event in result.get_step_failure_events():
        error = event.step_failure_data.error
        while error:
            said.append(error.message)
            error = error.cause
    return "\n".join(said)
