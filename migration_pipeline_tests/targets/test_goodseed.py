"""Runs in GoodSeed as GoodSeed itself reads them, and what it cannot be given."""

from __future__ import annotations

import json
import sqlite3
import threading
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from goodseed import run as goodseed_run
from goodseed import server, storage

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    MigrationError,
    StoreBusyError,
    StoreDamagedError,
    StoreNotWritableError,
    TargetRefusedError,
    UntestedStoreError,
)
from migration_pipeline.targets.goodseed import capabilities, client, naming
from migration_pipeline.targets.goodseed.client import GoodseedTarget
from migration_pipeline.targets.goodseed.config import GoodseedConfig
from migration_pipeline.targets.loading import verify_runs
from migration_pipeline.targets.local import sqlite
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline_tests.contract.making import PROJECT, START, Row, build, of
from migration_pipeline_tests.targets.goodseed_backend import make
from migration_pipeline_tests.targets.local_stores import (
    INF,
    everything,
    load,
    one_run,
    only,
    small_disk,
)

KEY = RunKey(PROJECT, "RUN-1")
PLAIN = ProjectMapping()
FIRST = "2023-11-14T22:13:20+00:00"


def file_of(folder: Path) -> Path:
    return folder / "goodseed/projects/team/project/runs/RUN-1.sqlite"


def points(file: Path, path: str) -> list[tuple[float, float, str]]:
    return [(p["step"], p["value"], p["logged_at"]) for p in storage.read_metrics(file, path)]


def test_goodseed_reads_what_was_loaded(tmp_path: Path) -> None:
    target = make(tmp_path)
    assert only(load(target, everything(tmp_path))).good
    (run,) = server._scan_runs(tmp_path / "goodseed/projects")
    assert run == {
        "project": "team/project",
        "run_id": "RUN-1",
        "experiment_name": "an experiment",
        "created_at": FIRST,
        "closed_at": "2023-11-14T22:13:21+00:00",
        "status": "failed",
        "trashed": False,
        "string_series_paths": ["log"],
        "metric_paths": ["again", "loss", "train/acc"],
    }
    file = file_of(tmp_path)
    configs = storage.read_configs(file)
    assert configs["lr"] == 0.1
    assert configs["epochs"] == 2**63 - 1
    assert configs["on"] is True
    assert configs["when"].isoformat() == "2023-11-14T22:13:20.001000+00:00"
    assert configs["sys/tags"] == {"one", "two, three"}
    assert (configs["sys/id"], configs["sys/state"]) == ("RUN-1", "failed")
    assert [
        (p["step"], p["value"], p["logged_at"]) for p in storage.read_metrics(file, "loss")
    ] == [
        (0, 0.5, FIRST),
        (0.5, INF, "2023-11-14T22:13:20.007000+00:00"),
    ]
    # The first of two points at a step, and a point without time at the run's start.
    assert [
        (p["step"], p["value"], p["logged_at"]) for p in storage.read_metrics(file, "again")
    ] == [
        (1, 1.0, FIRST),
        (2, 0.0, FIRST),
    ]
    texts = storage.read_string_series(file, "log")["points"]
    assert [(p["step"], p["value"]) for p in texts] == [(1, "first"), (1.5, "second")]


def test_its_server_shows_it(tmp_path: Path) -> None:
    load(make(tmp_path), everything(tmp_path))

    class Handler(server._RequestHandler):
        projects_dir = tmp_path / "goodseed/projects"

    with server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}/api/runs"
        with urllib.request.urlopen(f"{address}/team/project/RUN-1/metrics?path=train/acc") as said:
            shown = json.loads(said.read())["metrics"]
        http.shutdown()
    assert [(p["step"], p["value"]) for p in shown] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_what_its_tables_cannot_hold_is_named_and_kept(tmp_path: Path) -> None:
    run = only(load(make(tmp_path), everything(tmp_path)))
    assert run.report
    kept = "tables neptune_* in the run's file"
    assert {(x.attribute, x.reason, x.count, x.kept) for x in run.report.losses} == {
        ("again", "without time", 1, kept),
        ("again", "negative zero", 1, kept),
        ("again", "repeated point", 1, kept),
        ("loss", "NaN", 1, kept),
    }
    assert (tmp_path / "goodseed/files/team/project/RUN-1/1/files/model.bin").read_bytes() == (
        b"weights"
    )


def test_a_changed_point_is_not_repaired_by_what_is_kept(tmp_path: Path) -> None:
    archive, target = everything(tmp_path), make(tmp_path)
    load(target, archive)
    with closing(sqlite3.connect(file_of(tmp_path))) as database:
        database.execute("UPDATE metric_points SET y = 3 WHERE step = 2")
        database.execute("DELETE FROM configs WHERE path = 'lr'")
        database.commit()
    (run,) = verify_runs(target, archive, PLAIN, [KEY]).runs
    assert run.verdict
    found = {(f.kind, f.attribute) for f in run.verdict.findings}
    assert {("differing", "again"), ("missing", "lr")} <= found


