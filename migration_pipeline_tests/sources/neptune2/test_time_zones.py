"""The archive is the same wherever on earth the exporter runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.neptune2 import creation, file_sets
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import FileValue, Project
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    exporting,
    long_ago,
)


@pytest.fixture(params=["America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def far_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def fill(project: Project) -> None:
    """A time at every place where 2.x has one; one of them in the hour that clocks skip."""
    run = creation.create_run(project)
    for i, at in enumerate((0, NOON, 1_710_054_185_250, 1_699_164_000_000)):
        run.set(f"at/{i}", "datetime", at)
    add_points(run, "loss", [0.0, 1.0])
    run.extend_series("log", "string_series", [(0.0, NOON, "x")])
    run.set("source_code/git", "git_ref", {"commit": {"commitDate": "2024-03-10T07:03:05.250Z"}})
    project.store.blobs.write(PROJECT, "member", b"m")
    file_sets.add_files(run, "set", {"a": FileValue("member", 1, "")})
    creation.metadata(project)


def contents(exported: Exported) -> dict[str, str]:
    exported.export_all()
    return exported.digests()


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("age", ["old", "new"])
def test_times_are_those_of_greenwich(
    server: RunningServer,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    age: str,
) -> None:
    if age == "old":
        with long_ago(project.store):
            fill(project)
    else:
        fill(project)
    there = contents(exporting(server, tmp_path / "there", "neptune2"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    here = exporting(server, tmp_path / "here", "neptune2")
    assert contents(here) == there
    values = here.values("TAB-1")
    assert [values[f"at/{i}"] for i in range(4)] == [0, NOON, 1_710_054_185_250, 1_699_164_000_000]
    assert [at for _, at, _ in here.series("TAB-1", "loss")] == [NOON, NOON + 1000]
