"""Two writers of one run, in threads or processes: one of them wins whole, nobody's files go."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.staging import scratch_directory
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import (
    KEY,
    Row,
    archive_in,
    fill,
    read_rows,
    row,
    write_run,
)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    _small_parts()
    monkeypatch.setattr(writer_module, "PART_BYTES", 1)
    monkeypatch.setattr(writer_module, "_GROUP_ROWS", 50)
    return archive_in(tmp_path)


def _small_parts() -> None:
    writer_module.PART_BYTES, writer_module._GROUP_ROWS = 1, 50


def rows_of(writer: int, parts: int) -> list[Row]:
    """Distinguishable in every row; one file is the same for all writers, one is not."""
    return [
        row("common", "file", b"common"),
        row("own", "file", b"%d" % writer),
        *[row("loss", "float_series", writer / 2, i * 10**6, i) for i in range(50 * parts - 2)],
    ]


def sorted_rows(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (r["path"], r["step"] or 0))


def write_many(folder: str, writer: int, times: int) -> None:
    _small_parts()
    archive = archive_in(Path(folder))
    for i in range(times):
        recover(archive, KEY.project)
        rows = rows_of(writer, parts=1 + (writer + i) % 4)
        with RunWriter(archive, KEY, "test") as target:
            for start in range(0, len(rows), 50):
                fill(target, rows[start : start + 50])
            target.commit()


def assert_one_whole_run(archive: Archive) -> None:
    run = archive.find(KEY)
    assert run is not None
    found = read_rows(archive, KEY)
    writer = int(next(r["value"] for r in found if r["path"] == "own"))
    assert found == sorted_rows(rows_of(writer, len(run.parts)))
    assert run.manifest is not None
    assert run.sums().digest() == run.manifest.digest
    assert not list(archive.data.rglob("*.tmp"))
    named = {run.file(f.path) for f in run.manifest.files}
    assert {p for p in archive.files.rglob("*") if p.is_file()} == named
    assert not list((archive.files_root(KEY.project) / ".staging").iterdir())


def test_threads(archive: Archive, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            write_many(str(tmp_path), writer, 6)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(e) for e in errors] == []
    assert_one_whole_run(archive)


def test_processes(archive: Archive, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes = [context.Process(target=write_many, args=(str(tmp_path), i, 6)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert_one_whole_run(archive)


def test_the_last_to_commit_wins_whole(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as one, RunWriter(archive, KEY, "test") as two:
        for start in range(0, 150, 50):
            fill(one, rows_of(1, 3)[start : start + 50])
            fill(two, rows_of(2, 2)[start : start + 50])
        two.commit()
        one.commit()
    assert_one_whole_run(archive)
    assert len(archive.find(KEY).parts) == 3  # type: ignore[union-attr]


def test_a_writer_that_gives_up_takes_no_file_of_the_one_that_committed(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as gives_up:
        fill(gives_up, rows_of(1, 1))
        write_run(archive, KEY, rows_of(2, 1))
    assert_one_whole_run(archive)


def test_a_commit_takes_no_file_of_one_that_commits_later(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as later:
        fill(later, rows_of(1, 1))
        write_run(archive, KEY, rows_of(2, 1))
        later.commit()
    assert_one_whole_run(archive)
    assert {r["value"] for r in read_rows(archive, KEY) if r["path"] == "own"} == {b"1"}


def test_recovery_leaves_a_living_writer_alone(archive: Archive) -> None:
    with (
        scratch_directory(archive, KEY.project) as scratch,
        RunWriter(archive, KEY, "test") as writer,
    ):
        (scratch / "download").write_bytes(b"half")
        fill(writer, rows_of(1, 2)[:50])
        writer.flush()
        assert recover(archive, KEY.project) == []
        assert (scratch / "download").read_bytes() == b"half"
        fill(writer, rows_of(1, 2)[50:])
        writer.commit()
        assert recover(archive, KEY.project) == []
    assert_one_whole_run(archive)


def _die_while_writing(folder: str, connection: Any) -> None:
    _small_parts()
    archive = archive_in(Path(folder))
    writer = RunWriter(archive, KEY, "test")
    fill(writer, rows_of(7, 2)[:50])
    writer.flush()
    with scratch_directory(archive, KEY.project) as scratch:
        (scratch / "download").write_bytes(b"half")
        connection.send("writing")
        os.kill(os.getpid(), signal.SIGKILL)


def test_recovery_removes_what_a_killed_writer_left(archive: Archive, tmp_path: Path) -> None:
    write_run(archive, KEY, rows_of(1, 1))
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_die_while_writing, args=(str(tmp_path), theirs))
    process.start()
    assert ours.recv() == "writing"
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(archive.data.rglob("*.tmp")), "it left nothing to remove"
    assert recover(archive, KEY.project) == []
    assert_one_whole_run(archive)


def test_what_another_tool_writes_is_not_touched(archive: Archive) -> None:
    directory = archive.project_directory(KEY.project)
    directory.mkdir(parents=True)
    theirs = [directory / name for name in ("x_part_0.parquet.tmp", "x_part_1.parquet", "x.tmp")]
    for path in theirs:
        path.write_bytes(b"theirs")
    recover(archive, KEY.project)
    write_run(archive, KEY, rows_of(1, 1))
    assert [path.read_bytes() for path in theirs] == [b"theirs"] * 3
