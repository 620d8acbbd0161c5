"""The job `doctor` and the check that no run is damaged: what they say, and what they write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import Archive
from migration_pipeline.defs import jobs, partitions
from migration_pipeline.defs.doctor import NOT_DAMAGED, RUNS_KEPT, grades_metadata, not_damaged
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    adopted_project,
    key,
    own_project,
    part_of,
    rewrite,
    training,
)
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import FakeSource, failure_of

Doctor = Callable[..., dg.ExecuteInProcessResult]
TABLE = "damaged and suspect runs (table)"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job would print when its process ends."""
    found: list[str] = []
    monkeypatch.setattr(jobs, "_last", found)
    monkeypatch.setattr(jobs, "atexit", Mock())
    return found


def archive_config(folder: Path, **more: str) -> dict[str, Any]:
    paths = {f"{name}_path": str(folder / name) for name in ("data", "files", "report")}
    return {"archive": {"config": {**paths, **more}}}


@pytest.fixture
def doctor(instance: dg.DagsterInstance, tmp_path: Path, said: list[str]) -> Doctor:
    """Runs the job over the archive in `tmp_path`."""

    def run(paths: dict[str, str] | None = None, **config: Any) -> dg.ExecuteInProcessResult:
        return definitions.defs.resolve_job_def("doctor").execute_in_process(
            run_config={
                "ops": {"examine_archive": {"config": config}},
                "resources": archive_config(tmp_path, **(paths or {})),
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two complete runs, one plausible, one suspect, one damaged."""
    made = archive_in(tmp_path)
    own_project(made, runs=2)
    for number in (2, 3, 4):
        adopted(made, key(f"run {number}"), training(number, epochs=2**60 if number == 3 else 1))
    (made.files_root(PROJECT) / "run_4" / "model" / "weights").unlink()
    return made


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [
        e for e in result.all_events if e.is_successful_output and e.step_key == "examine_archive"
    ]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_the_page_shows_grades_and_reasons(
    doctor: Doctor, archive: Archive, tmp_path: Path, said: list[str]
) -> None:
    """Damaged runs are what was asked for: the job did it, and says so in its last line."""
    result = doctor()
    assert result.success
    found = metadata_of(result)
    grades = {
        name: found[f"runs {name}"] for name in ("complete", "plausible", "suspect", "damaged")
    }
    assert grades == {"complete": 2, "plausible": 1, "suspect": 1, "damaged": 1}
    rows = [record.data for record in found[TABLE].records]
    assert [(row["run"], row["grade"]) for row in rows] == [
        ("acme/vision|run 4", "damaged"),
        ("acme/vision|run 3", "suspect"),
    ]
    assert rows[0]["reasons"] == "1 of 3 files are not there: 'run_4/model/weights' (proof)"
    assert found["thorough"] is True
    report = tmp_path / "report"
    assert (found["doctor.md"], found["doctor.json"]) == (
        str(report / "doctor.md"), str(report / "doctor.json"),
    )  # fmt: skip
    assert json.loads((report / "doctor.json").read_text())["grades"] == grades
    assert said == [
        "doctor: 5 runs of 1 project(s): 2 complete, 1 plausible, 1 suspect, 1 damaged; see "
        f"{report / 'doctor.md'}"
    ]


def test_without_digests_nothing_is_called_complete(doctor: Doctor, archive: Archive) -> None:
    found = metadata_of(doctor(thorough=False))
    assert (found["runs complete"], found["runs plausible"], found["thorough"]) == (0, 3, False)


def test_repair_writes_a_new_archive(
    doctor: Doctor, archive: Archive, tmp_path: Path, said: list[str]
) -> None:
    rewrite(part_of(archive, "run 2"), lambda t: t.take([*range(t.num_rows), t.num_rows - 1]))
    part_of(archive, "run 3").write_bytes(b"")
    found = metadata_of(doctor(repair_to=str(tmp_path / "new")))
    rows = [record.data for record in found["repaired runs (table)"].records]
    assert rows == [
        {"run": "acme/vision|run 2", "rows now": len(training(2)), "equal rows removed": 1}
    ]
    assert f"; 1 repaired, 1 left out in {tmp_path / 'new'}; see" in said[0]
    new = archive_in(tmp_path / "new")
    assert sorted(run.run for run in new.runs(PROJECT)) == ["run 0", "run 1", "run 2", "run 4"]


def test_models_with_roots_of_their_own_and_an_errors_file_elsewhere(
    doctor: Doctor, tmp_path: Path
) -> None:
    data = Path(__file__).parents[1] / "data"
    shutil.copytree(data / "neptune2-complete", tmp_path, dirs_exist_ok=True)
    models = {f"model_{kind}_path": str(tmp_path / f"model_{kind}") for kind in ("data", "files")}
    assert metadata_of(doctor(models))["runs plausible"] == 8
    failed = data / "neptune3-failed-requests"
    shutil.copytree(failed / "data", tmp_path / "data", dirs_exist_ok=True)
    shutil.copytree(failed / "files", tmp_path / "files", dirs_exist_ok=True)
    found = metadata_of(doctor({**models, "errors_path": str(failed)}, projects=["acme/faulty"]))
    assert (found["runs damaged"], found["runs plausible"]) == (6, 0)


@pytest.mark.parametrize(
    ("paths", "config", "message"),
    [
        ({"data_path": "/nowhere"}, {}, "/nowhere is not an archive: there is none."),
        ({}, {"projects": ["a/b"]}, "there is no project in the archive 'a/b'"),
        ({"errors_path": "/nowhere"}, {}, "MIGRATION_ERRORS_PATH is '/nowhere', which is no file"),
        ({}, {"repair_to": "/tmp"}, "repair_to is '/tmp', which is not empty. Name a new"),
        ({"report_path": "/dev/null/x"}, {}, "cannot write the report /dev/null/x/doctor.json"),
    ],
)
def test_bad_input_ends_in_one_clear_line(
    doctor: Doctor,
    archive: Archive,
    said: list[str],
    paths: dict[str, str],
    config: dict[str, Any],
    message: str,
) -> None:
    result = doctor(paths, **config)
    assert not result.success
    assert message in failure_of(result)
    (line,) = said
    assert line.startswith("doctor: failed before anything was done: ")
    assert message in line


def check(instance: dg.DagsterInstance, folder: Path, **config: Any) -> tuple[bool, dict[str, Any]]:
    """Runs the check alone for the one project."""
    instance.add_dynamic_partitions("neptune_projects", [partitions.project_partition(PROJECT)])
    job = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(not_damaged))
    defs = dg.Definitions.merge(definitions.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("alone").execute_in_process(
        run_config={
            "ops": {f"neptune__export_{NOT_DAMAGED}": {"config": config}},
            "resources": archive_config(folder),
        },
        instance=instance,
        tags={"dagster/partition": partitions.project_partition(PROJECT)},
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation.passed, {name: value.value for name, value in evaluation.metadata.items()}


def test_the_check_fails_where_a_run_is_damaged(
    instance: dg.DagsterInstance, archive: Archive, tmp_path: Path
) -> None:
    passed, found = check(instance, tmp_path)
    assert not passed
    assert (found["runs complete"], found["runs plausible"]) == (0, 3)
    assert [record.data["run"] for record in found[TABLE].records] == [
        "acme/vision|run 4", "acme/vision|run 3",
    ]  # fmt: skip


def test_the_check_passes_where_runs_are_only_suspect(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    archive = archive_in(tmp_path)
    adopted_project(archive, runs=2)
    adopted(archive, key("run 2"), training(2, epochs=2**60))
    passed, found = check(instance, tmp_path, thorough=True)
    assert passed
    assert found["runs suspect"] == 1


def test_the_check_goes_with_an_export(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    assert migrate(projects=["ws/alpha"]).success
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(["neptune", "export"]), NOT_DAMAGED), limit=5
    )
    (record,) = records
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    assert evaluation.passed
    assert evaluation.metadata["runs plausible"].value == 4


def test_long_tables_say_how_much_they_show(archive: Archive, tmp_path: Path) -> None:
    from migration_pipeline.archive.doctor.diagnosis import Diagnosis, Reason

    reason = Reason("file_missing", "gone", True)
    runs = [Diagnosis(key(f"r {i}"), "damaged", (reason,)) for i in range(RUNS_KEPT + 1)]
    grades = {"complete": 0, "plausible": 0, "suspect": 0, "damaged": len(runs)}
    found = grades_metadata(grades, runs, [])  # type: ignore[arg-type]
    title = f"damaged and suspect runs (table, first {RUNS_KEPT} of {RUNS_KEPT + 1})"
    assert len(found[title].records) == RUNS_KEPT
