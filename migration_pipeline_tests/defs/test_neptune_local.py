"""Local directories into MLflow by the job `migrate`, and what it says of damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.defs import jobs
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline_tests.sources.neptune_local.left import add_run, tree
from migration_pipeline_tests.targets.stores import sqlite_target

PROJECT = "acme/offline"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be printed when the process ends."""
    lines: list[str] = []
    monkeypatch.setattr(jobs, "say_last", lines.append)
    return lines


def test_whole_and_damaged_directories(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
) -> None:
    target = sqlite_target(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    folder = tmp_path / "training"
    add_run(folder, 1)
    log = add_run(folder, 2) / "data-1.log"
    log.write_bytes(log.read_bytes()[:-100])
    before = tree(folder)

    def migrate(**load: Any) -> Any:
        resources = {
            "archive": {"data_path": str(tmp_path / "data"), "files_path": str(tmp_path / "files")},
            "source": {
                "kind": "neptune_local",
                "local_path": str(folder),
                "local_project": PROJECT,
                "local_run_ids": "00000000-0000-0000-0000-000000000001=OFF-1",
            },
            "mlflow": {"artifact_root": str(tmp_path / "artifacts")},
        }
        config = {"targets": ["mlflow"], **load}
        return definitions.defs.resolve_job_def("migrate").execute_in_process(
            run_config={
                "ops": {"migrate_projects": {"config": config}},
                "resources": {name: {"config": values} for name, values in resources.items()},
            },
            instance=instance,
            raise_on_error=False,
        )

    whole = RunKey(PROJECT, "OFF-1")
    damaged = RunKey(PROJECT, "00000000-0000-0000-0000-000000000002")
    assert not migrate().success, "somebody has to decide about the damaged run"
    assert "1 damaged run(s) left out" in said[-1]
    assert set(Archive(tmp_path / "data", tmp_path / "files").runs(PROJECT)) == {whole, damaged}
    there = target.runs(PROJECT, ProjectMapping())
    assert {key for key, run in there.items() if run.verified} == {whole}
    assert migrate(load={"damaged": "load"}).success, said
    there = target.runs(PROJECT, ProjectMapping())
    assert {key for key, run in there.items() if run.verified} == {whole, damaged}
    assert tree(folder) == before