def test_names_follow_its_rule_and_never_meet() -> None:
    runs = ["a", "a b", "a?b", "a_b", "-a", "a-", "é", "x" * 200, "x" * 201, " ", "a/b", "."]
    digested = naming.run_id(RunKey("p", "a b"))
    keys = [RunKey("p", run) for run in [*runs, digested]] + [RunKey("p", "a", "model")]
    ids = [naming.run_id(key) for key in keys]
    assert all(len(i) <= 128 and goodseed_run._RUN_ID_RE.match(i) for i in ids)
    assert len({i.lower() for i in ids}) == len(ids)
    assert naming.run_id(RunKey("p", "ABC-12_3")) == "ABC-12_3"
    projects = ["a/b", "a/b c", "a/b?c", "../x", "a/..", "a/.b"]
    folders = [naming.project_folder(project, PLAIN) for project in projects]
    assert folders[0] == "a/b"
    assert len(set(folders)) == len(folders)
    assert not any(part.startswith(".") for f in folders for part in f.split("/"))
    assert naming.project_folder("a/b", ProjectMapping(name_prefix="old")) == "old/a/b"


def test_limits_are_those_of_the_installed_package() -> None:
    assert storage.SCHEMA_VERSION in capabilities.TESTED_SCHEMAS
    assert capabilities.NAME_MAX_LENGTH == goodseed_run._MAX_EXPERIMENT_NAME_LEN
    assert capabilities.RUN_ID_MAX_LENGTH == goodseed_run._MAX_RUN_ID_LEN


def test_a_file_named_like_a_run_is_not_taken_for_one(tmp_path: Path) -> None:
    """GoodSeed takes every `runs/*.sqlite` below its projects for a run."""
    archive = build(tmp_path, of("file", Row("runs/model.sqlite", "file", b"no database")))
    assert only(load(make(tmp_path), archive)).good
    assert [r["run_id"] for r in server._scan_runs(tmp_path / "goodseed/projects")] == ["RUN-1"]


def test_a_run_of_its_own_is_not_overwritten(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    with storage.LocalStorage(file) as own:
        own.set_meta("run_id", "RUN-1")
    run = only(load(make(tmp_path), one_run(tmp_path)))
    assert isinstance(run.error, TargetRefusedError)
    assert "is the file of a run that GoodSeed wrote" in str(run.error)
    assert storage.read_run_meta(file)["run_id"] == "RUN-1"


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    target = GoodseedTarget(GoodseedConfig(home=str(tmp_path / "not/there")))
    with pytest.raises(StoreNotWritableError, match=r"there is no folder .*GOODSEED_HOME"):
        target.check()
    run = only(load(target, one_run(tmp_path)))
    assert isinstance(run.error, StoreNotWritableError)
    assert target.find(KEY, PLAIN).state is LoadState.ABSENT


def test_no_space(tmp_path: Path) -> None:
    target = make(tmp_path)
    target._opener.factory = small_disk(40)
    run = only(load(target, one_run(tmp_path, points=10_000)))
    assert isinstance(run.error, StoreNotWritableError)
    assert "database or disk is full. Free space" in str(run.error)
    assert target.find(KEY, PLAIN).state is LoadState.PARTIAL
    assert not file_of(tmp_path).exists()


def test_tables_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, archive = make(tmp_path), one_run(tmp_path)
    load(target, archive)
    storage.write_run_meta(file_of(tmp_path), "schema_version", "2")
    with pytest.raises(UntestedStoreError, match="have version 2, and only 1 was tested"):
        target.facts(KEY, PLAIN)
    client._schema.cache_clear()
    monkeypatch.setattr(storage, "SCHEMA_VERSION", 2)
    with pytest.raises(UntestedStoreError, match="the installed goodseed have version 2"):
        target.check()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file_of(tmp_path).parent.mkdir(parents=True)
    file_of(tmp_path).write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamagedError, match="file is not a database"):
        make(tmp_path).find(KEY, PLAIN)


def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    target = make(tmp_path)
    load(target, one_run(tmp_path))
    with closing(sqlite3.connect(file_of(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusyError, match="in use by another process") as raised:
            target.mark_verified(KEY, PLAIN, False)
    assert isinstance(raised.value, MigrationError)
    assert target.find(KEY, PLAIN).verified


def test_times_are_the_runs_own(tmp_path: Path) -> None:
    load(make(tmp_path), everything(tmp_path))
    with closing(sqlite3.connect(file_of(tmp_path))) as database:
        updated = {row[0] for row in database.execute("SELECT updated_at FROM configs")}
        times = [row[0] for row in database.execute("SELECT ts FROM metric_points")]
    assert updated == {"2023-11-14T22:13:21+00:00"}
    assert {round(t * 1000) - START for t in times} == {0, 7, 1, 2}
