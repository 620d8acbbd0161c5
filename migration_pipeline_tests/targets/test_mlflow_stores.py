"""The same hostile data over HTTP and PostgreSQL, and a real archive of neptune-exporter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline_tests.contract.datasets import BY_NAME, write_run
from migration_pipeline_tests.contract.test_contract import complaints, load_all
from migration_pipeline_tests.targets.mlflow_backend import whole
from migration_pipeline_tests.targets.stores import (
    mlflow_server,
    postgres_database,
    sqlite_target,
)

NAMES = (
    "every parameter type",
    "NaN, ±inf, −0.0, denormals as points",
    "stand-ins that meet",
    "points without time",
    "repeated and unordered steps",
    "names with every punctuation and in other scripts",
    "files",
    "quotes and whatever else in sys/name",
    "quotes and whatever else in run ids",
    "every 2.x type",
    "a model and its versions",
)
ADOPTED = Path(__file__).parents[1] / "data" / "neptune-exporter"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Each data set as a project of its own."""
    root = tmp_path_factory.mktemp("stores")
    archive = Archive(root / "data", root / "files")
    for i, name in enumerate(NAMES):
        for run in BY_NAME[name].runs:
            write_run(archive, replace(run, project=f"team/project {i}"))
    return archive


@pytest.fixture(scope="module")
def by_sql(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What SQLite holds of it, written by SQL."""
    folder = tmp_path_factory.mktemp("sqlite")
    assert complaints(load_all(sqlite_target(folder), archive)) == []
    return whole(folder)


def check_everything(target: MlflowTarget, archive: Archive) -> None:
    assert complaints(load_all(target, archive)) == []
    for project in archive.projects():
        plan = plan_load(target, archive, project)
        assert (plan.due, plan.unverified, plan.duplicates) == ([], [], {})
        again = load_runs(target, archive, plan.mapping, plan.complete)
        assert len(again.skipped) == len(plan.complete)


def _goes_on(target: MlflowTarget, archive: Archive) -> None:
    """With a load that was cut off before its mark: nothing of it is sent again."""
    sent: list[Any] = []
    for name in ("NaN, ±inf, −0.0, denormals as points", "a model and its versions"):
        project = f"team/project {NAMES.index(name)}"
        mapping = plan_load(target, archive, project).mapping
        for run in target.runs(project, mapping).values():
            target._to.client.set_tag(run.ids[0], "neptune.load_state", "loading")
        due = plan_load(target, archive, project).due
        assert len(due) == len(BY_NAME[name].runs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target._to.metrics, "send", lambda *what: sent.append(what))
            assert complaints([load_runs(target, archive, mapping, due)]) == []
    assert sent == []


def test_over_http(
    archive: Archive, by_sql: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mlflow_server(tmp_path) as address:
        target = MlflowTarget(MlflowConfig(tracking_uri=address))
        target.check()
        check_everything(target, archive)
        project = archive.projects()[0]
        plan = plan_load(target, archive, project)
        found = target.find(plan.complete[0], plan.mapping)
        assert found.url.startswith(f"{address}/#/experiments/")
        _goes_on(target, archive)
    assert whole(tmp_path) == by_sql
    assert capsys.readouterr() == ("", "")  # MLflow prints addresses and bars by default


def test_in_postgres(archive: Archive, tmp_path: Path) -> None:
    with postgres_database() as uri:
        target = MlflowTarget(MlflowConfig(tracking_uri=uri, artifact_root=str(tmp_path)))
        check_everything(target, archive)


def test_an_archive_of_neptune_exporter(tmp_path: Path) -> None:
    archive = Archive(ADOPTED / "data", ADOPTED / "files")
    assert sum(len(archive.runs(project)) for project in archive.projects()) >= 3
    check_everything(sqlite_target(tmp_path), archive)


OPEN = """
import sys
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.connection import Connection
connection = Connection(MlflowConfig(tracking_uri=sys.argv[1]))
import mlflow.store.tracking.sqlalchemy_store
print("ready", flush=True)
sys.stdin.read(1)
print(len(connection.client.search_experiments()))
"""


def test_two_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    """As two projects of a backfill do; MLflow's own making of tables is for one at a time."""
    address = f"sqlite:///{tmp_path}/mlflow.db"
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    answers = []
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("x")
        opener.stdin.flush()
    for opener in openers:
        out, err = opener.communicate(timeout=120)
        answers.append((out, err[-300:] if opener.returncode else ""))
    assert answers == [("1\n", "")] * 2
