"""A served store, a source pointed at it, and what an export of it gave."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Run, Store
from migration_pipeline.sources.export import ExportPlan, ExportReport, export_runs, plan_export
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.source import Neptune3Source
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import Row, archive_in, contents, read_rows

PROJECT = "acme/vision"
NOON = 1_700_000_000_000
EVERYTHING = Selection()


def source_of(server: RunningServer, of: str = "neptune3", **settings: Any) -> Any:
    """A source of this name. Impatient, so that a test that fails does so soon."""
    settings = {
        "api_token": server.token,
        "retry_seconds": 20.0,
        "connect_seconds": 10.0,
    } | settings
    if of == "neptune3":
        return Neptune3Source(Neptune3Config(**settings))
    from migration_pipeline.sources.neptune2.config import Neptune2Config
    from migration_pipeline.sources.neptune2.source import Neptune2Source

    return Neptune2Source(Neptune2Config(**settings))


@dataclass
class Exported:
    """An archive, and what the last export into it said."""

    server: RunningServer | None
    archive: Archive
    source: Any
    project: str = PROJECT
    report: ExportReport = field(default_factory=ExportReport)

    def export(self, selection: Selection = EVERYTHING) -> ExportPlan:
        """Lists, plans and exports, as the job does for a project."""
        plan = plan_export(self.source, self.archive, self.project, selection)
        self.report = export_runs(self.source, self.archive, plan.due, selection)
        return plan

    def export_all(self, selection: Selection = EVERYTHING) -> ExportPlan:
        """The same, where no run may fail."""
        plan = self.export(selection)
        assert self.report.failures == []
        return plan

    @property
    def failed(self) -> dict[str, Exception]:
        return {key.run: error for key, error in self.report.failures}

    @property
    def exported(self) -> set[str]:
        return {manifest.run for manifest in self.report.exported}

    @property
    def runs(self) -> set[str]:
        return {key.run for key in self.archive.runs(self.project)}

    def rows(self, run: str) -> list[Row]:
        """Without those under sys/, which the server makes."""
        found = read_rows(self.archive, RunKey(self.project, run))
        return [r for r in found if not r["path"].startswith("sys/")]

    def values(self, run: str) -> dict[str, Any]:
        return {r["path"]: r["value"] for r in self.rows(run) if r["step"] is None}

    def series(self, run: str, path: str) -> list[tuple[int, int, Any]]:
        """(step in millionths, time, value) of a series."""
        return [
            (r["step"], r["timestamp"], r["value"]) for r in self.rows(run) if r["path"] == path
        ]

    def manifest(self, run: str) -> Any:
        found = self.archive.find(RunKey(self.project, run))
        assert found is not None
        assert found.manifest is not None
        return found.manifest

    def digests(self) -> dict[str, str]:
        """Made from rows and files; the manifests must agree."""
        return {key.run: digest for key, digest in contents(self.archive).items()}


def exporting(
    server: RunningServer, folder: Path, of: str = "neptune3", **settings: Any
) -> Exported:
    return Exported(server, archive_in(folder), source_of(server, of, **settings))


@contextmanager
def long_ago(store: Store) -> Iterator[None]:
    """What is written inside was written an hour ago: 2.x's tables know it by now."""
    clock = store.clock
    store.clock = lambda: clock() - 3_600_000
    try:
        yield
    finally:
        store.clock = clock


def add_points(run: Run, path: str, steps: list[float], values: list[float] | None = None) -> None:
    """A second apart; the values are the steps where none are given."""
    times = [NOON + 1000 * i for i in range(len(steps))]
    run.extend_float_series(path, steps, times, steps if values is None else values)


def points_of(
    steps: list[float], values: list[float] | None = None
) -> list[tuple[int, int, float]]:
    """What `Exported.series` says after `add_points`."""
    pairs = enumerate(zip(steps, steps if values is None else values, strict=True))
    return [(round(step * 10**6), NOON + 1000 * i, value) for i, (step, value) in pairs]


@contextmanager
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The sentences that the package warned with inside the block."""
    said: list[str] = []
    with caplog.at_level(logging.WARNING, "migration_pipeline"):
        caplog.clear()
        yield said
        said += [r.getMessage() for r in caplog.records if r.name.startswith("migration_pipeline")]


def by_path(rows: list[Row]) -> Mapping[str, Any]:
    return {r["path"]: r["value"] for r in rows}
