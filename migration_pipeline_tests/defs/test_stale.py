"""What Dagster remembers and the world does not have any more: partitions, records, processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.defs import export, guards, jobs, liveness
from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import (
    FakeSource,
    failure_of,
    latest,
    records_of,
    resources,
)

EXPORT, RUN = ["neptune", "export"], ["neptune", "run"]
ALPHA = "ws/alpha"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be printed when the process ends."""
    lines: list[str] = []
    monkeypatch.setattr(jobs, "say_last", lines.append)
    return lines


@pytest.fixture
def server() -> Iterator[RunningServer]:
    store = Store(create_missing_projects=False)
    with running_server(store) as running:
        yield running


@pytest.mark.parametrize("kind", ["neptune3", "neptune2"])
def test_a_partition_whose_project_the_source_does_not_have_any_more(
    kind: str,
    instance: dg.DagsterInstance,
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deleted or renamed at the source, and started from the page, which still shows it."""
    monkeypatch.setenv("NEPTUNE_API_TOKEN", server.token)
    server.store.project("ws/new-name").create_run("r")
    instance.add_dynamic_partitions("neptune_projects", ["ws/old-name"])
    result = definitions.project_job([]).execute_in_process(
        run_config={
            "resources": {**resources(tmp_path), "source": {"config": {"kind": kind}}},
        },
        tags={"dagster/partition": "ws/old-name"},
        instance=instance,
        raise_on_error=False,
    )
    assert not result.success
    assert "project 'ws/old-name' does not exist on the server" in failure_of(result)
    assert not records_of(instance, EXPORT)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_partition_that_is_deleted_while_a_run_is_at_work_on_it(
    migrate_project: Execute,
    migrate: Execute,
    source: FakeSource,
    instance: dg.DagsterInstance,
) -> None:
    """The step under way ends; what comes after it is not begun."""
    instance.add_dynamic_partitions("neptune_projects", [ALPHA])

    def delete(run: str) -> None:
        instance.delete_dynamic_partition("neptune_projects", ALPHA)

    source.during = delete
    result = migrate_project(ALPHA, chunk_size=2)
    assert "the partition 'ws/alpha' of neptune_projects was deleted while" in failure_of(result)
    assert source.read_runs == ["a-1", "a-2"]
    assert records_of(instance, RUN) == {"ws/alpha|a-1", "ws/alpha|a-2"}
    assert not records_of(instance, EXPORT)

    source.during = lambda run: None
    assert migrate(projects=[ALPHA]).success
    assert source.read_runs == ["a-1", "a-2", "a-3", "a-4"]
    assert records_of(instance, EXPORT) == {ALPHA}


def test_a_record_whose_files_are_gone(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """What the source still has comes again; what it has not is named."""
    instance.add_dynamic_partitions("neptune_projects", [ALPHA])
    assert migrate_project(ALPHA).success
    for parts in (tmp_path / "data").glob("*/a-[12]-*"):
        parts.unlink()
    shutil.rmtree(tmp_path / "files")
    source.projects[ALPHA].remove("a-2")
    source.read_runs.clear()

    result = migrate_project(ALPHA)
    assert source.read_runs == ["a-1"]
    there = Archive(tmp_path / "data", tmp_path / "files").runs(ALPHA)
    assert sorted(key.run for key in there) == ["a-1", "a-3", "a-4"]
    metadata = latest(instance, EXPORT, ALPHA)
    assert metadata[export.OUTLIVED] == ["ws/alpha|a-2"]
    assert metadata["runs"] == 3
    checked = result.get_asset_check_evaluations()
    assert [check.passed for check in checked] == [False]  # the files of a-3 and a-4
    findings = next(v for k, v in checked[0].metadata.items() if k.startswith("findings ("))
    assert {row.data["where"] for row in findings.value.records} == {
        str(RunKey(ALPHA, run)) for run in ("a-3", "a-4")
    }


def test_a_repeated_run_is_not_taken_for_the_dead_one_whose_tags_it_has(
    instance: dg.DagsterInstance,
) -> None:
    host, _, began = liveness.this_process().split(" ")
    tags = {liveness.TAG: f"{host} {2**22 + 1} {began}"}
    job = definitions.project_job([])
    dead = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    repeated = instance.create_run_for_job(
        job,
        tags=tags,
        status=dg.DagsterRunStatus.STARTED,
        parent_run_id=dead.run_id,
        root_run_id=dead.run_id,
    )
    assert liveness.close_dead_runs(instance) == 1
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, repeated)]  # type: ignore[union-attr]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]


def test_steps_that_are_repeated_alone_do_not_work_beside_another_run(
    migrate_project: Execute,
    source: FakeSource,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a failed run is started again from its failure: its plan was made before."""
    instance.add_dynamic_partitions("neptune_projects", [ALPHA])
    tags = {guards.PARTITION_TAG: ALPHA}
    instance.create_run_for_job(
        definitions.project_job([]), tags=tags, status=dg.DagsterRunStatus.STARTED
    )
    monkeypatch.setattr(export, "known_project", lambda context: ALPHA)
    result = migrate_project(ALPHA)
    assert "ws/alpha is being worked on by the Dagster run" in failure_of(result)
    assert not source.read_runs
