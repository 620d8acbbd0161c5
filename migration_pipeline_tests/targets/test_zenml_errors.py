"""Bad input gets one clear message that names the place and the remedy, and no secret."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import event

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    ConfigError,
    MissingSettingError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets import registry
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline.targets.zenml.client import ZenmlTarget
from migration_pipeline.targets.zenml.config import ZenmlConfig
from migration_pipeline.targets.zenml.connection import Connection
from migration_pipeline_tests.contract.making import PROJECT, DataSet, RunData, build, curve
from migration_pipeline_tests.targets.zenml_backend import DATABASE, configuration, make

CANARY = "c4n4ry-s3cr3t"
MAPPING = ProjectMapping()


def at(url: str, folder: Path, key: str = "") -> ZenmlTarget:
    settings = ZenmlConfig(
        store_url=SecretStr(url), api_key=SecretStr(key), config_path=str(folder / "client")
    )
    return ZenmlTarget(settings)


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """Something that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_no_setting_and_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ZenmlConfig.environment.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "none"))
    with pytest.raises(MissingSettingError, match="ZENML_STORE_URL is not set") as raised:
        registry.open_target("zenml")
    assert "`zenml login`" in str(raised.value)
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("ZENML_STORE_URL", f"https://user:{CANARY}@zenml.example/")
    assert registry.open_target("zenml").address == "https://zenml.example"


def test_the_store_that_was_logged_into(tmp_path: Path) -> None:
    """As `zenml login` writes it; a configuration without a store means ZenML's own in SQLite."""
    file = tmp_path / "config.yaml"
    file.write_text("store:\n  type: rest\n  url: https://zenml.example\n")
    assert ZenmlConfig(config_path=str(tmp_path)).address == "https://zenml.example"
    file.write_text("version: 0.98.0\n")
    expected = f"sqlite:///{tmp_path}/local_stores/default_zen_store/zenml.db"
    assert ZenmlConfig(config_path=str(tmp_path)).address == expected
    file.write_text("{ not yaml")
    with pytest.raises(ConfigError, match="cannot be read: ParserError"):
        ZenmlTarget(ZenmlConfig(config_path=str(tmp_path)))


@pytest.mark.parametrize(("url", "said"), [("ftp://x/y", "by 'ftp'"), ("./x", "by './x'")])
def test_unknown_addresses(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        at(url, tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TargetUnavailableError, match=r"127\.0\.0\.1:9 cannot be reached") as raised:
        at(f"http://user:{CANARY}@127.0.0.1:9", tmp_path, key=CANARY).check()
    assert time.monotonic() - started < 10
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (200, '{"version": "0.70.0"}', TargetRefusedError, r"version 0\.70\.0, and only 0\.98\.x"),
        (200, "<html>", TargetRefusedError, "is not ZenML"),
        (404, "{}", TargetRefusedError, "is not ZenML"),
        (503, "", TargetUnavailableError, "status 503"),
    ],
)
def test_another_version_or_no_zenml(
    status: int, text: str, kind: type[TargetError], said: str, tmp_path: Path
) -> None:
    with answering(status, text) as url, pytest.raises(kind, match=said):
        at(url, tmp_path).check()


def test_no_secret_in_any_form(tmp_path: Path) -> None:
    config = ZenmlConfig(
        store_url=SecretStr(f"mysql://u:{CANARY}@db.example/x"), api_key=SecretStr("k3y" + CANARY)
    )
    connection = Connection(config)
    assert config.address == connection.address == "mysql://db.example/x"
    assert CANARY not in f"{config!r} {config}"
    error = connection._named(ValueError(f"no u:{CANARY}@db with k3y{CANARY}"), "reading")
    assert CANARY not in str(error)


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is text")
    with pytest.raises(TargetRefusedError, match="is not an SQLite database"):
        at(f"sqlite:///{tmp_path}/x.db", tmp_path).check()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetRefusedError, match="is read-only"):
        at(f"sqlite:///{tmp_path}/file/zenml.db", tmp_path).check()


def test_looking_makes_no_store(tmp_path: Path) -> None:
    target = at(f"sqlite:///{tmp_path}/store/zenml.db", tmp_path)
    assert not target.has_store()
    assert list(tmp_path.iterdir()) == []
    assert make(tmp_path / "made").has_store()


def test_another_schema(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'of the future'")
        database.commit()
    with pytest.raises(TargetRefusedError, match="has another schema version"):
        ZenmlTarget(config).check()


@pytest.mark.parametrize("setting", ["project", "stack"])
def test_unknown_project_or_stack(setting: str, tmp_path: Path) -> None:
    config = configuration(tmp_path).model_copy(update={setting: "nosuch"})
    variable = f"ZENML_ACTIVE_{setting.upper()}_ID"
    with pytest.raises(TargetRefusedError, match=f"'nosuch' at .*Set {variable}"):
        ZenmlTarget(config).check()
    ZenmlTarget(config.model_copy(update={setting: "default"})).check()


def test_a_version_of_another_origin(tmp_path: Path) -> None:
    """It is neither taken for the run nor overwritten."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 2))),)))
    target = make(tmp_path / "store")
    model = target._records.make_model("neptune-export-team-project", "")
    theirs = target._records.make_version(model, "RUN-1", "mine", [])
    plan = plan_load(target, archive, PROJECT)
    ((_, error),) = load_runs(target, archive, plan.mapping, plan.due).failures
    assert isinstance(error, TargetRefusedError)
    assert "'RUN-1' that is not of run team/project|RUN-1" in str(error)
    assert "MIGRATION_NAME_PREFIX" in str(error)
    assert target._records.version(theirs).description == "mine"


def test_an_error_of_the_listing_is_no_absence(tmp_path: Path) -> None:
    target = make(tmp_path)
    target._records.make_model("neptune-export-team-project", "")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("DROP TABLE model_version")
        database.commit()
    with pytest.raises(TargetError, match="listing model versions"):
        target.runs(PROJECT, MAPPING)


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    """ZenML waits for a minute by itself; here, for less."""
    target = make(tmp_path)
    engine = target._to.store.engine
    event.listen(engine, "connect", lambda made, _: made.execute("PRAGMA busy_timeout = 100"))
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TargetUnavailableError, match="database is locked"):
            target.runs(PROJECT, MAPPING)


def test_a_deleted_version_is_loaded_again(tmp_path: Path) -> None:
    """By a person at ZenML: the run is not complete any more, and comes back whole."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 2))),)))
    target = make(tmp_path / "store")
    key = RunKey(PROJECT, "RUN-1")
    plan = plan_load(target, archive, PROJECT)
    (first,) = load_runs(target, archive, plan.mapping, plan.due).loaded
    target._records.delete_version(UUID(first.id))
    again = make(tmp_path / "store")
    assert again.find(key, MAPPING).state is LoadState.PARTIAL
    plan = plan_load(again, archive, PROJECT)
    assert plan.due == [key]
    assert all(run.good for run in load_runs(again, archive, plan.mapping, plan.due).runs)
    assert len(list((tmp_path / "store").glob("local_stores/*/neptune-export*/*"))) == 1
