"""Logs and databases cut at any byte, missing files: all before it is read, and it is named."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline_tests.archive.making import Row
from migration_pipeline_tests.machine import obeying_permissions, unreadable_part
from migration_pipeline_tests.sources.neptune_local import left
from migration_pipeline_tests.sources.neptune_local.left import Exported, exported

SEED = 20261122
CUTS = 8


def log_of(folder: Path) -> Path:
    [log] = folder.rglob("data-1.log")
    return log


def assert_grade(made: Exported, run: str = "", grade: str = "damaged") -> str:
    """The doctor says it too; returns what he says."""
    key = made.key(run)
    found = next(r for r in examine(made.archive, key.project, thorough=True).runs if r.key == key)
    assert found.grade == grade
    return "; ".join(reason.text for reason in found.reasons)


def floats(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [
        (r["path"], r["step"], r["timestamp"], repr(r["value"]))
        for r in rows
        if r["type"] == "float_series"
    ]


@pytest.mark.parametrize("cut", range(CUTS))
def test_a_log_that_is_cut(offline2: Path, tmp_path: Path, cut: int) -> None:
    """Whatever the byte: exactly the operations whose lines are whole."""
    folder = left.copy(offline2, tmp_path / "training")
    log = log_of(folder)
    content = log.read_bytes()
    size = random.Random(SEED + cut).randrange(1, len(content))
    if cut == 0:
        size = content.index(b"\n")  # a line without its end is whole
    log.write_bytes(content[:size])
    made = exported(tmp_path, folder)

    whole = content[:size].count(b"\n")
    last = content[:size].rpartition(b"\n")[2]
    torn = bool(last) and cut != 0
    said = assert_grade(made)
    put = int((log.parent / "last_put_version").read_text())
    whole += bool(last) and not torn
    assert f"the client counted {put} operations, and those after {whole} are not" in said
    assert ("1 line(s) are no operations" in said) == torn
    lines = content.splitlines()[:whole]
    (folder / "expected").mkdir()
    expected = left.copy(offline2, tmp_path / "expected" / "training")
    log_of(expected).write_bytes(b"".join(line + b"\n" for line in lines))
    assert made.rows() == exported(tmp_path / "expected", expected).rows()


@pytest.mark.parametrize("cut", range(2))
def test_a_log_on_a_bad_sector(
    offline2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """What lies before it, as of one that is cut there."""
    folder = left.copy(offline2, tmp_path / "training")
    log = log_of(folder)
    content = log.read_bytes()
    size = random.Random(SEED + cut).randrange(1, len(content))
    with monkeypatch.context() as patch:
        unreadable_part(patch, log.name, range(size, len(content)))
        made = exported(tmp_path, folder)
    assert "data-1.log cannot be read: Input/output error" in assert_grade(made)
    log.write_bytes(content[:size])
    (tmp_path / "cut").mkdir()
    assert made.rows() == exported(tmp_path / "cut", folder).rows()


def test_a_line_in_the_middle_that_is_no_operation(offline2: Path, tmp_path: Path) -> None:
    """All others are read: each line stands for itself."""
    folder = left.copy(offline2, tmp_path / "training")
    log = log_of(folder)
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"m", "one"' in line) + 50
    number = json.loads(lines[at])["version"]
    lines[at] = lines[at][:30] + b"\x00\xff" + lines[at][32:]
    log.write_bytes(b"".join(lines))
    made = exported(tmp_path, folder)
    said = assert_grade(made)
    assert "1 line(s) are no operations" in said
    assert f"operation {number} is missing" in said
    there = set(floats(made.rows()))
    missing = [one for one in floats(exported(tmp_path / "w", offline2).rows()) if one not in there]
    # One point; of `m/auto`, steps that the client left to the server move by one.
    assert 1 <= len(missing) <= 100
    assert len({path for path, *_ in missing}) == 1


def test_a_file_of_the_log_that_is_missing(tmp_path: Path) -> None:
    """As after a part was sent: its file is removed when all of it is acknowledged."""
    directory = tmp_path / "training/.neptune/async/run__0b8a5a8c-uuid__1__abcdefgh"
    directory.mkdir(parents=True)
    point = '{"value": %d.5, "step": %d, "ts": 1700000000.0}'

    def line(i: int) -> str:
        values = point % (i, i)
        obj = '{"type": "LogFloats", "path": ["loss"], "values": [' + values + "]}"
        return '{"obj": ' + obj + ', "version": ' + str(i) + ', "at": 1700000000.5}\n'

    (directory / "data-11.log").write_text("".join(map(line, range(11, 21))))
    (directory / "data-31.log").write_text("".join(map(line, range(31, 41))))
    (directory / "last_ack_version").write_text("12")
    (directory / "last_put_version").write_text("40")
    made = exported(tmp_path, tmp_path / "training")
    said = assert_grade(made)
    assert "operations 1 to 10 were sent and their files removed" in said
    assert "operations 21 to 30 are missing" in said
    expected = [*range(11, 21), *range(31, 41)]
    assert made.series("loss") == [(i * 10**6, 1_700_000_000_000, i + 0.5) for i in expected]


def test_directories_without_their_other_files(offline2: Path, tmp_path: Path) -> None:
    folder = left.copy(offline2, tmp_path / "training")
    directory = log_of(folder).parent
    for name in ("metadata.json", "last_put_version", "last_ack_version"):
        (directory / name).unlink()
    shutil.rmtree(directory / "upload_path")
    made = exported(tmp_path, folder)
    assert "the file of f/memory is not at" in assert_grade(made)
    whole = exported(tmp_path / "whole", offline2)
    assert made.key() == whole.key()
    assert floats(made.rows()) == floats(whole.rows())


@pytest.fixture(scope="module")
def whole3(offline3: Path, tmp_path_factory: pytest.TempPathFactory) -> set[tuple[Any, ...]]:
    made = exported(tmp_path_factory.mktemp("whole3"), offline3)
    return set(floats(made.rows("parent")))


@pytest.mark.parametrize("cut", range(CUTS))
def test_a_database_that_is_cut(
    offline3: Path, tmp_path: Path, whole3: set[tuple[Any, ...]], cut: int
) -> None:
    """What is left of its pages is read; from the header on, the run keeps its name."""
    folder = left.copy(offline3, tmp_path / "training")
    [database] = (folder / ".neptune").glob("acme_vision_parent_*/*.sqlite3")
    content = database.read_bytes()
    database.write_bytes(content[: random.Random(SEED + cut).randrange(0, len(content))])
    made = exported(tmp_path, folder)
    assert {key.run for key in made.found()} >= {"fork"}
    [other] = {key.run for key in made.found()} - {"fork"}
    assert "run_operations.sqlite3" in assert_grade(made, other)
    assert set(floats(made.rows(other))) <= whole3


def test_a_database_of_many_pages_that_is_cut(tmp_path: Path) -> None:
    """Everything on the pages that are left, in its order, and no page is given up."""
    directory = tmp_path / "training/.neptune/acme_vision_big_1"
    size = make_database(directory, 5_000)
    database = directory / "run_operations.sqlite3"
    made = exported(tmp_path / "whole", tmp_path / "training")
    assert len(made.series("loss", "big")) == 5_000
    assert_grade(made, "big", "complete")
    for share in (0.9, 0.5, 0.2):
        with database.open("r+b") as opened:
            opened.truncate(int(size * share) + 7)
        made = exported(tmp_path / f"cut {share}", tmp_path / "training")
        steps = [step // 10**6 for step, _, _ in made.series("loss", "big")]
        assert steps == sorted(set(steps))
        assert len(steps) >= 5_000 * share * 0.9 - 200
        said = assert_grade(made, "big")
        assert "run_operations.sqlite3 was cut off" in said
        gaps = [(a, b) for a, b in itertools.pairwise(steps) if b != a + 1]
        assert len(gaps) <= 1, "only of the page that was cut some rows are lost"
        for before, after in gaps:  # operations are counted from 1
            assert f"operations {before + 2} to {after} are missing" in said


def test_a_database_on_a_disk_that_is_bad_from_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages before it, as of one that is cut there."""
    directory = tmp_path / "training/.neptune/acme_vision_big_1"
    whole = make_database(directory, 5_000)
    database, size = directory / "run_operations.sqlite3", whole // 2
    with monkeypatch.context() as patch:
        unreadable_part(patch, database.name, range(size, whole))
        made = exported(tmp_path / "bad", tmp_path / "training")
    said = assert_grade(made, "big")
    assert f"run_operations.sqlite3 cannot be read beyond byte {size}: Input/output error" in said
    points = made.series("loss", "big")
    assert len(points) > 2_000
    os.truncate(database, size)
    assert exported(tmp_path / "cut", tmp_path / "training").series("loss", "big") == points


