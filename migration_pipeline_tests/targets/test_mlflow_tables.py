"""Points by SQL into MLflow's tables, and through its client: the same store comes of both. What
was sent by a load that was cut off is not sent again."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.targets.loading import LoadResult, load_runs, plan_load
from migration_pipeline.targets.mlflow import connection
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.metrics import ClientMetrics
from migration_pipeline.targets.mlflow.tables import Tables
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.datasets import (
    BY_NAME,
    PROJECT,
    START,
    Row,
    RunData,
    build,
    curve,
    floats,
    param,
    write_run,
)
from migration_pipeline_tests.contract.test_contract import complaints, load_all
from migration_pipeline_tests.targets.mlflow_backend import make, put_before, whole

NAN = float("nan")
SAME = (
    "NaN, ±inf, −0.0, denormals as points",
    "stand-ins that meet",
    "points without time",
    "names that collide once cleaned",
    "repeated and unordered steps",
    "forks",
)
KEY = RunKey(PROJECT, "a")


@pytest.mark.parametrize("name", SAME)
def test_both_ways_give_the_same_store(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = build(tmp_path, BY_NAME[name])
    by_sql = make(tmp_path / "sql")
    assert complaints(load_all(by_sql, archive)) == []
    assert isinstance(by_sql._to.metrics, Tables)
    monkeypatch.setattr(connection, "TESTED_SCHEMAS", {})
    by_client = make(tmp_path / "client")
    assert complaints(load_all(by_client, archive)) == []
    assert isinstance(by_client._to.metrics, ClientMetrics)
    assert whole(tmp_path / "sql") == whole(tmp_path / "client")


def test_the_latest_value_is_mlflows(tmp_path: Path) -> None:
    """Step before time before value, and NaN is 0: whatever comes last in the archive."""
    archive = Archive(tmp_path / "data", tmp_path / "files")
    series = {
        "step": [("9", START, 1.0), ("2", START + 9, 5.0)],
        "time": [("1", START + 5, 1.0), ("1", START + 4, 7.0)],
        "value": [("1", START, 3.0), ("1", START, 4.0), ("1", START, 2.0)],
        "nan": [("1", START, NAN), ("1", START, -1.0)],
        "not nan": [("1", START, NAN), ("1", START, 1.0)],
    }
    rows = [row for name, points in series.items() for row in floats(name, points)]
    write_run(archive, RunData("a", tuple(rows)))
    target = make(tmp_path / "store")
    assert complaints(load_all(target, archive)) == []
    latest = {row[1]: row[2:] for row in whole(tmp_path / "store")["latest"]}
    assert latest == {
        "step": (1.0, 9, 0),
        "time": (1.0, 1, 0),
        "value": (4.0, 1, 0),
        "nan": (0.0, 1, 1),
        "not nan": (1.0, 1, 0),
    }


def test_another_schema_gets_points_through_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "TESTED_SCHEMAS", {"0c779009ac13": "3.0"})
    archive = Archive(tmp_path / "data", tmp_path / "files")
    write_run(archive, RunData("a", tuple(curve("m", 3))))
    with caplog.at_level(logging.WARNING, "migration_pipeline.targets.mlflow"):
        target = make(tmp_path / "store")
        assert complaints(load_all(target, archive)) == []
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"mlflow at sqlite:///{tmp_path}/store/mlflow.db: its tables have ")
    assert "version dc11669786a5, which was not tested; points go through MLflow's client" in said
    assert [row[2] for row in whole(tmp_path / "store")["points"]] == [1 / 3, 1 / 2, 1.0]


class Sending:
    """Stands before what a target talks to; notes what is sent, and fails once if it is told to."""

    def __init__(self, fail_at: int = 0) -> None:
        self.points: list[list[tuple[str, int]]] = []
        """Of each batch: key and step."""
        self.params: list[str] = []
        self.files: list[str] = []
        self._fail_at = fail_at

    def count(self) -> None:
        self._fail_at -= 1
        if not self._fail_at:
            raise RuntimeError("cut off")

    def before(self, calls: Any) -> Any:
        outer = self

        class Noting:
            def __getattr__(self, name: str) -> Any:
                return getattr(calls, name)

            def send(self, run_id: str, pieces: Any) -> None:
                outer.count()
                calls.send(run_id, pieces)
                outer.points.append(
                    [(piece.key, step) for piece in pieces for step in piece.steps.tolist()]
                )

            def log_batch(self, run_id: str, params: Any) -> None:
                outer.count()
                calls.log_batch(run_id, params=params)
                outer.params += [param.key for param in params]

            def log_artifacts(self, run_id: str, folder: str) -> None:
                calls.log_artifacts(run_id, folder)
                outer.files += [
                    path.relative_to(folder).as_posix()
                    for path in sorted(Path(folder).rglob("*"))
                    if path.is_file()
                ]

        return Noting()


def watched(folder: Path, fail_at: int = 0) -> tuple[MlflowTarget, Sending]:
    target = make(folder)
    target._to.metrics.batch = 50
    sending = Sending(fail_at)
    put_before(target, sending.before)
    return target, sending


def load(target: MlflowTarget, archive: Archive) -> LoadResult:
    plan = plan_load(target, archive, PROJECT)
    return load_runs(target, archive, plan.mapping, plan.due)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path / "data", tmp_path / "files")
    rows = [
        *(param(f"p/{i:03}", "int", i) for i in range(120)),
        *curve("m/a", 70),
        *curve("m/b", 90),
        Row("log", "string_series", "line", "1", START),
        Row("file", "file", b"content"),
    ]
    write_run(archive, RunData("a", tuple(rows)))
    return archive


@pytest.mark.parametrize("tested", [True, False], ids=["by SQL", "by the client"])
def test_only_what_is_missing_is_sent(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tested: bool
) -> None:
    if not tested:
        monkeypatch.setattr(connection, "TESTED_SCHEMAS", {})
    whole_target, all_of_it = watched(tmp_path / "undisturbed")
    assert load(whole_target, archive).failures == []
    first, before = watched(tmp_path / "store", fail_at=5)
    ((_, error),) = load(first, archive).failures
    assert "cut off" in str(error)
    assert first.find(KEY, plan_load(first, archive, PROJECT).mapping).state is LoadState.PARTIAL
    second, after = watched(tmp_path / "store")
    assert complaints([load(second, archive)]) == []
    assert ([len(batch) for batch in before.points], len(before.params)) == ([50, 50, 50], 100)
    assert [*before.points, *after.points] == all_of_it.points
    assert sorted([*before.params, *after.params]) == sorted(all_of_it.params)
    assert whole(tmp_path / "store") == whole(tmp_path / "undisturbed")
    assert trash(tmp_path / "store") == 0


def test_files_that_are_there_are_not_sent_again(archive: Archive, tmp_path: Path) -> None:
    target, sending = watched(tmp_path / "store")
    assert load(target, archive).failures == []
    files = ["files/file", "neptune/files.jsonl", "neptune/migration.json", "series/log.jsonl"]
    assert sorted(sending.files) == files
    with closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        database.execute("UPDATE tags SET value = 'loading' WHERE key = 'neptune.load_state'")
        database.commit()
    # What is cut off while it is copied is shorter than it should be.
    (cut,) = (tmp_path / "store" / "mlartifacts").rglob("log.jsonl")
    cut.write_bytes(cut.read_bytes()[:-3])
    target, sending = watched(tmp_path / "store")
    assert complaints([load(target, archive)]) == []
    assert (sending.points, sending.params) == ([], [])
    assert sorted(sending.files) == ["neptune/migration.json", "series/log.jsonl"]


CHANGES = {
    "a point": "UPDATE metrics SET value = 0.5 WHERE key = 'm/a' AND step = 7",
    "a point too many": "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "
    "SELECT 'm/c', 1, 1, 1, 0, run_uuid FROM runs",
    "a point too few": "DELETE FROM metrics WHERE key = 'm/a' AND step = 7",
    "a parameter": "UPDATE params SET value = 'x' WHERE key = 'p/001'",
    "a decision": "UPDATE tags SET value = '10' WHERE key = 'neptune.step_multiplier'",
    "the content": "UPDATE tags SET value = 'other' WHERE key = 'neptune.digest'",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_no_beginning_is_begun_anew(archive: Archive, tmp_path: Path, change: str) -> None:
    first, _ = watched(tmp_path / "store", fail_at=5)
    assert load(first, archive).failures
    with closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        assert database.execute(change).rowcount == 1
        database.commit()
    second, sending = watched(tmp_path / "store")
    assert complaints([load(second, archive)]) == []
    assert sum(map(len, sending.points)) >= 160
    assert trash(tmp_path / "store") == 1
    assert len(whole(tmp_path / "store")["points"]) == 160


def trash(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        query = "SELECT count(*) FROM runs WHERE lifecycle_stage = 'deleted'"
        return int(database.execute(query).fetchone()[0])


def test_rows_that_are_there_are_left_alone(archive: Archive, tmp_path: Path) -> None:
    """By another process, or after an answer that was lost."""
    target = make(tmp_path / "store")
    metrics = target._to.metrics
    assert isinstance(metrics, Tables)
    first: list[Any] = []
    send = metrics.send

    def twice(run_id: str, pieces: Any) -> None:
        send(run_id, pieces)
        send(run_id, pieces)
        first.append(run_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "send", twice)
        assert complaints([load(target, archive)]) == []
    assert first
    assert len(whole(tmp_path / "store")["points"]) == 160


def test_what_is_read_back_is_read_in_pages(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_pipeline.targets.mlflow.tables._PAGE", 7)
    target = make(tmp_path / "store")
    (run,) = load(target, archive).runs
    assert run.verdict is not None
    assert run.verdict.findings == []
    tables = target._to.tables
    assert tables is not None
    (run_id,) = target.find(KEY, plan_load(target, archive, PROJECT).mapping).ids
    pieces = list(tables.points(run_id, ["m/b"], others=False))
    assert [len(piece) for piece in pieces] == [7] * 12 + [6]
    assert [step for piece in pieces for step in piece.steps.tolist()] == list(range(90))
