"""From Neptune 3.x to an archive on S3, from there to a target, and back to be compared.

Local targets and services; MLflow and the dummy are loaded from S3 by the jobs (`defs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.store import StorePath
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline_tests.contract.backends import BACKENDS
from migration_pipeline_tests.contract.making import PROJECT
from migration_pipeline_tests.sources.serving import NOON, Exported, add_points, source_of
from migration_pipeline_tests.stores import left_over


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Two runs, one of them forked from the other, with something of each kind."""
    with running_server() as running:
        project = running.store.project(PROJECT)
        for number, name in enumerate(("first", "second")):
            fork = {"parent": "first", "fork_step": 3.0} if number else {}
            run = project.create_run(name, created=NOON, **fork)
            run.set("sys/name", "string", f"the {name}")
            run.set("lr", "float", 0.1 + number)
            run.set("layers", "int", 2**53 + 1)
            run.set("note", "string", "ö, and\na second line")
            add_points(
                run, "m/loss", [float(i) for i in range(50)], [1 / (i + 1) for i in range(50)]
            )
            run.extend_series("log", "string_series", [(0.0, NOON, "a"), (1.0, NOON + 1, "ü")])
            run.set_file("model/weights", name.encode() * 9000, f"{name}/weights.bin", "")
            shown = [run.set_file(f"shown/{i}", b"%d" % i, f"{name}/{i}.png", "") for i in range(2)]
            run.extend_series("images", "file_series", [(i, NOON, f) for i, f in enumerate(shown)])
        yield running


@pytest.fixture
def archive(server: RunningServer, bucket: StorePath) -> Archive:
    """On S3, exported there by the source of 3.x."""
    exported = Exported(server, archive_in(bucket), source_of(server), PROJECT)
    exported.export_all()
    assert exported.exported == exported.digests().keys() == {"first", "second"}
    assert left_over(exported.archive) == []
    return exported.archive


@pytest.mark.parametrize("name", ["comet", "goodseed", "trackio", "wandb", "zenml"])
def test_what_was_exported_there_is_loaded_and_read_back(
    name: str, archive: Archive, tmp_path: Path
) -> None:
    target = BACKENDS[name].make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert [run.error for run in result.runs] == [None, None]
    assert [verdict.findings for verdict in result.verdicts] == [[], []]
    assert {verdict.rows for verdict in result.verdicts} == {
        run.sums().rows for run in archive.runs(PROJECT).values()
    }
    again = plan_load(target, archive, PROJECT)
    assert (again.due, again.unverified) == ([], [])
    assert left_over(archive) == []
