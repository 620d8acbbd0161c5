"""Loads that are watched call by call, and loads that are stopped at one of their calls.

What a target does to its back end is counted by `Backend.watch`; a load of one archive into a new
store makes the same calls in the same order every time, so a moment of it is a number and a side.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.targets.loading import LoadResult, load_runs, plan_load
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Target
from migration_pipeline_tests.contract.backends import Backend
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    curve,
    histogram,
    param,
)

_PIPE_BYTES = 60_000
PATIENCE = 120.0
"""Seconds after which a process that should have been killed is taken to hang."""


def _rows(points: int) -> tuple[Row, ...]:
    return (
        *curve("m/a", points),
        *curve("m/b", 10),
        *(param(f"p/{i}", "int", i) for i in range(120)),
        Row("log", "string_series", "line", "1", START),
        Row("h", "histogram_series", histogram("COUNTING", [0.0, 1.0], [2.0]), "1", START),
        *(Row(f"file/{i}", "file", b"content %d" % i) for i in range(3)),
    )


DISTURBED = DataSet(
    "disturbed",
    (RunData("root", _rows(2500)), RunData("child", _rows(20), parent="root")),
)
FIRST = RunKey(PROJECT, "root")
"""The run that a load of it begins with: parents come first."""


def load_all(target: Target, archive: Archive) -> LoadResult:
    """What the job does: what is due, then what was never verified; one run after the other."""
    plan = plan_load(target, archive, PROJECT)
    keys = [*plan.due, *plan.unverified]
    return load_runs(target, archive, plan.mapping, keys, parallel=1)


@dataclass(frozen=True)
class Moment:
    """Before or after the n-th call (from 0) that a load makes."""

    call: int
    after: bool
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"{'after' if self.after else 'before'} call {self.call}"


@dataclass
class Recording:
    """An undisturbed load, call by call.

    Args:
        calls: their names.
        states: call → what the target says of the first run right after it, while that is loaded.
        carried: after how many calls points of the first run were counted as sent.
    """

    calls: list[str] = field(default_factory=list)
    states: dict[int, LoadState] = field(default_factory=dict)
    carried: list[int] = field(default_factory=list)

    @property
    def created(self) -> int:
        """The call that made the first run be there at all."""
        there = (call for call, state in self.states.items() if state is not LoadState.ABSENT)
        return next(there, min(self.states))

    @property
    def last_points(self) -> int:
        """The call that carried the last points of the first run."""
        return max(self.carried[-1] - 1, self.created)

    @property
    def marked(self) -> int:
        """The call that made it complete."""
        done = (call for call, state in self.states.items() if state is LoadState.COMPLETE)
        return next(done, max(self.states))

    def moments(self) -> list[Moment]:
        middle = self.carried[len(self.carried) // 2] - 1
        if not self.created < middle < self.last_points:
            middle = (self.created + self.last_points) // 2
        return [
            Moment(self.created, True, "after create"),
            Moment(middle, True, "in the middle"),
            Moment(self.last_points, True, "after the last point"),
            Moment(self.marked, False, "before the mark"),
        ]

    def random_moments(self, count: int, seed: int) -> list[Moment]:
        generator = random.Random(seed)
        most = len(self.calls) - 1
        return [Moment(generator.randint(0, most), generator.random() < 0.5) for _ in range(count)]


def record(backend: Backend, folder: Path, archive: Archive) -> Recording:
    """Loads everything, and looks at the first run after every call of its load."""
    found = Recording()
    target = backend.make(folder)
    looking = False

    def before(name: str) -> None:
        if not looking:
            found.calls.append(name)

    def after(name: str) -> None:
        nonlocal looking
        if within and not looking:
            looking = True
            try:
                # Opened anew: what was learnt of the project before is of before.
                state = backend.make(folder).find(FIRST, mapping).state
                found.states[len(found.calls) - 1] = state
            finally:
                looking = False

    within, load = False, target.load
    mapping = plan_load(backend.make(folder), archive, PROJECT).mapping

    def watched(scan: Any, given: Any, kin: Kin, meter: Any = None) -> LoadReport:
        nonlocal within
        within = scan.key == FIRST
        try:
            return load(scan, given, kin, _Told(meter, found) if within else meter)
        finally:
            within = False

    target.load = watched  # type: ignore[method-assign]
    backend.watch(target, before, after)
    result = load_all(target, archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    return found


class _Told:
    """Notes when points were counted."""

    def __init__(self, meter: Any, recording: Recording) -> None:
        self._meter, self._recording = meter, recording

    def add(self, points: int = 0, size: int = 0) -> None:
        if points:
            self._recording.carried.append(len(self._recording.calls))
        self._meter.add(points, size)


def calls_of(backend: Backend, target: Target) -> Callable[[], list[str]]:
    """Watches a target; each time it is asked, the names of the calls since the last time."""
    seen: list[str] = []
    backend.watch(target, seen.append, lambda name: None)

    def since() -> list[str]:
        taken = seen[:]
        seen.clear()
        return taken

    return since


def stop_at(
    backend: Backend,
    target: Target,
    moment: Moment,
    stop: Callable[[], None],
    for_good: bool = False,
) -> None:
    """Lets `stop` be called at a moment of all that the target does from now on.

    Args:
        for_good: at every later call as well.
    """
    made = -1

    def reached(after: bool) -> bool:
        if for_good and made > moment.call:
            return not after
        return made == moment.call and after == moment.after

    def before(name: str) -> None:
        nonlocal made
        made += 1
        if reached(False):
            stop()

    def after(name: str) -> None:
        if reached(True):
            stop()

    backend.watch(target, before, after)


def killed(backend: Backend, folder: Path, archive: Archive, moment: Moment) -> None:
    """Loads in a process that is killed at a moment.

    It is forked from this one, which has everything imported and the store not open.
    """
    child = os.fork()
    if not child:
        try:
            target = backend.make(folder)
            stop_at(backend, target, moment, lambda: os.kill(os.getpid(), signal.SIGKILL))
            load_all(target, archive)
        finally:
            os._exit(0)
    status = waited(child)
    assert os.WIFSIGNALED(status), f"{moment} was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def waited(child: int) -> int:
    """The status with which a process ended; one that hangs is killed, and is a failure."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the process did not end within {PATIENCE:g} seconds")


def in_another_process(function: Callable[[], str]) -> str:
    """Calls a function in a forked process; the text that it returns, or what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, function().encode()[:_PIPE_BYTES])
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:_PIPE_BYTES])
        finally:
            os._exit(0)
    os.close(writing)
    waited(child)
    with os.fdopen(reading, "rb") as stream:
        return stream.read().decode(errors="replace")
