"""Stops an export in a process of its own at a chosen moment, for tests that look at what is left.

A moment is a number of operations (renames, syncs, removals, row groups, requests to an object
store) after which the process is killed, interrupted, given an exception or told that the disk is
full; or a share of the time that an undisturbed export takes. The processes are forked from one
that has everything imported.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Location, location
from migration_pipeline.archive.store import StorePath
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.registry import source_names
from migration_pipeline.sources.source import Selection, Source
from migration_pipeline_tests.archive.making import archive_in

How = Literal["kill", "interrupt", "exception", "full disk", "kill later", "interrupt later"]
HOWS: tuple[How, ...] = (
    "kill",
    "interrupt",
    "exception",
    "full disk",
    "kill later",
    "interrupt later",
)


@dataclass(frozen=True)
class Moment:
    """When and how an export is stopped.

    Args:
        how: `… later` stops at `share` of the usual time, the others after `operations`.
    """

    how: How
    operations: int = 0
    share: float = 0.0


def random_moments(count: int, seed: int, operations: int) -> list[Moment]:
    """`count` moments, all kinds in turns, the same for the same seed."""
    generator = random.Random(seed)
    return [
        Moment(HOWS[i % len(HOWS)], generator.randint(1, operations), generator.random())
        for i in range(count)
    ]


def export_everything(source: Source, archive: Archive) -> list[str]:
    """What the job does for every project, without Dagster; returns the failures."""
    failures = []
    for project in source.list_projects():
        plan = plan_export(source, archive, project, Selection())
        report = export_runs(source, archive, plan.due, Selection())
        failures += [f"{key}: {error}" for key, error in report.failures]
    return failures


class Stopwatch:
    """Counts operations of this process; calls `at_end` when `limit` is reached."""

    def __init__(self, limit: int, at_end: Callable[[], None]) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._limit, self._at_end = limit, at_end

    def install(self) -> None:
        from migration_pipeline.archive import writer

        for owner, name in (
            (os, "replace"),
            (os, "fsync"),
            (os, "unlink"),
            (shutil, "rmtree"),
            (writer._Part, "write"),
            (writer._Part, "close"),
            (StorePath, "_ask"),
        ):
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            with self._lock:  # readers clean up in threads of their own
                self.count += 1
                reached = self.count == self._limit
            if reached:
                self._at_end()
            return operation(*arguments, **options)

        return counted


def _raise(error: BaseException) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


def _signal(number: int) -> Callable[[], None]:
    def sending() -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)  # an interrupt reaches the main thread, wherever that is

    return sending


def _child(
    connection: Connection,
    make_source: Callable[..., Source],
    arguments: tuple[Any, ...],
    folder: str,
    moment: Moment | None,
    environment: Mapping[str, str],
) -> None:
    os.environ.update(environment)
    tempfile.tempdir = environment.get("TMPDIR")
    ends: dict[str, Callable[[], None]] = {
        "kill": _signal(signal.SIGKILL),
        "interrupt": _signal(signal.SIGINT),
        "exception": _raise(RuntimeError("stopped by the test")),
        "full disk": _raise(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    }
    limit = moment.operations if moment and moment.how in ends else 0
    watch = Stopwatch(limit, ends[moment.how] if moment and limit else lambda: None)
    watch.install()
    # A shell that runs the tests in the background had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = make_source(*arguments)
    connection.send("ready")
    archive = archive_in(location(folder, "a test"))
    failures = export_everything(source, archive)
    connection.send((failures, watch.count))


def run_export(
    make_source: Callable[..., Source],
    arguments: tuple[Any, ...],
    folder: Location,
    moment: Moment | None = None,
    usual_seconds: float = 0.0,
    environment: Mapping[str, str] | None = None,
) -> tuple[int | None, Any, float]:
    """Exports in a process of its own. Returns its exit code, what it sent last, and its seconds.

    A process that was stopped sends nothing last.

    Args:
        environment: variables that are set there.
    """
    context = multiprocessing.get_context("forkserver")
    sources = [f"migration_pipeline.sources.{name}.source" for name in source_names()]
    stores = ["s3fs"] if isinstance(folder, StorePath) else []
    context.set_forkserver_preload([__name__, *sources, *stores])
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_child, args=(theirs, make_source, arguments, str(folder), moment, environment or {})
    )
    process.start()
    theirs.close()
    last: Any = None
    started = time.monotonic()
    timer = None
    try:
        assert ours.recv() == "ready"
        started = time.monotonic()
        if moment and moment.how.endswith("later"):
            number = signal.SIGKILL if moment.how == "kill later" else signal.SIGINT
            timer = threading.Timer(moment.share * usual_seconds, _send, (process.pid or 0, number))
            timer.start()
        last = ours.recv()
    except EOFError:
        pass
    seconds = time.monotonic() - started
    process.join()
    if timer:
        timer.cancel()
    return process.exitcode, last, seconds


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
