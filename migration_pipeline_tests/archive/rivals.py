"""Several writers of one run, in threads or processes, into a folder or a store; and ones that are
killed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Location, location
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.staging import scratch_directory
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import KEY, Row, archive_in, fill, read_rows, row
from migration_pipeline_tests.stores import left_over

ROWS_A_PART = 50


def make_parts_small() -> None:
    writer_module.PART_BYTES, writer_module._GROUP_ROWS = 1, ROWS_A_PART


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PART_BYTES", "_GROUP_ROWS"):  # so that they are put back
        monkeypatch.setattr(writer_module, name, getattr(writer_module, name))
    make_parts_small()


def rows_of(writer: int, parts: int) -> list[Row]:
    """Distinguishable in every row; one file is the same for all writers, one is not."""
    points = range(ROWS_A_PART * parts - 2)
    return [
        row("common", "file", b"common"),
        row("own", "file", b"%d" % writer),
        *[row("loss", "float_series", writer / 2, i * 10**6, i) for i in points],
    ]


def sorted_rows(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (r["path"], r["step"] or 0))


def write_many(archive: Archive, writer: int, times: int) -> None:
    for i in range(times):
        recover(archive, KEY.project)
        rows = rows_of(writer, parts=1 + (writer + i) % 4)
        with RunWriter(archive, KEY, "test") as target:
            for start in range(0, len(rows), ROWS_A_PART):
                fill(target, rows[start : start + ROWS_A_PART])
            target.commit()


def write_in_threads(archive: Archive, writers: int, times: int) -> None:
    errors: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            write_many(archive, writer, times)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [repr(error) for error in errors] == []


def write_in_processes(
    place: Location, writers: int, times: int, environment: Mapping[str, str]
) -> None:
    context = _context()
    processes = [
        context.Process(target=_write_many, args=(str(place), dict(environment), i, times))
        for i in range(writers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * writers


def die_while_writing(place: Location, environment: Mapping[str, str]) -> None:
    """A process that begins the run, and a download, and is killed."""
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_die, args=(str(place), dict(environment), theirs))
    process.start()
    assert ours.recv() == "writing"
    process.join()
    assert process.exitcode == -signal.SIGKILL


def put_or_die(path: StorePath, file: Path, environment: Mapping[str, str], limit: int) -> bool:
    """Puts a file in a process that is killed ahead of the request of that number.

    Returns whether it came to its end before that.
    """
    given = (str(path), file, dict(environment), limit)
    process = _context().Process(target=_put, args=given)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _open(place: str, environment: Mapping[str, str]) -> Archive:
    os.environ.update(environment)
    tempfile.tempdir = environment.get("TMPDIR")
    make_parts_small()
    return archive_in(location(place, "a test"))


def _write_many(place: str, environment: Mapping[str, str], writer: int, times: int) -> None:
    write_many(_open(place, environment), writer, times)


def _die(place: str, environment: Mapping[str, str], connection: Connection) -> None:
    archive = _open(place, environment)
    writer = RunWriter(archive, KEY, "test")
    fill(writer, rows_of(7, 3)[: 2 * ROWS_A_PART])
    writer.flush()
    with scratch_directory(archive, KEY.project) as scratch:
        (scratch / "download").write_bytes(b"half")
        connection.send("writing")
        os.kill(os.getpid(), signal.SIGKILL)


def _put(place: str, file: Path, environment: Mapping[str, str], limit: int) -> None:
    import aiohttp  # all stores' packages send with it

    os.environ.update(environment)
    path = location(place, "a test")
    assert isinstance(path, StorePath)
    path.require_bucket()  # what they ask once is asked
    numbers, send = itertools.count(1), aiohttp.ClientSession._request

    async def counted(session: aiohttp.ClientSession, *given: Any, **options: Any) -> Any:
        if next(numbers) == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return await send(session, *given, **options)

    aiohttp.ClientSession._request = counted  # type: ignore[method-assign]
    path.put(file)


def assert_one_whole_run(archive: Archive) -> None:
    """One of the writers' in every row and file, and nothing else anywhere."""
    run = archive.find(KEY)
    assert run is not None
    found = read_rows(archive, KEY)
    writer = int(next(r["value"] for r in found if r["path"] == "own"))
    assert found == sorted_rows(rows_of(writer, len(run.parts)))
    assert run.manifest is not None
    assert run.sums().digest() == run.manifest.digest
    assert left_over(archive) == []
