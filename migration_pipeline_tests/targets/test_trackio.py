"""Runs in Trackio as Trackio itself reads them, and what it cannot be given."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trackio
from trackio import sqlite_storage, utils
from trackio.sqlite_storage import SQLiteStorage

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreNotWritableError,
    UntestedStoreError,
)
from migration_pipeline.targets.loading import verify_runs
from migration_pipeline.targets.local import sqlite
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline.targets.trackio import capabilities, client, naming, package
from migration_pipeline.targets.trackio.client import TrackioTarget
from migration_pipeline.targets.trackio.config import TrackioConfig
from migration_pipeline_tests.contract.making import PROJECT
from migration_pipeline_tests.targets.local_stores import (
    INF,
    everything,
    load,
    one_run,
    only,
    small_disk,
)
from migration_pipeline_tests.targets.trackio_backend import make

KEY = RunKey(PROJECT, "RUN-1")
PLAIN = ProjectMapping()
NAME = "team_project"
FIRST = "2023-11-14T22:13:20.000+00:00"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trackio's own functions look where the target writes."""
    place = tmp_path / "trackio"
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", place)
    monkeypatch.setattr(utils, "ARTIFACTS_DIR", place / "artifacts")
    return tmp_path


def test_trackio_reads_what_was_loaded(folder: Path) -> None:
    assert only(load(make(folder), everything(folder))).good
    assert SQLiteStorage.get_projects() == [NAME]
    (run,) = trackio.Api().runs(NAME)
    assert (run.name, run.id) == ("RUN-1", naming.run_id(KEY))
    assert SQLiteStorage.get_run_records(NAME)[0]["created_at"] == FIRST
    config = run.config
    assert config
    assert (config["lr"], config["epochs"], config["on"]) == (0.1, 2**63 - 1, True)
    assert config["when"] == "2023-11-14T22:13:20.001000+00:00"
    assert config["sys/tags"] == ["one", "two, three"]
    assert (config["_Group"], config["_Username"]) == ("an experiment", "ada")
    assert config["_Created"] == "2023-11-14T22:13:20+00:00"
    assert config["neptune"]["status"] == "failed"
    logs = SQLiteStorage.get_logs(NAME, "RUN-1")
    loss = [(p["step"], p["timestamp"][-10:], p["loss"]) for p in logs if "loss" in p]
    assert [p[:2] for p in loss] == [(0, ".000+00:00"), (0.25, ".001+00:00"), (0.5, ".007+00:00")]
    assert loss[0][2] == 0.5
    assert math.isnan(loss[1][2])
    assert loss[2][2] == INF
    again = [(p["step"], p["again"]) for p in logs if "again" in p]
    assert sorted(again) == [(1, 1.0), (1, 2.0), (2, 0.0)]
    assert SQLiteStorage.get_metric_values(NAME, "RUN-1", "train/acc")[1]["value"] == 0.5
    (bins,) = [p["h"] for p in logs if "h" in p]
    assert (bins["_type"], bins["bins"], bins["values"]) == (
        trackio.Histogram.TYPE,
        [0.0, 0.5, 1.0],
        [3.0, 4.0],
    )


def test_files_are_an_artifact_of_the_run(folder: Path) -> None:
    load(make(folder), everything(folder))
    (listed,) = SQLiteStorage.get_run_artifacts(NAME, "RUN-1", naming.run_id(KEY))["output"]
    name = naming.artifact_name(KEY)
    assert listed["name"] == name
    manifest = SQLiteStorage.get_artifact_manifest(NAME, name, "latest")
    assert manifest
    paths = {entry["path"]: entry for entry in manifest["manifest"]}
    assert sorted(paths) == ["files/model.bin", "files/pictures/step_2", "series/log.jsonl"]
    blob = sqlite_storage.cas.blob_path(NAME, paths["files/model.bin"]["digest"])
    assert blob.read_bytes() == b"weights"


def test_points_of_one_step_and_time_are_one_row(folder: Path) -> None:
    """As `trackio.log` writes them, also where they went through the file of a large run."""
    target, archive = make(folder), everything(folder)
    load(target, archive)
    rows = [p for p in SQLiteStorage.get_logs(NAME, "RUN-1") if "train/acc" in p]
    assert [(p["step"], p["train/acc"]) for p in rows] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_its_own_way_of_deleting_is_seen(folder: Path) -> None:
    """A run that somebody deletes in Trackio is not whole any more."""
    target, archive = make(folder), everything(folder)
    load(target, archive)
    assert SQLiteStorage.delete_run(NAME, "RUN-1")
    (run,) = verify_runs(target, archive, PLAIN, [KEY]).runs
    assert run.verdict
    assert ("missing", "train/acc") in {(f.kind, f.attribute) for f in run.verdict.findings}