def test_a_database_on_a_bad_sector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is on the page is lost, and the pages after it are read."""
    directory = tmp_path / "training/.neptune/acme_vision_big_1"
    page = make_database(directory, 5_000) // 4096 // 2 * 4096
    with monkeypatch.context() as patch:
        unreadable_part(patch, "run_operations.sqlite3", range(page, page + 4096))
        made = exported(tmp_path, tmp_path / "training")
    said = assert_grade(made, "big")
    steps = [step // 10**6 for step, _, _ in made.series("loss", "big")]
    [(before, after)] = [(a, b) for a, b in itertools.pairwise(steps) if b != a + 1]
    assert f"operations {before + 2} to {after} are missing" in said
    assert 0 < 5_000 - len(steps) < 100
    assert steps[-1] == 4_999


def test_a_database_that_may_not_be_read(offline3: Path, tmp_path: Path) -> None:
    folder = left.copy(offline3, tmp_path / "training")
    [database] = (folder / ".neptune").glob("acme_vision_parent_*/*.sqlite3")
    database.chmod(0)
    made = obeying_permissions(lambda: exported(tmp_path, folder))
    [run] = {key.run for key in made.found()} - {"fork"}
    assert "run_operations.sqlite3 cannot be read: Permission denied" in assert_grade(made, run)


def make_database(directory: Path, operations: int) -> int:
    """With the client's own repository; returns its bytes."""
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import UpdateRunSnapshot
    from neptune_scale.sync.operations_repository import OperationsRepository

    directory.mkdir(parents=True)
    database = directory / "run_operations.sqlite3"
    repository = OperationsRepository(database)
    repository.init_db()
    repository.save_metadata("acme/vision", "big")
    snapshots = []
    for i in range(operations):
        snapshot = UpdateRunSnapshot()
        snapshot.step.whole = i
        snapshot.timestamp.seconds = 1_700_000_000 + i
        snapshot.append["loss"].float64 = i / 4
        if i == 777:
            snapshot.append["text"].string = "x" * 20_000  # on overflow pages
        snapshots.append(snapshot)
    repository.save_update_run_snapshots(snapshots)
    repository.close(cleanup_files=False)
    return database.stat().st_size
