"""`adopt`: an archive as it lies there becomes partitions and records; nothing in it is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import partitions
from migration_pipeline_tests.archive.making import archive_in, row, write_run
from migration_pipeline_tests.defs.fakes import failure_of, latest, records_of
from migration_pipeline_tests.machine import obeying_permissions

DATA = Path(__file__).parent.parent / "data"
RUN, EXPORT = ["neptune", "run"], ["neptune", "export"]
FAULTY = [f"acme/faulty|{run}" for run in ("unet-001", "unet-004", "vit-000")]
Adopt = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def adopt(instance: dg.DagsterInstance) -> Adopt:
    """Runs the job over the archive in a folder."""

    def run(root: Path, *projects: str, **paths: str) -> dg.ExecuteInProcessResult:
        roots = {
            f"{name}_path": str(root / name)
            for name in ("data", "files", "model_data", "model_files")
            if not name.startswith("model") or (root / name).exists()
        }
        return definitions.defs.resolve_job_def("adopt").execute_in_process(
            run_config={
                "ops": {"adopt_projects": {"config": {"projects": list(projects)}}},
                "resources": {"archive": {"config": {**roots, **paths}}},
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


def events(instance: dg.DagsterInstance) -> int:
    """How many materializations there are of all assets."""
    return sum(
        len(instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records)
        for asset in (RUN, EXPORT)
    )


def latest_status(instance: dg.DagsterInstance) -> dict[str, Any]:
    entry = instance.get_latest_materialization_event(dg.AssetKey(["migration", "status"]))
    assert entry
    assert entry.asset_materialization
    return {name: value.value for name, value in entry.asset_materialization.metadata.items()}


def said(result: dg.ExecuteInProcessResult) -> str:
    (output,) = result.get_step_success_events()
    handled = [e for e in result.all_events if e.is_successful_output]
    assert output
    return str(handled[0].step_output_data.metadata["summary"].value)


def test_runs_become_records_with_grades_and_reasons(
    adopt: Adopt, instance: dg.DagsterInstance
) -> None:
    result = adopt(DATA / "neptune3-failed-requests")
    assert result.success
    assert set(FAULTY) < records_of(instance, RUN)
    assert len(records_of(instance, RUN)) == 6
    record = latest(instance, RUN, FAULTY[0])
    assert (record["run"], record["kind"], record["grade"]) == ("unet-001", "run", "damaged")
    assert "'train/loss'" in record["reasons"]
    assert record["written by"] == "another tool"
    assert said(result).startswith(
        "1 project(s) with 6 runs (0 complete, 0 plausible, 0 suspect, 6 damaged); "
        "6 records written\n  damaged: acme/faulty|unet-001: the errors file names it"
    )


def test_what_is_damaged_shows_before_anything_is_loaded(
    adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    adopt(DATA / "neptune3-failed-requests", report_path=str(tmp_path / "report"))
    key = dg.AssetCheckKey(dg.AssetKey(EXPORT), "not_damaged")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert record.event
    check = record.event.dagster_event.asset_check_evaluation_data
    assert (check.passed, check.partition) == (False, "acme/faulty")
    assert check.metadata["runs damaged"].value == 6
    status = latest_status(instance)
    assert status["how far"] == "archive: 6 of 6 runs, 6 damaged; 0 of 1 projects done"
    (row_,) = status["projects"].records
    assert (row_.data["state"], row_.data["damaged"]) == ("damaged", 6)
    assert row_.data["points"] == "not counted"
    first = status["what failed or is damaged (up to 20 a project)"].records[0].data
    assert first["where"] == "acme/faulty|unet-001"
    assert "damaged: " in first["what"]
    assert "'train/loss'" in first["what"]


def test_the_project_is_a_partition_that_a_load_can_build_on(
    adopt: Adopt, instance: dg.DagsterInstance
) -> None:
    adopt(DATA / "neptune3-interrupted")
    assert instance.get_dynamic_partitions(str(partitions.projects.name)) == ["acme/interrupted"]
    assert records_of(instance, EXPORT) == {"acme/interrupted"}
    export = latest(instance, EXPORT, "acme/interrupted")
    assert (export["runs"], export["runs suspect"], export["runs damaged"]) == (5, 5, 0)
    assert export["adopted from"] == str(DATA / "neptune3-interrupted" / "data")
    assert "points" not in export  # which only manifests would tell


def test_models_of_separate_roots_are_recorded_as_what_they_are(
    adopt: Adopt, instance: dg.DagsterInstance
) -> None:
    adopt(DATA / "neptune2-complete")
    assert records_of(instance, RUN) == {
        *(f"acme/tabular|TAB-{i}" for i in range(1, 6)),
        "acme/tabular|%model|TAB-MOD",
        "acme/tabular|%model_version|TAB-MOD-1",
        "acme/tabular|%model_version|TAB-MOD-2",
    }
    assert latest(instance, RUN, "acme/tabular|%model|TAB-MOD")["kind"] == "model"
    assert latest(instance, EXPORT, "acme/tabular")["of them model versions"] == 2


def test_twice_changes_nothing(adopt: Adopt, instance: dg.DagsterInstance) -> None:
    adopt(DATA / "neptune3-complete")
    before = events(instance)
    assert before == 13 + 1
    result = adopt(DATA / "neptune3-complete")
    assert result.success
    assert events(instance) == before
    assert said(result).endswith("all of that was recorded before")


def test_only_a_run_whose_grade_changed_is_recorded_again(
    adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    archive = archive_in(tmp_path)
    for name in ("one", "two"):
        write_run(archive, RunKey("ws/p", name), [row("a", "int", 1), row("f", "file", b"x")])
    adopt(tmp_path)
    assert latest(instance, RUN, "ws/p|one")["grade"] == "complete"
    assert latest(instance, RUN, "ws/p|one")["rows"] == 2
    before = events(instance)
    (file,) = (p for p in (archive.files_root("ws/p") / RunKey("ws/p", "one").folder).iterdir())
    file.unlink()
    adopt(tmp_path)
    assert events(instance) == before + 2  # the run and its project
    one = latest(instance, RUN, "ws/p|one")
    assert (one["grade"], one["rows"]) == ("damaged", 2)
    assert "1 of 1 files" in one["reasons"]
    assert latest(instance, RUN, "ws/p|two")["grade"] == "complete"


def test_nothing_in_its_directories_is_touched(adopt: Adopt, tmp_path: Path) -> None:
    """Nor is anything needed there: not even the right to write."""
    root = tmp_path / "archive"
    shutil.copytree(DATA / "neptune3-interrupted", root)
    directory = root / "data" / "acme_interrupted-70d25d8a63c94a22"
    (directory / "other-0123456789abcdef_part_1.parquet.tmp").write_bytes(b"left over")
    (root / "files").mkdir()
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in root.rglob("*")}
    for path in (directory, root / "data", root / "files", root):
        path.chmod(0o555)
    try:
        assert adopt(root).success
    finally:
        for path in (root, root / "files", root / "data", directory):
            path.chmod(0o755)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in root.rglob("*")} == before


def test_a_run_that_cannot_be_read_is_recorded_as_what_it_is(
    adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    archive = archive_in(tmp_path)
    for name in ("broken", "whole"):
        write_run(archive, RunKey("ws/p", name), [row("a", "int", 1)])
    part = archive.project_directory("ws/p") / layout.part_name(layout.name_on_disk("broken"), 0)
    part.write_bytes(b"PAR1")
    assert adopt(tmp_path).success
    record = latest(instance, RUN, "ws/p|broken")
    assert record["grade"] == "damaged"
    assert "written by" not in record  # which nobody can say any more
    assert latest(instance, RUN, "ws/p|whole")["grade"] == "complete"


def test_names_of_any_kind(adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    names = ["näme, 日本...語", "a|b", "%model|x", "x" * 700, "new\nline", ".", "../.."]
    for name in names:
        write_run(archive, RunKey("ws/ü,p", name), [row("a", "int", 1)])
    assert adopt(tmp_path).success
    recorded = records_of(instance, RUN)
    assert recorded == {partitions.run_partition(RunKey("ws/ü,p", name)) for name in names}
    assert {latest(instance, RUN, key)["run"] for key in recorded} == set(names)


def test_only_the_projects_that_are_named(
    adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    archive = archive_in(tmp_path)
    for project in ("ws/a", "ws/b"):
        write_run(archive, RunKey(project, "r"), [row("a", "int", 1)])
    assert adopt(tmp_path, "ws/b").success
    assert records_of(instance, RUN) == {"ws/b|r"}
    failed = adopt(tmp_path, "ws/b", "ws/c")
    assert "there is no project" in failure_of(failed)
    assert "'ws/c'. Known: ws/a, ws/b." in failure_of(failed)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("nothing", "there is none"),
        ("a file", "it is a file"),
        ("empty", "no folder in it holds a Parquet part"),
        ("other files", "no folder in it holds a Parquet part"),
    ],
)
def test_what_is_no_archive_is_called_so(
    adopt: Adopt, instance: dg.DagsterInstance, tmp_path: Path, made: str, reason: str
) -> None:
    data = tmp_path / "data"
    if made == "a file":
        data.write_text("no archive")
    elif made != "nothing":
        data.mkdir()
    if made == "other files":
        (data / "photos").mkdir()
        (data / "photos" / "a.parquet").write_bytes(b"PAR1")
    result = adopt(tmp_path)
    assert not result.success
    assert f"{data} is not an archive: {reason}" in failure_of(result)
    assert instance.get_dynamic_partitions(str(partitions.projects.name)) == []


def test_a_folder_that_may_not_be_read_is_named(adopt: Adopt, tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    write_run(archive, RunKey("ws/p", "r"), [row("a", "int", 1)])
    directory = archive.project_directory("ws/p")
    directory.chmod(0)
    try:
        result = obeying_permissions(lambda: adopt(tmp_path))
        assert f"{directory} is not an archive: it cannot be listed" in failure_of(result)
    finally:
        directory.chmod(0o755)


def test_an_errors_file_elsewhere_must_be_there(adopt: Adopt, tmp_path: Path) -> None:
    result = adopt(DATA / "neptune3-interrupted", errors_path=str(tmp_path / "none.jsonl"))
    assert "MIGRATION_ERRORS_PATH" in failure_of(result)


def test_models_that_are_not_where_they_should_be(adopt: Adopt, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    result = adopt(DATA / "neptune3-interrupted", model_data_path=nowhere)
    assert f"MIGRATION_MODEL_DATA_PATH is {nowhere!r}, which is no directory" in failure_of(result)