def test_a_changed_point_is_not_repaired_by_what_is_kept(folder: Path) -> None:
    target, archive = make(folder), everything(folder)
    load(target, archive)
    with closing(sqlite3.connect(folder / f"trackio/{NAME}.db")) as database:
        database.execute("""UPDATE metrics SET metrics = '{"again":3.0}' WHERE step = 2
            AND CAST(metrics AS TEXT) LIKE '%again%'""")
        database.commit()
    (run,) = verify_runs(target, archive, PLAIN, [KEY]).runs
    assert run.verdict
    assert [(f.kind, f.attribute) for f in run.verdict.findings] == [("differing", "again")]


def test_trackio_goes_on_in_the_same_project(folder: Path) -> None:
    """Its own runs beside ours: neither touches the other."""
    target, archive = make(folder), everything(folder)
    load(target, archive)
    SQLiteStorage.bulk_log(NAME, "own", [{"loss": 1.0}], steps=[0])
    SQLiteStorage.init_db(NAME)
    assert {run.name for run in trackio.Api().runs(NAME)} == {"RUN-1", "own"}
    assert set(target.runs(PROJECT, PLAIN)) == {KEY}
    target.discard(KEY, PLAIN)
    assert [run.name for run in trackio.Api().runs(NAME)] == ["own"]
    assert SQLiteStorage.get_artifacts(NAME) == []
    assert not [p for p in (folder / "trackio/artifacts").rglob("*") if p.is_file()]


def test_names_of_projects_are_trackios_and_never_meet() -> None:
    projects = ["a/b", "a_b/c", "a/b_c", "ab/c", "a/bc", "é/b", "a/b c", "a/b?c", "x/system"]
    projects += ["registry-a/b", "a/" + "b" * 300, "model/artifacts"]
    names = [naming.project_name(project, PLAIN) for project in projects]
    assert names[0] == "a_b"
    for name in names:
        SQLiteStorage.validate_project_name(name)
        assert utils.canonical_project_name(name) == name
    assert len({name.lower() for name in names}) == len(names)
    assert naming.project_name("a/b", ProjectMapping(name_prefix="old")) == "old_a_b"


def test_limits_are_those_of_the_installed_package() -> None:
    assert sqlite_storage.SCHEMA_VERSION in capabilities.TESTED_SCHEMAS
    reserved = capabilities.CAPABILITIES.key_reserved
    assert set(utils.RESERVED_KEYS) <= set(reserved)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    target = TrackioTarget(TrackioConfig(directory=str(tmp_path / "not/there")))
    with pytest.raises(StoreNotWritableError, match=r"there is no folder .*TRACKIO_DIR"):
        target.check()
    run = only(load(target, one_run(tmp_path)))
    assert isinstance(run.error, StoreNotWritableError)
    assert target.find(KEY, PLAIN).state is LoadState.ABSENT


def test_no_space(tmp_path: Path) -> None:
    target = make(tmp_path)
    target._opener.factory = small_disk(120)
    run = only(load(target, one_run(tmp_path, points=20_000)))
    assert isinstance(run.error, StoreNotWritableError)
    assert "database or disk is full. Free space" in str(run.error)
    assert target.find(KEY, PLAIN).state is LoadState.PARTIAL


def test_tables_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, archive = make(tmp_path), one_run(tmp_path)
    load(target, archive)
    with closing(sqlite3.connect(tmp_path / f"trackio/{NAME}.db")) as database:
        database.execute("PRAGMA user_version = 3")
    with pytest.raises(UntestedStoreError, match="have version 3, and only 2 was tested"):
        target.facts(KEY, PLAIN)
    with pytest.raises(UntestedStoreError, match="Nothing was written"):
        target.discard(KEY, PLAIN)
    package.storage.cache_clear()
    monkeypatch.setattr(sqlite_storage, "SCHEMA_VERSION", 3)
    with pytest.raises(UntestedStoreError, match="the installed trackio have version 3"):
        target.check()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "trackio").mkdir()
    (tmp_path / f"trackio/{NAME}.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamagedError, match="file is not a database"):
        make(tmp_path).find(KEY, PLAIN)


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    target, archive = make(tmp_path), one_run(tmp_path)
    load(target, archive)
    with closing(sqlite3.connect(tmp_path / f"trackio/{NAME}.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="in use by another process"):
            target.discard(KEY, PLAIN)
    assert target.find(KEY, PLAIN).state is LoadState.COMPLETE


def test_a_large_run_is_several_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write in between; what they then see of it is partial."""
    monkeypatch.setattr(client, "_TRANSACTION_BYTES", 10_000)
    target, seen = make(tmp_path), []
    take = package.WriteLock.take

    def watched(self: package.WriteLock) -> None:
        seen.append(target.find(KEY, PLAIN).state)
        take(self)

    monkeypatch.setattr(package.WriteLock, "take", watched)
    monkeypatch.setattr("migration_pipeline.targets.trackio.writing._VALUES_AT_A_TIME", 500)
    assert only(load(target, one_run(tmp_path, points=3000))).good
    assert seen[0] is LoadState.ABSENT
    assert len(seen) > 3
    assert set(seen[1:]) == {LoadState.PARTIAL}
