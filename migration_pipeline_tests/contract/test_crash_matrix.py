"""A load that is stopped at any call, and repeated, gives each run once with all its points.

For every target: killed after a run was created, in the middle of its points, after the last one
and before the mark of completion, and at moments of chance with a fixed seed (`--crashes=100`
takes as many); an exception, a full disk, an interrupt, a back end that is gone from then on.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.errors import MigrationError
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline_tests.contract.backends import BACKENDS, Backend
from migration_pipeline_tests.contract.disturbing import (
    DISTURBED,
    FIRST,
    Moment,
    Recording,
    calls_of,
    killed,
    load_all,
    record,
    stop_at,
)
from migration_pipeline_tests.contract.making import PROJECT, build

NAMED = ("after create", "in the middle", "after the last point", "before the mark")


@dataclass(frozen=True)
class Undisturbed:
    """A load that nothing disturbed: its calls, and what the store held after it."""

    backend: Backend
    archive: Archive
    mapping: ProjectMapping
    recording: Recording
    whole: Any


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    backend, folder = BACKENDS[request.param], tmp_path_factory.mktemp("undisturbed")
    archive = build(folder, DISTURBED)
    recording = record(backend, folder / "store", archive)
    mapping = plan_load(backend.make(folder / "store"), archive, PROJECT).mapping
    return Undisturbed(backend, archive, mapping, recording, backend.whole(folder / "store"))


def check_whole(to: Undisturbed, folder: Path) -> None:
    """One more load makes the store what it would have been; a further one sends nothing."""
    target = to.backend.make(folder)
    result = load_all(target, to.archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    assert to.backend.whole(folder) == to.whole
    target = to.backend.make(folder)
    calls = calls_of(to.backend, target)
    plan = plan_load(target, to.archive, PROJECT)
    listing = set(calls())
    assert (plan.due, plan.unverified, plan.duplicates) == ([], [], {})
    result = load_runs(target, to.archive, plan.mapping, plan.complete)
    assert set(calls()) <= listing
    assert len(result.skipped) == len(DISTURBED.runs)


def test_the_mark_comes_last(undisturbed: Undisturbed) -> None:
    """A run is complete by the very last call that is of any weight, after all its points; who
    looks at any moment before sees it as absent or partial."""
    states = undisturbed.recording.states
    order = [LoadState.ABSENT, LoadState.PARTIAL, LoadState.COMPLETE]
    seen = [order.index(state) for state in states.values()]
    assert seen == sorted(seen)
    assert states[undisturbed.recording.last_points] is not LoadState.COMPLETE
    assert undisturbed.recording.marked >= undisturbed.recording.last_points
    assert states[undisturbed.recording.marked] is LoadState.COMPLETE
    assert LoadState.PARTIAL in states.values()


@pytest.mark.parametrize("number", range(len(NAMED)), ids=NAMED)
def test_killed(undisturbed: Undisturbed, number: int, tmp_path: Path) -> None:
    moment = undisturbed.recording.moments()[number]
    assert moment.name == NAMED[number]
    killed(undisturbed.backend, tmp_path / "store", undisturbed.archive, moment)
    found = undisturbed.backend.make(tmp_path / "store").find(FIRST, undisturbed.mapping)
    assert found.state is not LoadState.COMPLETE
    check_whole(undisturbed, tmp_path / "store")


def test_killed_at_any_call(
    undisturbed: Undisturbed, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--crashes")
    for number, moment in enumerate(undisturbed.recording.random_moments(count, 2026)):
        killed(undisturbed.backend, tmp_path / str(number), undisturbed.archive, moment)
        check_whole(undisturbed, tmp_path / str(number))


def _raising(error: BaseException) -> Callable[[], None]:
    def stop() -> None:
        raise error

    return stop


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
DISTURBANCES = {
    "an exception": RuntimeError("stopped by the test"),
    "a full disk": FULL,
    "an interrupt": KeyboardInterrupt(),
}


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_an_exception_at_any_call(
    undisturbed: Undisturbed, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = max(request.config.getoption("--crashes") // 3, 1)
    seed = sorted(DISTURBANCES).index(kind)
    for number, moment in enumerate(undisturbed.recording.random_moments(count, seed)):
        folder = tmp_path / str(number)
        target = undisturbed.backend.make(folder)
        stop_at(undisturbed.backend, target, moment, _raising(DISTURBANCES[kind]))
        # Of the listing; those of single runs are reported.
        with contextlib.suppress(MigrationError, RuntimeError, OSError, KeyboardInterrupt):
            load_all(target, undisturbed.archive)
        check_whole(undisturbed, folder)


@pytest.mark.parametrize(
    "error", [FULL, ConnectionResetError(errno.ECONNRESET, "gone")], ids=["full disk", "gone"]
)
def test_a_back_end_that_takes_nothing_any_more(
    undisturbed: Undisturbed, error: OSError, tmp_path: Path
) -> None:
    """From the middle of the first run on: every run has a message, none is complete."""
    folder = tmp_path / "store"
    middle = undisturbed.recording.moments()[1]
    target = undisturbed.backend.make(folder)
    stop_at(undisturbed.backend, target, Moment(middle.call, False), _raising(error), for_good=True)
    result = load_all(target, undisturbed.archive)
    assert {run.key.run for run in result.runs} == {"root", "child"}
    assert all(isinstance(run.error, MigrationError) and str(run.error) for run in result.runs)
    found = undisturbed.backend.make(folder)
    states = {found.find(run.key, undisturbed.mapping).state for run in result.runs}
    assert LoadState.COMPLETE not in states
    check_whole(undisturbed, folder)
