"""The sample's 2.x project through the real source and into MLflow, by the job that everybody
starts; and what is said of a server, a project or a query that does not fit."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.defs import jobs
from migration_pipeline.defs.partitions import key_of
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import latest, records_of
from migration_pipeline_tests.targets.stores import sqlite_target

EXPORT, RUN = ["neptune", "export"], ["neptune", "run"]
TABULAR, VISION = "acme/tabular", "acme/vision"
OTHERS = {
    RunKey(TABULAR, "TAB-CANCER", "model"),
    RunKey(TABULAR, "TAB-CANCER-1", "model_version"),
    RunKey(TABULAR, "TAB-CANCER-2", "model_version"),
    RunKey(TABULAR, "TAB", "project"),
}
EVERYTHING = {RunKey(TABULAR, f"TAB-{n}") for n in range(1, 8)} | OTHERS


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be printed when the process ends."""
    lines: list[str] = []
    monkeypatch.setattr(jobs, "say_last", lines.append)
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's 2.x project as an archive."""
    folder = tmp_path_factory.mktemp("sample")
    with zipfile.ZipFile(SAMPLE_ZIP) as packed:
        packed.extractall(folder, [n for n in packed.namelist() if "/acme_tabular-" in n])
    return folder


@pytest.fixture
def only_2(folder: Path) -> Store:
    store = Store(create_missing_projects=False)
    load_archive(store, folder / "data", folder / "files")
    return store


@pytest.fixture
def only_3() -> Store:
    store = Store(create_missing_projects=False)
    store.project(VISION).create_run("a run")
    return store


@pytest.fixture
def server(only_2: Store) -> Iterator[RunningServer]:
    """With a project of 3.x as well."""
    only_2.project(VISION).create_run("a run")
    with running_server(only_2) as running:
        yield running


@pytest.fixture
def migrate(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Execute:
    """Runs the job `migrate` against a server."""

    def run(server: RunningServer, kind: str = "neptune2", **config: Any) -> Any:
        monkeypatch.setenv("NEPTUNE_API_TOKEN", server.token)
        resources = {
            "archive": {"data_path": str(tmp_path / "data"), "files_path": str(tmp_path / "files")},
            "source": {"kind": kind},
            "mlflow": {"artifact_root": str(tmp_path / "artifacts")},
        }
        return definitions.defs.resolve_job_def("migrate").execute_in_process(
            run_config={
                "ops": {"migrate_projects": {"config": config}},
                "resources": {name: {"config": values} for name, values in resources.items()},
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


def digests(archive: Archive) -> dict[RunKey, str]:
    return {key: run.manifest.digest for key, run in archive.runs(TABULAR).items() if run.manifest}


def keys(instance: dg.DagsterInstance, asset: list[str]) -> set[RunKey]:
    return {key_of(partition) for partition in records_of(instance, asset)}


def test_all_kinds_arrive_and_are_verified(
    migrate: Execute,
    server: RunningServer,
    instance: dg.DagsterInstance,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
) -> None:
    target = sqlite_target(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    assert migrate(server, targets=["mlflow"]).success, said
    assert said[-1] == (
        "migrate: 1 of 1 projects done; 11 runs exported, 11 loaded, 11 read back and compared"
    )
    archive = Archive(tmp_path / "data", tmp_path / "files")
    assert archive.projects() == [TABULAR]
    assert digests(archive) == digests(Archive(folder / "data", folder / "files"))
    assert set(digests(archive)) == EVERYTHING
    assert keys(instance, RUN) == keys(instance, ["mlflow", "run"]) == EVERYTHING
    at_target = target.runs(TABULAR, ProjectMapping())
    assert {key for key, run in at_target.items() if run.verified} == EVERYTHING
    figures = latest(instance, EXPORT, TABULAR)
    assert (figures["runs"], figures["of them models"], figures["of them model versions"]) == (
        (11, 1, 2)
    )
    assert figures["runs with notes"] >= 4

    assert migrate(server, targets=["mlflow"]).success
    assert said[-1] == "migrate: 1 of 1 projects done; nothing was to be done"


def test_kinds_can_be_chosen(
    migrate: Execute, server: RunningServer, instance: dg.DagsterInstance
) -> None:
    kinds = ["model", "model_version", "project"]
    assert migrate(server, kinds=kinds).success
    assert keys(instance, RUN) == OTHERS


def test_queries_choose_runs_and_models(
    migrate: Execute, server: RunningServer, instance: dg.DagsterInstance
) -> None:
    queries = {
        "runs_query": "(`parameters/max_depth`:int = 3)",
        "models_query": '(`sys/stage`:string = "production")',
        "kinds": ["run", "model_version"],
    }
    assert migrate(server, **queries).success
    assert keys(instance, RUN) == {
        RunKey(TABULAR, "TAB-2"),
        RunKey(TABULAR, "TAB-3"),
        RunKey(TABULAR, "TAB-CANCER-1", "model_version"),
    }


def test_a_query_that_the_server_refuses_is_the_last_line(
    migrate: Execute, server: RunningServer, said: list[str]
) -> None:
    assert not migrate(server, runs_query="depth === 3 AND").success
    assert "runs_query" in said[-1]
    assert "'depth === 3 AND'" in said[-1]


@pytest.mark.parametrize(
    ("kind", "project", "right"),
    [("neptune2", VISION, "neptune3"), ("neptune3", TABULAR, "neptune2")],
)
def test_a_project_of_the_other_version_is_refused_with_the_setting_to_change(
    migrate: Execute,
    server: RunningServer,
    instance: dg.DagsterInstance,
    said: list[str],
    kind: str,
    project: str,
    right: str,
) -> None:
    assert not migrate(server, kind, projects=[project]).success
    assert said[-1].startswith("migrate: failed before anything was done: ")
    assert repr(project) in said[-1]
    assert f"MIGRATION_SOURCE={right}" in said[-1]
    assert records_of(instance, EXPORT) == set()


def test_a_server_without_2x_is_named_with_the_setting_to_change(
    migrate: Execute, only_3: Store, said: list[str]
) -> None:
    with running_server(only_3, protocols=("3",)) as server:
        assert not migrate(server, "neptune2").success
    assert said[-1].startswith("migrate: failed before anything was done: ")
    assert "MIGRATION_SOURCE=neptune3" in said[-1]


def test_a_server_without_3x_is_named_with_the_setting_to_change(
    migrate: Execute, only_2: Store, said: list[str]
) -> None:
    with running_server(only_2, protocols=("2",)) as server:
        assert not migrate(server, "neptune3").success
    assert said[-1].startswith("migrate: failed before anything was done: all 1 project(s)")
    assert "MIGRATION_SOURCE=neptune2" in said[-1]


def test_projects_of_the_other_version_are_left_out(
    migrate: Execute, server: RunningServer, instance: dg.DagsterInstance
) -> None:
    assert migrate(server, "neptune3").success
    assert keys(instance, RUN) == {RunKey(VISION, "a run")}
