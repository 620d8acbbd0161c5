"""Archive → `neptune_server` → export → archive: the same content, whatever it is."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.source import Neptune3Source
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import archive_in, read_rows, row, write_run
from migration_pipeline_tests.archive.strategies import MadeRun, runs

numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def source(server: RunningServer) -> Neptune3Source:
    return Neptune3Source(Neptune3Config(api_token=server.token, retry_seconds=10))  # type: ignore[arg-type]


def made(archive: Archive, project: str, content: list[MadeRun]) -> dict[RunKey, str]:
    """Writes the runs; returns their digests."""
    return {
        (key := RunKey(project, one.run)): write_run(archive, key, one.rows).digest
        for one in content
    }


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(runs())
def test_what_is_served_and_exported_is_what_was_archived(
    server: RunningServer, source: Neptune3Source, content: list[MadeRun]
) -> None:
    project = f"acme/made-{next(numbers)}"
    with tempfile.TemporaryDirectory() as folder:
        there, back = archive_in(Path(folder) / "there"), archive_in(Path(folder) / "back")
        expected = made(there, project, content)
        load_archive(server.store, there.data, there.files)
        plan = plan_export(source, back, project, Selection())
        assert {ref.key for ref in plan.due} == set(expected)
        report = export_runs(source, back, plan.due, Selection())
        assert report.failures == []
        found = back.runs(project)
        assert {key: run.sums().digest() for key, run in found.items()} == expected
        assert {key: run.manifest.digest for key, run in found.items() if run.manifest} == expected
        parents = {run: m.parent for run, m in ((o.run, o) for o in content)}
        assert {k.run: r.manifest.parent for k, r in found.items() if r.manifest} == parents
        del server.store.projects[project]


def test_a_digest_that_is_equal_means_rows_that_are_equal(
    server: RunningServer, source: Neptune3Source, tmp_path: Path
) -> None:
    """The property above would hold for a digest of nothing; here rows are compared."""
    rows = [
        row("a.b", "file", b"dot"),
        row("a_b", "file", b""),
        row(
            "hist",
            "histogram_series",
            {"type": "DENSITY", "edges": [0.0, 1.0], "values": [1.0]},
            0,
            1,
        ),
        row("log", "string_series", "", 290_000, -1),
        row("loss", "float_series", -0.5, 1, 2),
        row("n", "int", 2**63 - 1),
        row("tags", "string_set", ["b", "a"]),
        row("when", "datetime", -1),
    ]
    there, back = archive_in(tmp_path / "there"), archive_in(tmp_path / "back")
    made(there, "acme/rows", [MadeRun("r", rows)])
    load_archive(server.store, there.data, there.files)
    due = plan_export(source, back, "acme/rows", Selection()).due
    assert export_runs(source, back, due, Selection()).failures == []
    assert read_rows(back, RunKey("acme/rows", "r")) == rows
