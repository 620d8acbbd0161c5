"""`migrate` without a server: an archive is examined, loaded into a real MLflow and read back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import settings
from migration_pipeline.defs.load import LoadConfig
from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline_tests.archive.making import archive_in, row, write_run
from migration_pipeline_tests.defs.fakes import latest, records_of
from migration_pipeline_tests.targets.stores import sqlite_uri

DATA = Path(__file__).parent.parent / "data"
FAULTY = ("unet-001", "unet-004", "unet-005", "vit-000", "vit-002", "vit-003")
Migrate = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def migrate(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Migrate:
    """Runs `migrate` from the archive in a folder into an MLflow store of the test."""
    monkeypatch.delenv("NEPTUNE_API_TOKEN", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "store"))

    def run(root: Path, damaged: str = "fail", **config: Any) -> dg.ExecuteInProcessResult:
        roots = {
            f"{name}_path": str(root / name)
            for name in ("data", "files", "model_data", "model_files")
            if not name.startswith("model") or (root / name).exists()
        }
        given = {"targets": ["mlflow"], "load": {"damaged": damaged}, **config}
        return definitions.defs.resolve_job_def("migrate").execute_in_process(
            run_config={
                "ops": {"migrate_projects": {"config": given}},
                "resources": {
                    "archive": {"config": roots},
                    "source": {"config": {"kind": "archive"}},
                    "mlflow": {"config": {"artifact_root": str(tmp_path / "artifacts")}},
                },
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


@pytest.fixture
def at_target(tmp_path: Path) -> Callable[[], dict[str, dict[str, str]]]:
    """Run id → tags, of all runs in the store."""

    def tags() -> dict[str, dict[str, str]]:
        target = MlflowTarget(MlflowConfig(tracking_uri=os.environ["MLFLOW_TRACKING_URI"]))
        client = target._to.client
        experiments = [e.experiment_id for e in client.search_experiments()]
        return {r.info.run_name: r.data.tags for r in client.search_runs(experiments)}

    return tags


Tags = Callable[[], dict[str, dict[str, str]]]


def check_of(instance: dg.DagsterInstance, project: str) -> tuple[bool, dict[str, Any]]:
    """The latest verdict on what MLflow holds of a project."""
    key = dg.AssetCheckKey(dg.AssetKey(["mlflow", "load"]), "held_by_target")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    assert evaluation.partition == project
    return evaluation.passed, {name: v.value for name, v in evaluation.metadata.items()}


def states(instance: dg.DagsterInstance) -> dict[str, str]:
    """Place → state, as the latest status says it of the one project."""
    entry = instance.get_latest_materialization_event(dg.AssetKey(["migration", "status"]))
    assert entry
    assert entry.asset_materialization
    table: Any = entry.asset_materialization.metadata["projects"].value
    return {row.data["place"]: row.data["state"] for row in table.records}


def test_models_and_runs_arrive_and_are_verified(
    migrate: Migrate, instance: dg.DagsterInstance, at_target: Tags
) -> None:
    result = migrate(DATA / "neptune2-complete")
    assert result.success
    tags = at_target()
    assert {(t["neptune.kind"], run) for run, t in tags.items()} == {
        *(("run", f"TAB-{i}") for i in range(1, 6)),
        ("model", "TAB-MOD"),
        ("model_version", "TAB-MOD-1"),
        ("model_version", "TAB-MOD-2"),
    }
    assert {t["neptune.verified"] for t in tags.values()} == {"true"}
    assert not any("neptune.grade" in t for t in tags.values())
    passed, figures = check_of(instance, "acme/tabular")
    assert passed
    assert (figures["runs verified"], figures["damaged runs left out"]) == (8, 0)
    assert latest(instance, ["neptune", "run"], "acme/tabular|TAB-1")["grade"] == "plausible"
    export = latest(instance, ["neptune", "export"], "acme/tabular")
    assert (export["exported now"], export["runs plausible"]) == (0, 8)


def test_nobody_decided_about_damaged_runs(
    migrate: Migrate, instance: dg.DagsterInstance, at_target: Tags
) -> None:
    """They are left out by name, and the job fails: this is for a person to decide."""
    result = migrate(DATA / "neptune3-failed-requests")
    assert not result.success
    assert at_target() == {}
    passed, figures = check_of(instance, "acme/faulty")
    assert not passed
    assert figures["left out"] == [f"acme/faulty|{run}" for run in FAULTY]
    assert figures["damaged runs left out"] == 6
    assert "MIGRATION_LOAD_DAMAGED=1" in figures["remedy"]
    assert states(instance) == {"archive": "damaged", "mlflow": "failed"}
    assert len(records_of(instance, ["neptune", "run"])) == 6


def test_damaged_runs_are_left_out_by_decision(
    migrate: Migrate, instance: dg.DagsterInstance, at_target: Tags, tmp_path: Path
) -> None:
    root = half_damaged(tmp_path)
    result = migrate(root, "leave out")
    assert result.success
    assert set(at_target()) == {"whole"}
    passed, figures = check_of(instance, "ws/p")
    assert not passed  # a warning: what it says of the target does not hold for every run
    assert figures["left out"] == ["ws/p|broken"]
    assert figures["runs verified"] == 1
    assert "remedy" not in figures
    assert states(instance) == {"archive": "damaged", "mlflow": "done"}
    said = summary_of(result)
    assert "1 loaded, 1 read back and compared with what the archive holds" in said
    assert "1 complete, 1 damaged" in said
    assert said.endswith("; 1 damaged run(s) left out: ws/p|broken")


def test_damaged_runs_are_loaded_as_far_as_they_go_and_marked(
    migrate: Migrate, instance: dg.DagsterInstance, at_target: Tags, tmp_path: Path
) -> None:
    root = half_damaged(tmp_path)
    result = migrate(root, "load")
    assert result.success
    tags = at_target()
    assert tags["broken"]["neptune.grade"] == "damaged"
    assert tags["broken"]["neptune.verified"] == "true"
    assert "neptune.grade" not in tags["whole"]
    notes = [json.loads(p.read_text()) for p in (tmp_path / "artifacts").rglob("migration.json")]
    damage = {note["run"]: " ".join(note["damage"]) for note in notes}
    assert "1 of 1 files are not there" in damage["broken"]
    assert damage["whole"] == ""
    passed, figures = check_of(instance, "ws/p")
    assert passed
    assert figures["damaged runs loaded as far as they can be read"] == 1
    assert "; 1 run(s) are damaged, marked so, and there as far as" in summary_of(result)
    again = migrate(root, "load")
    assert again.success
    assert "nothing was to be done" in summary_of(again)


def test_a_run_that_was_repaired_loses_its_mark(
    migrate: Migrate, at_target: Tags, tmp_path: Path
) -> None:
    root = half_damaged(tmp_path)
    migrate(root, "load")
    (kept,) = (tmp_path / "kept").iterdir()
    (folder,) = (p for p in (root / "files").rglob("broken-*") if p.is_dir())
    shutil.copy(kept, folder / kept.name)
    result = migrate(root)
    assert result.success
    assert "1 loaded" in summary_of(result)
    assert "neptune.grade" not in at_target()["broken"]


def test_what_cannot_be_read_at_all_is_named(
    migrate: Migrate, at_target: Tags, tmp_path: Path
) -> None:
    root = half_damaged(tmp_path)
    (part,) = (root / "data").rglob("broken-*")
    part.write_bytes(b"PAR1")
    result = migrate(root, "load")
    assert result.success
    assert set(at_target()) == {"whole"}
    assert summary_of(result).endswith("; 1 damaged run(s) left out: ws/p|broken")


def test_the_archive_is_not_written_to(migrate: Migrate, tmp_path: Path) -> None:
    root = half_damaged(tmp_path)
    tmp = root / "data" / "ws_p-x" / "left-over_part_0.abcdefgh.parquet.tmp"
    tmp.parent.mkdir()
    tmp.write_bytes(b"of a process that is gone")
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    migrate(root, "load")
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


def test_a_selection_is_refused_before_anything_is_done(
    migrate: Migrate, instance: dg.DagsterInstance
) -> None:
    result = migrate(DATA / "neptune3-interrupted", run_regex="unet")
    assert not result.success
    assert "the source is an archive, which is taken as it is" in "".join(all_messages(instance))
    assert records_of(instance, ["neptune", "run"]) == set()


@pytest.mark.parametrize(
    ("given", "handling"), [(None, "fail"), ("", "fail"), ("0", "leave out"), ("1", "load")]
)
def test_the_variable_is_a_decision_or_none(
    monkeypatch: pytest.MonkeyPatch, given: str | None, handling: str
) -> None:
    monkeypatch.delenv("MIGRATION_LOAD_DAMAGED", raising=False)
    if given is not None:
        monkeypatch.setenv("MIGRATION_LOAD_DAMAGED", given)
    from migration_pipeline.defs import checks, load

    assert load.HANDLINGS[settings.decision(checks.DAMAGED_VARIABLE)] == handling
    assert LoadConfig().damaged == "fail"  # read when the definitions were loaded, without it
    monkeypatch.setenv("MIGRATION_LOAD_DAMAGED", "perhaps")
    with pytest.raises(ConfigError, match="is 'perhaps'"):
        settings.decision(checks.DAMAGED_VARIABLE)


def half_damaged(folder: Path) -> Path:
    """An archive of two runs; the only file of one is gone, and lies in `kept`."""
    root = folder / "archive"
    archive = archive_in(root)
    for name in ("broken", "whole"):
        rows = [row("a", "int", 1), row("f", "file", name.encode())]
        write_run(archive, RunKey("ws/p", name), [*rows, row("m", "float_series", 0.5, 0, 5)])
    (file,) = (archive.files_root("ws/p") / RunKey("ws/p", "broken").folder).iterdir()
    (folder / "kept").mkdir()
    shutil.move(file, folder / "kept" / file.name)
    return root


def summary_of(result: dg.ExecuteInProcessResult) -> str:
    (said,) = (
        str(event.step_output_data.metadata["summary"].value)
        for event in result.all_events
        if event.is_successful_output
    )
    return said


def all_messages(instance: dg.DagsterInstance) -> list[str]:
    """Errors of all Dagster runs, causes included."""
    said = []
    for run in instance.get_runs():
        for record in instance.get_records_for_run(run.run_id).records:
            event = record.event_log_entry.dagster_event
            error = event.step_failure_data.error if event and event.is_step_failure else None
            while error:
                said.append(error.message)
                error = error.cause
    return said
