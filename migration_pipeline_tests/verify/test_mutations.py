"""Whatever is changed at the target is found and named; an untouched target gives no finding.

Changes are made behind MLflow's back, in its database and its artifact folder.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.verify.compare import Verdict
from migration_pipeline_tests.contract.making import (
    INF,
    NAN,
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    param,
)
from migration_pipeline_tests.contract.neptune2 import artifact, file_set
from migration_pipeline_tests.targets.stores import sqlite_target

KEY = RunKey(PROJECT, "RUN-1")
DATA = DataSet(
    "mutated",
    (
        RunData(
            "RUN-1",
            (
                *curve("m/a", 30),
                *curve("m/b", 30, START + 500),
                *floats("m/odd", [("1", START, NAN), ("2", START, INF), ("3", START, 1.0)]),
                *floats("m/decimal", [("0.5", START, 1.0), ("1.5", START, 2.0)]),
                param("p/text", "string", "kept"),
                param("p/number", "int", 2**53 + 1),
                param("p/long", "string", "x" * 7000),
                Row("log", "string_series", "line one", "1", START),
                Row("log", "string_series", "line two", "2", START),
                Row("file.bin", "file", b"0123456789"),
                Row("images", "file_series", b"one", "1", START),
                *file_set("set", {"a.txt": b"a"}),
                *artifact("art", {"b.txt": b"b"}),
            ),
        ),
    ),
)


@dataclass
class Store:
    archive: Archive
    target: MlflowTarget
    mapping: ProjectMapping
    folder: Path

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            changed = database.execute(statement).rowcount
            database.commit()
        assert changed > 0, "the mutation changed nothing"

    def artifact(self, name: str) -> Path:
        return next(p for p in (self.folder / "mlartifacts").rglob(name) if p.is_file())

    def verdict(self) -> Verdict:
        result = verify_runs(self.target, self.archive, self.mapping, [KEY])
        assert not result.failures, result.failures
        return result.verdicts[0]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("mutations")
    archive = build(folder, DATA)
    target = sqlite_target(folder / "store")
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due, verify="off")
    assert not result.failures
    return Store(archive, target, plan.mapping, folder / "store")


@pytest.fixture
def store(loaded: Store, tmp_path: Path) -> Iterator[Store]:
    """The loaded store, put back afterwards as it was."""
    database, files = loaded.folder / "mlflow.db", loaded.folder / "mlartifacts"
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(":memory:")) as saved:
        live.backup(saved)
        shutil.copytree(files, tmp_path / "files")
        yield loaded
        saved.backup(live)
        shutil.copytree(tmp_path / "files", files, dirs_exist_ok=True)


def test_clean(store: Store) -> None:
    verdict = store.verdict()
    assert verdict.findings == []
    assert verdict.equal == len(store.archive.runs(PROJECT)[KEY].sums().attributes)
    sizes = [f.size for f in store.archive.runs(PROJECT)[KEY].manifest.files]
    assert (verdict.files, verdict.bytes) == (6, sum(sizes))


SQL = {
    "drop a point": (
        "DELETE FROM metrics WHERE key = 'm/a' AND step = 70",
        "differing 'm/a': 30 rows in the archive, 29 at the target: 0.125 at step 7 is missing",
    ),
    "drop the last point": (
        "DELETE FROM metrics WHERE key = 'm/a' AND step = 290",
        "last step is 28, not 29",
    ),
    "change a value": (
        "UPDATE metrics SET value = 0.126 WHERE key = 'm/a' AND step = 70",
        "differing 'm/a': values differ: at step 7 it is 0.126, not 0.125",
    ),
    "change a value's last bit": (
        "UPDATE metrics SET value = 0.12500000000000003 WHERE key = 'm/a' AND step = 70",
        "at step 7 it is 0.12500000000000003, not 0.125",
    ),
    "shift a step": (
        "UPDATE metrics SET step = 75 WHERE key = 'm/a' AND step = 70",
        "differing 'm/a': values differ: 0.125 at step 7 is at step 7.5",
    ),
    "shift a time": (
        "UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'm/a' AND step = 70",
        f"at step 7 the time is {START + 8} ms, not {START + 7} ms",
    ),
    "swap two keys": (
        "UPDATE metrics SET key = CASE key WHEN 'm/a' THEN 'm/b' ELSE 'm/a' END "
        "WHERE key IN ('m/a', 'm/b')",
        "differing 'm/a': it holds what belongs to 'm/b'",
    ),
    "lose a NaN": (
        "DELETE FROM metrics WHERE key = 'm/odd' AND is_nan",
        "differing 'm/odd': 3 rows in the archive, 2 at the target",
    ),
    "a NaN becomes zero": (
        "UPDATE metrics SET is_nan = 0 WHERE key = 'm/odd' AND is_nan",
        "at step 1 it is 0.0, not nan",
    ),
    "lose an infinity": (
        "DELETE FROM metrics WHERE key = 'm/odd' AND value > 1e308",
        "inf at step 2 is missing",
    ),
    "an infinity becomes a number": (
        "UPDATE metrics SET value = 5 WHERE key = 'm/odd' AND value > 1e308",
        "at step 2 it is 5.0, not inf",
    ),
    "duplicate a point": (
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) SELECT key, value, "
        "timestamp + 1, run_uuid, step, is_nan FROM metrics WHERE key = 'm/b' AND step = 70",
        "differing 'm/b': 30 rows in the archive, 31 at the target: in addition 0.125 at step 7",
    ),
    "lose a series": (
        "UPDATE metrics SET key = 'm/gone' WHERE key = 'm/a'",
        "missing 'm/a': float_series with 30 rows",
    ),
    "empty a text": (
        "UPDATE params SET value = '' WHERE key = 'p/text'",
        "differing 'p/text': values differ: at its value it is '', not 'kept'",
    ),
    "round an integer": (
        "UPDATE params SET value = '9007199254740992' WHERE key = 'p/number'",
        "at its value it is 9007199254740992, not 9007199254740993",
    ),
    "an integer becomes a float": (
        "UPDATE params SET value = '9007199254740993.0' WHERE key = 'p/number'",
        "missing 'p/number': int with 1 row",
    ),
    "lose a parameter": ("DELETE FROM params WHERE key = 'p/text'", "missing 'p/text'"),
    "change a long text": (
        "UPDATE params SET value = 'y' || substr(value, 2) WHERE key = 'p/long'",
        "differing 'p/long'",
    ),
    "another parameter": (
        "INSERT INTO params (key, value, run_uuid) SELECT 'p/new', 'x', run_uuid FROM params "
        "LIMIT 1",
        "unexpected 'p/new': string with 1 row",
    ),
    "another series": (
        "INSERT INTO latest_metrics SELECT 'm/new', value, timestamp, step, is_nan, run_uuid "
        "FROM latest_metrics WHERE key = 'm/a'",
        "unexpected 'm/new (last value)'",
    ),
    "another last value in the tables": (
        "UPDATE latest_metrics SET value = 5 WHERE key = 'm/a'",
        "unexpected 'm/a (last value)'",
    ),
    "move the start": (
        "UPDATE runs SET start_time = start_time + 1",
        f"facts: the run's start (ms) is {START + 1}, not {START}",
    ),
    "another end": ("UPDATE runs SET end_time = 5", "the run's end (ms) is 5"),
    "another status": (
        "UPDATE runs SET status = 'FAILED'",
        "facts: the run's failed is True, not False",
    ),
    "other tags": (
        'UPDATE tags SET value = \'["one", "two", "three"]\' WHERE key = \'neptune.tags\'',
        "facts: the run's tags is ('one', 'two', 'three'), not ('one', 'two, three')",
    ),
    "take the mark away": (
        "DELETE FROM tags WHERE key = 'neptune.load_state'",
        "state: the run is partial",
    ),
}


@pytest.mark.parametrize(("statement", "named"), SQL.values(), ids=SQL.keys())
def test_changed_database(store: Store, statement: str, named: str) -> None:
    store.sql(statement)
    verdict = store.verdict()
    assert not verdict.equal_to_archive
    assert named in "\n".join(map(str, verdict.findings))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _without_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _other_line(path: Path) -> None:
    path.write_text(path.read_text().replace("line two", "line 2"))


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncate a file": (
        "file.bin",
        _truncate,
        "differing 'file.bin': values differ: at its value it is a file of 9 bytes",
    ),
    "lose a file": ("file.bin", Path.unlink, "missing 'file.bin': file with 1 row"),
    "lose a file of a series": ("step_1", Path.unlink, "missing 'images': file_series"),
    "lose the zip of a file set": (
        "set.zip",
        Path.unlink,
        "differing 'set': 2 rows in the archive, 1 at the target",
    ),
    "lose the listing of a file set": (
        "set.json",
        Path.unlink,
        "differing 'set': 2 rows in the archive, 1 at the target",
    ),
    "truncate the zip of a file set": (
        "set.zip",
        _truncate,
        "differing 'set': values differ: at its value it is a file of",
    ),
    "lose the list of an artifact": (
        "art.json",
        Path.unlink,
        "differing 'art': 2 rows in the archive, 1 at the target",
    ),
    "lose the bytes of an artifact": (
        "art.zip",
        Path.unlink,
        "differing 'art': 2 rows in the archive, 1 at the target",
    ),
    "the list of an artifact becomes its bytes": (
        "art.json",
        lambda p: p.write_bytes(p.with_name("art.zip").read_bytes()),
        "differing 'art': values differ",
    ),
    "lose a line": (
        "log.jsonl",
        _without_last_line,
        "differing 'log': 2 rows in the archive, 1 at the target, last step is 1, not 2",
    ),
    "change a line": ("log.jsonl", _other_line, "at step 2 it is 'line 2', not 'line two'"),
    "empty a log": ("log.jsonl", lambda p: p.write_bytes(b""), "missing 'log'"),
    "lose what is kept": ("points.jsonl", Path.unlink, "differing 'm/odd'"),
    "lose the long texts": ("parameters.jsonl", Path.unlink, "differing 'p/long'"),
}


@pytest.mark.parametrize(("name", "change", "named"), FILES.values(), ids=FILES.keys())
def test_changed_files(
    store: Store, name: str, change: Callable[[Path], object], named: str
) -> None:
    change(store.artifact(name))
    assert named in "\n".join(map(str, store.verdict().findings))


def test_a_damaged_sidecar_is_named(store: Store) -> None:
    store.artifact("migration.json").write_text(json.dumps({"format": 1}))
    result = verify_runs(store.target, store.archive, store.mapping, [KEY])
    ((_, error),) = result.failures
    assert isinstance(error, TargetRefusedError)
    assert "migration.json" in str(error)


def test_duplicate_run(store: Store) -> None:
    client = store.target._to.client
    original = store.target.find(KEY, store.mapping).ids[0]
    run = client.get_run(original)
    copy = client.create_run(
        run.info.experiment_id, tags={k: v for k, v in run.data.tags.items() if "neptune." in k}
    )
    verdict = store.verdict()
    assert [f.kind for f in verdict.findings] == ["duplicate run"]
    assert original in str(verdict.findings[0])
    plan = plan_load(store.target, store.archive, PROJECT)
    assert set(plan.duplicates[KEY]) == {original, copy.info.run_id}
    client.delete_run(copy.info.run_id)
    assert store.verdict().equal_to_archive


def test_the_verdict_is_noted_and_repeated(store: Store) -> None:
    plan = plan_load(store.target, store.archive, PROJECT)
    assert plan.unverified == [KEY]
    store.sql("UPDATE metrics SET value = 0.126 WHERE key = 'm/a' AND step = 70")
    result = load_runs(store.target, store.archive, plan.mapping, [KEY])
    assert len(result.different) == 1
    assert plan_load(store.target, store.archive, PROJECT).unverified == [KEY]
    store.sql("UPDATE metrics SET value = 0.125 WHERE key = 'm/a' AND step = 70")
    result = load_runs(store.target, store.archive, plan.mapping, [KEY])
    assert result.skipped == [KEY]
    assert not result.different
    assert plan_load(store.target, store.archive, PROJECT).unverified == []
    assert load_runs(store.target, store.archive, plan.mapping, [KEY]).verdicts == []
    assert len(load_runs(store.target, store.archive, plan.mapping, [KEY], verify="all").verdicts)
