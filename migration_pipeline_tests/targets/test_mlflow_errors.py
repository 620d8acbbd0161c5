"""Bad input gets one clear message that names the place and the remedy, and no secret."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from migration_pipeline.errors import (
    ConfigError,
    MigrationError,
    MissingExtraError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
    UnknownNameError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets import registry
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline_tests.contract.datasets import PROJECT, Archive, RunData, curve, write_run
from migration_pipeline_tests.targets.stores import sqlite_uri

CANARY = "c4n4ry-s3cr3t"


def target(uri: str) -> MlflowTarget:
    return MlflowTarget(MlflowConfig(tracking_uri=uri))


def test_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mlflow" in registry.target_names()
    with pytest.raises(UnknownNameError, match=r"MIGRATION_TARGETS: there is no target 'mlfow'"):
        registry.config_class("mlfow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(MissingSettingError, match="MLFLOW_TRACKING_URI is not set"):
        registry.open_target("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/x.db")
    assert registry.open_target("mlflow").address == "sqlite:////tmp/x.db"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="uv sync --extra mlflow"):
        registry.open_target("mlflow")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("databricks", "cannot be reached by 'databricks'"),
        ("./mlruns", "cannot be reached by './mlruns'"),
        ("ftp://host/x", "cannot be reached by 'ftp'"),
        ("sqlite://", "ends with the process"),
    ],
)
def test_unknown_addresses(uri: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        target(uri)


def test_nobody_there() -> None:
    started = time.monotonic()
    with pytest.raises(TargetUnavailableError, match=r"127\.0\.0\.1:9 cannot be reached") as raised:
        target(f"http://user:{CANARY}@127.0.0.1:9").check()
    assert time.monotonic() - started < 15
    assert CANARY not in str(raised.value)


def test_no_secret_in_any_form() -> None:
    config = MlflowConfig(tracking_uri=f"postgresql://u:{CANARY}@db.example/x?password={CANARY}")
    connection = Connection(config)
    assert config.address == connection.address == "postgresql://db.example/x"
    assert CANARY not in f"{config!r} {config}"
    error = connection._named(ValueError(f"cannot reach u:{CANARY}@db, {CANARY}"), "reading")
    assert CANARY not in str(error)


def test_read_only_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow takes the address for a path and makes it
    uri = sqlite_uri(tmp_path / "store")
    archive = Archive(tmp_path / "data", tmp_path / "files")
    write_run(archive, RunData("a", tuple(curve("m", 2))))
    path = uri.removeprefix("sqlite:///")
    only = MlflowTarget(
        MlflowConfig(
            tracking_uri=f"sqlite:///file:{path}?mode=ro&uri=true", artifact_root=str(tmp_path)
        )
    )
    plan = plan_load(only, archive, PROJECT)
    ((_, error),) = load_runs(only, archive, plan.mapping, plan.due).failures
    assert isinstance(error, TargetRefusedError)
    assert "is read-only" in str(error)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetRefusedError, match="is read-only"):
        target(f"sqlite:///{tmp_path}/file/mlflow.db").check()


def test_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migration_pipeline.targets.mlflow.connection.LOCK_SECONDS", 0.2)
    uri = sqlite_uri(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TargetUnavailableError, match="database is locked"):
            target(uri).check()


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is text, and long enough to be read as a header " * 50)
    with pytest.raises(TargetRefusedError, match="is not an SQLite database"):
        target(f"sqlite:///{tmp_path}/x.db").check()


def test_another_schema(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0c779009ac13'")
        database.commit()
    with pytest.raises(TargetRefusedError, match=r"another schema version.*mlflow db upgrade"):
        target(uri).check()


def test_postgres_needs_a_place_for_files() -> None:
    connection = Connection(MlflowConfig(tracking_uri="postgresql://127.0.0.1/x"))
    with pytest.raises(MissingSettingError, match="MLFLOW_ARTIFACT_ROOT"):
        connection.artifact_location("x")
    stored = MlflowConfig(tracking_uri="postgresql://127.0.0.1/x", artifact_root="s3://bucket/a/")
    assert Connection(stored).artifact_location("x") == "s3://bucket/a/x"


def test_postgres_without_its_driver_or_server() -> None:
    with pytest.raises(MigrationError) as raised:
        target(f"postgresql://nobody:{CANARY}@127.0.0.1:9/none").check()
    assert isinstance(raised.value, ConfigError | TargetUnavailableError)
    assert CANARY not in str(raised.value)


def test_an_error_of_the_listing_is_no_absence(tmp_path: Path) -> None:
    there = target(sqlite_uri(tmp_path))
    there.check()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DROP TABLE experiments")
        database.commit()
    with pytest.raises((TargetRefusedError, TargetUnavailableError), match="searching experiments"):
        there.runs("p/q", ProjectMapping())
