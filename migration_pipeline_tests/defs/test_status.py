"""`migration/status`: what it says after each way in which a job may end, and what it costs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.defs import examined, export, partitions, status, status_records
from migration_pipeline.status.figures import Stage
from migration_pipeline_tests.defs.fakes import MODIFIED, FakeSource, refused, resources

Execute = Callable[..., dg.ExecuteInProcessResult]
PROJECTS = ["ws/alpha", "ws/beta"]


@pytest.fixture
def job(instance: dg.DagsterInstance, tmp_path: Path, source: FakeSource) -> Execute:
    """Runs `migrate_project` into the dummy."""
    instance.add_dynamic_partitions(str(partitions.projects.name), PROJECTS)

    def run(
        project: str = "ws/alpha", chunk_size: int = 0, **dummy: str
    ) -> dg.ExecuteInProcessResult:
        config = {"path": str(tmp_path / "dummy"), **dummy}
        given = resources(tmp_path) | {"dummy": {"config": config}}
        return definitions.project_job(["dummy"]).execute_in_process(
            run_config={
                "resources": given,
                "ops": {"neptune__export": {"config": {"chunk_size": chunk_size}}},
            },
            tags={"dagster/partition": project},
            instance=instance,
            raise_on_error=False,
        )

    return run


def metadata(instance: dg.DagsterInstance) -> dict[str, Any]:
    entry = instance.get_latest_materialization_event(status.KEY)
    assert entry
    assert entry.asset_materialization
    return {name: value.value for name, value in entry.asset_materialization.metadata.items()}


def stages(instance: dg.DagsterInstance) -> dict[tuple[str, str], Stage]:
    """(project, place) → what the latest status says."""
    found = [
        Stage.from_plain(plain)
        for project in metadata(instance)["figures"]["projects"].values()
        for plain in project["stages"]
    ]
    return {(stage.project, stage.place): stage for stage in found}


def stages_shown(instance: dg.DagsterInstance) -> dict[tuple[str, str], Any]:
    """(project, place) → the row of the table."""
    rows = [record.data for record in metadata(instance)["projects"].records]
    return {(row["project"], row["place"]): row for row in rows}


def by_hand(instance: dg.DagsterInstance, folder: Path) -> None:
    log: Any = logging.getLogger(__name__)
    status.materialize(instance, str(folder / "report"), "by hand", log)


def test_steps_and_figures_of_others_are_known_by_their_names() -> None:
    assert export.KEY.to_python_identifier() == status_records.EXPORT_STEPS
    assert examined.GRADED["damaged"] == status_records.DAMAGED


def test_what_is_there_is_counted_by_project_and_place(
    job: Execute, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert job().success
    found = stages(instance)
    archive, dummy = found["ws/alpha", "archive"], found["ws/alpha", "dummy"]
    assert (archive.state, archive.there, archive.total, archive.points) == ("done", 4, 4, 80)
    assert (dummy.state, dummy.there, dummy.verified, dummy.points) == ("done", 4, 4, 80)
    assert archive.bytes == dummy.bytes == 4 * len("note of ws/alpha|a-1")
    assert archive.rate is not None
    assert archive.rate > 0
    assert found["ws/beta", "archive"].state == "done"  # of no runs at all
    shown = metadata(instance)
    assert shown["runs exported"] == shown["runs verified at dummy"] == 4
    assert shown["how far"].startswith("archive: 4 of 4 runs; 2 of 2 projects done")
    assert shown["picture"].startswith("![status](data:image/")
    assert shown["projects"].records[0].data["bytes of files"] == f"{archive.bytes} bytes"
    page = (tmp_path / "report" / "status.html").read_text()
    assert re.findall(r'<tr class="(\w+)"><td>([^<]+)</td><td>(\w+)</td>', page) == [
        ("done", "ws/alpha", "archive"),
        ("done", "ws/alpha", "dummy"),
        ("done", "ws/beta", "archive"),
    ]
    assert "Neither source nor targets were asked" in page
    assert "<script" not in page


def test_failed_runs_are_named_with_reasons_until_they_are_done(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource, tmp_path: Path
) -> None:
    source.errors["a-2"] = [refused("a-2")]
    assert not job().success
    stage = stages(instance)["ws/alpha", "archive"]
    assert (stage.state, stage.there, stage.total, stage.failed) == ("failed", 3, 4, 1)
    ((where, what),) = stage.reasons
    assert where == "ws/alpha|a-2"
    assert "the server answered 400" in what
    assert metadata(instance)["runs failed"] == 1
    page = (tmp_path / "report" / "status.html").read_text()
    assert "ws/alpha|a-2</td><td>" in page
    assert job().success
    stage = stages(instance)["ws/alpha", "archive"]
    assert (stage.state, stage.there, stage.failed, stage.reasons) == ("done", 4, 0, ())


def test_a_stage_that_cannot_begin_says_why(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    del source.projects["ws/beta"]
    assert not job("ws/beta").success
    stage = stages(instance)["ws/beta", "archive"]
    assert (stage.state, stage.there, stage.failed) == ("failed", 0, 0)
    ((where, what),) = stage.reasons
    assert where == "neptune__export.plan_runs"
    assert "ws/beta" in what


def test_what_a_target_refuses_is_a_failure_there_and_not_in_the_archive(
    job: Execute, instance: dg.DagsterInstance
) -> None:
    assert not job(refusal_rate="finish=1").success
    found = stages(instance)
    assert found["ws/alpha", "archive"].state == "done"
    dummy = found["ws/alpha", "dummy"]
    assert (dummy.state, dummy.there, dummy.total, dummy.failed) == ("failed", 0, 4, 4)
    assert {where for where, _ in dummy.reasons} == {f"ws/alpha|a-{n}" for n in (1, 2, 3, 4)}


def test_what_was_not_begun_is_not_left_out(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    """A target that has one project and waits for another one is not done."""
    assert job("ws/beta").success
    source.errors["a-2"] = [refused("a-2")]
    assert not job("ws/alpha").success
    stage = stages_shown(instance)["ws/alpha", "dummy"]
    assert (stage["state"], stage["runs there"], stage["of"]) == ("not begun", 0, 3)
    assert "dummy: 2 of 5 runs, 2 verified; 1 of 2" in metadata(instance)["how far"]


def test_a_run_that_changed_is_counted_once(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    assert job().success
    source.projects["ws/alpha"].append("a-5")
    source.modified["a-1"] = MODIFIED + timedelta(hours=1)
    assert job().success
    stage = stages(instance)["ws/alpha", "archive"]
    assert (stage.state, stage.there, stage.points) == ("done", 5, 100)


def test_records_are_read_once(
    job: Execute, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert job().success
    by_hand(instance, tmp_path)  # it sees that the Dagster run has ended
    before = stages(instance)

    def not_again(*args: Any, **more: Any) -> Any:
        raise AssertionError("what was summed is read again")

    monkeypatch.setattr(dg.DagsterInstance, "fetch_materializations", not_again)
    monkeypatch.setattr(dg.DagsterInstance, "get_records_for_run", not_again)
    by_hand(instance, tmp_path)
    assert stages(instance) == before
    assert before["ws/alpha", "archive"].points == 80


def test_a_status_from_nothing_says_the_same(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    """What is carried from status to status only saves work."""
    source.errors["a-2"] = [refused("a-2")]
    job()
    job("ws/beta")
    job()
    anew, _ = status_records.stages_of(instance, ["dummy", "mlflow"], {}, 0.0)
    assert {(stage.project, stage.place): stage for stage in anew} == stages(instance)


def test_it_can_be_made_by_hand(job: Execute, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert job().success
    before = stages(instance)
    made = dg.materialize(
        [status.status],
        instance=instance,
        resources={"archive": export.ArchiveResource(report_path=str(tmp_path / "elsewhere"))},
        selection=[status.KEY],
    )
    assert made.success
    assert metadata(instance)["moment"] == "asked for by hand"
    assert stages(instance) == before
    assert (tmp_path / "elsewhere" / "status.html").is_file()


def test_a_page_that_cannot_be_written_stops_nothing(
    job: Execute, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "report").write_text("a file where the folder should be")
    assert job().success
    assert "is no directory" in metadata(instance)["status.html"]
    assert stages(instance)["ws/alpha", "dummy"].state == "done"


def test_it_tells_running_from_stopped(
    job: Execute, instance: dg.DagsterInstance, source: FakeSource, tmp_path: Path
) -> None:
    """Looked at while the second of two chunks is read; then as if the process were gone."""
    seen = []

    def look(run: str) -> None:
        if run == "a-3":
            (dagster_run,) = instance.get_runs()
            by_hand(instance, tmp_path)
            seen.append(stages(instance)["ws/alpha", "archive"])
            instance.report_run_canceled(dagster_run)
            by_hand(instance, tmp_path)
            seen.append(stages(instance)["ws/alpha", "archive"])

    source.during = look
    job(chunk_size=2)
    assert [(stage.state, stage.total, stage.there) for stage in seen] == [
        ("running", 4, 2),
        ("stopped", 4, 2),
    ]
    running, stopped = seen
    assert running.rate
    assert running.seconds_left
    assert running.seconds_left == pytest.approx(40 / running.rate)  # two runs of 20 points
    assert stopped.seconds_left is None


def test_every_job_writes_it() -> None:
    jobs = [
        job
        for job in definitions.definitions(["dummy"]).get_repository_def().get_all_jobs()
        if job.name != "demo" and not all(map(is_status, asset_keys(job)))
    ]
    assert {"adopt", "doctor", "migrate", "migrate_project", "plan", "summary"} < {
        job.name for job in jobs
    }
    for job in jobs:
        for handle in job.graph.iterate_node_handles():
            is_step = isinstance(job.get_node(handle).definition, dg.OpDefinition)
            if is_step and handle.name not in ("migration__status", "neptune__export_not_damaged"):
                assert job.get_all_hooks_for_handle(handle) >= status.HOOKS, (job.name, handle)


def is_status(key: dg.AssetKey) -> bool:
    return key == status.KEY


def asset_keys(job: dg.JobDefinition) -> list[dg.AssetKey]:
    return [*job.asset_layer.executable_asset_keys] or [export.KEY]


@pytest.mark.parametrize("name", ["adopt", "migrate"])
def test_a_job_that_ended_is_in_it(
    name: str, job: Execute, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert job().success
    given = resources(tmp_path)
    result = definitions.defs.resolve_job_def(name).execute_in_process(
        run_config={"resources": given if name == "migrate" else {"archive": given["archive"]}},
        instance=instance,
    )
    assert result.success
    assert metadata(instance)["moment"].endswith(f"ended in Dagster run {result.run_id[:8]}")
    assert stages(instance)["ws/alpha", "archive"].there == 4
