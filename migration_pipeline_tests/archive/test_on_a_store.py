"""An archive on a store of each kind is written, read and swapped as one in a folder is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from typing import Any

import pytest

from migration_pipeline.archive import lease
from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import location
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.staging import scratch_directory
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import StoppedWriterError
from migration_pipeline_tests.archive.making import KEY, fill, read_rows, write_run
from migration_pipeline_tests.archive.test_two_writers import rows_of, sorted_rows
from migration_pipeline_tests.archive.test_writing import EVERYTHING
from migration_pipeline_tests.stores import Server, archive_on, left_over, on_every_store

pytestmark = on_every_store


@pytest.fixture
def archive(bucket: StorePath) -> Archive:
    return archive_on(bucket)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PART_BYTES", 1)
    monkeypatch.setattr(writer_module, "_GROUP_ROWS", 50)


def test_every_type_comes_back_as_it_was(archive: Archive) -> None:
    written = write_run(archive, KEY, EVERYTHING)
    assert read_rows(archive, KEY) == EVERYTHING
    run = archive.find(KEY)
    assert run is not None
    assert run.manifest == written
    assert run.sums().digest() == written.digest
    assert archive.projects() == [KEY.project]
    assert archive.runs(KEY.project).keys() == {KEY}
    assert archive.manifests(KEY.project, [KEY]) == {KEY: written}
    assert left_over(archive) == []


def assert_one_whole_run(archive: Archive) -> None:
    run = archive.find(KEY)
    assert run is not None
    found = read_rows(archive, KEY)
    writer = int(next(r["value"] for r in found if r["path"] == "own"))
    assert found == sorted_rows(rows_of(writer, len(run.parts)))
    assert run.manifest is not None
    assert run.sums().digest() == run.manifest.digest
    assert left_over(archive) == []


def write_many(archive: Archive, writer: int, times: int) -> None:
    for i in range(times):
        recover(archive, KEY.project)
        rows = rows_of(writer, parts=1 + (writer + i) % 4)
        with RunWriter(archive, KEY, "test") as target:
            for start in range(0, len(rows), 50):
                fill(target, rows[start : start + 50])
            target.commit()


@pytest.mark.usefixtures("small_parts")
def test_threads_that_write_one_run(archive: Archive) -> None:
    errors: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            write_many(archive, writer, 3)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [repr(e) for e in errors] == []
    assert_one_whole_run(archive)


def _open(place: str, environment: dict[str, str]) -> Archive:
    os.environ.update(environment)
    tempfile.tempdir = environment["TMPDIR"]
    writer_module.PART_BYTES, writer_module._GROUP_ROWS = 1, 50
    there = location(place, "a test")
    assert isinstance(there, StorePath)
    return archive_on(there)


def _write_many(place: str, environment: dict[str, str], writer: int) -> None:
    write_many(_open(place, environment), writer, 2)


def _die_while_writing(place: str, environment: dict[str, str], connection: Any) -> None:
    archive = _open(place, environment)
    writer = RunWriter(archive, KEY, "test")
    fill(writer, rows_of(7, 3)[:100])
    writer.flush()
    with scratch_directory(archive, KEY.project) as scratch:
        (scratch / "download").write_bytes(b"half")
        connection.send("writing")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("small_parts")
def test_processes_that_write_one_run(
    archive: Archive,
    bucket: StorePath,
    store: Server,
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes = [
        context.Process(target=_write_many, args=(str(bucket), store.environment, i))
        for i in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert_one_whole_run(archive)


@pytest.mark.usefixtures("small_parts")
def test_recovery_removes_what_a_killed_writer_left_and_nothing_of_a_living_one(
    archive: Archive,
    bucket: StorePath,
    store: Server,
) -> None:
    write_run(archive, KEY, rows_of(1, 1))
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_die_while_writing, args=(str(bucket), store.environment, theirs)
    )
    process.start()
    assert ours.recv() == "writing"
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [p.partition(".")[0] for p in map(str, left_over(archive))], "it left nothing to remove"
    with RunWriter(archive, KEY, "test") as living:
        fill(living, rows_of(2, 3)[:50])
        fill(living, rows_of(2, 3)[50:100])
        assert recover(archive, KEY.project) == []
        fill(living, rows_of(2, 3)[100:])
        living.commit()
    assert_one_whole_run(archive)
    assert len(archive.find(KEY).parts) == 3  # type: ignore[union-attr]


@pytest.mark.usefixtures("small_parts")
def test_a_writer_that_stood_still_for_too_long_gives_up(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one takes it for dead, removes what it had, and it must not publish the rest."""
    write_run(archive, KEY, rows_of(1, 1))
    with RunWriter(archive, KEY, "test") as stopped:
        fill(stopped, rows_of(2, 3)[:50])
        fill(stopped, rows_of(2, 3)[50:100])
        clock = lease._clock
        monkeypatch.setattr(lease, "_clock", lambda: clock() + 2 * lease.LEASE_SECONDS)
        monkeypatch.setattr(lease, "is_dead", lambda path, now: True)
        recover(archive, KEY.project)
        fill(stopped, rows_of(2, 3)[100:])
        with pytest.raises(StoppedWriterError, match="stood still"):
            stopped.commit()
    assert_one_whole_run(archive)


def test_a_turn_whose_holder_is_on_another_machine_ends_when_it_is_not_renewed(
    bucket: StorePath,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (bucket / "turns/turn.1").write_bytes(b"elsewhere 1 1 x")
    monkeypatch.setattr(lease, "store_clock", lambda folder: lambda: 1e12)
    with lease.turn(bucket / "turns") as still_ours:
        still_ours()
        assert list(bucket.walk()) == ["turns/turn.2"]
    assert (bucket / "turns/turn.2").read_bytes() == b"free"
