"""Bad input gets one clear message that names the place and the remedy, and no secret."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, event

from migration_pipeline.archive.archive import RunKey
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
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.datasets import PROJECT, Archive, RunData, curve, write_run
from migration_pipeline_tests.targets.stores import postgres_database, psql, sqlite_uri

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


def one_run(folder: Path) -> Archive:
    archive = Archive(folder / "data", folder / "files")
    write_run(archive, RunData("a", tuple(curve("m", 30_000))))
    return archive


def load(to: MlflowTarget, archive: Archive) -> list[MigrationError | None]:
    plan = plan_load(to, archive, PROJECT)
    return [run.error for run in load_runs(to, archive, plan.mapping, plan.due).runs]


def state(to: MlflowTarget) -> LoadState:
    return to.find(RunKey(PROJECT, "a"), ProjectMapping()).state


def test_no_room(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path / "store")
    archive = one_run(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        ((pages,),) = database.execute("PRAGMA page_count").fetchall()

    def small(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 1500}")

    # Of all connections to come, ours and those of MLflow's client.
    event.listen(Engine, "connect", small)
    try:
        (error,) = load(target(uri), archive)
    finally:
        event.remove(Engine, "connect", small)
        SqlAlchemyStore._engine_map.pop(uri).dispose()
    assert isinstance(error, TargetRefusedError)
    assert "sending metrics: no room is left: (sqlite3.OperationalError) database or" in str(error)
    assert "Make room and start again" in str(error)
    assert state(target(uri)) is LoadState.PARTIAL
    assert load(target(uri), archive) == [None]
    assert state(target(uri)) is LoadState.COMPLETE


def test_postgres_that_refuses(tmp_path: Path) -> None:
    archive = one_run(tmp_path)
    with postgres_database() as uri:
        place, _, name = uri.rpartition("/")
        for wrong, said in (
            (f"{place}/{name}_none", f'database "{name}_none" does not exist'),
            (uri.replace("postgres@", f"nobody_{name}:{CANARY}@"), f'role "nobody_{name}" does'),
        ):
            with pytest.raises(TargetRefusedError, match="MLFLOW_TRACKING_URI") as raised:
                target(wrong).check()
            assert said in str(raised.value)
            assert CANARY not in str(raised.value)

        def there() -> MlflowTarget:
            return MlflowTarget(MlflowConfig(tracking_uri=uri, artifact_root=str(tmp_path)))

        there().check()
        psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        _end_sessions(name)
        (error,) = load(there(), archive)
        assert isinstance(error, TargetRefusedError)
        assert "is read-only: " in str(error)
        assert "Give this user the right to write MLflow's tables" in str(error)
        assert state(there()) is LoadState.ABSENT
        psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        _end_sessions(name)
        _goes_away_and_comes_back(there, archive, name)


def _end_sessions(name: str) -> None:
    psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def _goes_away_and_comes_back(
    there: Callable[[], MlflowTarget], archive: Archive, name: str
) -> None:
    first = there()
    metrics = first._to.metrics
    send = metrics.send

    def last_words(run_id: str, pieces: Any) -> None:
        send(run_id, pieces)
        psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _end_sessions(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "send", last_words)
        (error,) = load(first, archive)
    assert isinstance(error, TargetUnavailableError)
    assert "cannot be reached: sending params: " in str(error)
    psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert state(there()) is LoadState.PARTIAL
    sent: list[int] = []
    second = there()
    send_again = second._to.metrics.send

    def counted(run_id: str, pieces: Any) -> None:
        sent.append(sum(map(len, pieces)))
        send_again(run_id, pieces)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second._to.metrics, "send", counted)
        assert load(second, archive) == [None]
    assert sent == [10_000]
    assert state(there()) is LoadState.COMPLETE
