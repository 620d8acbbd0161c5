"""A load that is stopped at any call to MLflow, and repeated, gives one run with all points once.

Moments have a fixed seed; `--crashes=100` takes as many.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import TargetError
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.tables import Tables
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.datasets import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
)
from migration_pipeline_tests.targets.mlflow_backend import watch
from migration_pipeline_tests.targets.stores import sqlite_target, sqlite_uri

DATA = DataSet(
    "crashed",
    tuple(
        RunData(
            name,
            (
                *curve("m/a", 1500),
                *curve("m/b", 10),
                *(param(f"p/{i}", "int", i) for i in range(120)),
                Row("log", "string_series", "line", "1", START),
                Row("file", "file", b"content"),
            ),
            parent=parent,
        )
        for name, parent in (("root", None), ("child", "root"))
    ),
)


INTERRUPTED = 130


class Counting:
    """Counts calls to MLflow's client and to its tables; at the given one it calls `at_end`."""

    def __init__(self, at: int, after: bool, at_end: Callable[[], None]) -> None:
        self._at, self._after, self._at_end = at, after, at_end
        self.calls = 0

    def before(self, _: str) -> None:
        self.calls += 1
        if self.calls == self._at and not self._after:
            self._at_end()

    def after(self, _: str) -> None:
        if self.calls == self._at:
            self._at_end()


def intercept(target: MlflowTarget, at: int, after: bool, at_end: Callable[[], None]) -> Counting:
    counting = Counting(at, after, at_end)
    watch(target, counting.before, counting.after)
    return counting


@pytest.fixture(autouse=True, scope="module")
def small_batches() -> Iterator[None]:
    """So that there are moments between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tables, "batch", 400)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build(tmp_path_factory.mktemp("crash"), DATA)


@pytest.fixture(scope="module")
def calls(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls an undisturbed load makes."""
    target = sqlite_target(tmp_path_factory.mktemp("undisturbed"))
    counting = intercept(target, 0, False, lambda: None)
    load(target, archive)
    return counting.calls


def load(target: MlflowTarget, archive: Archive) -> None:
    plan = plan_load(target, archive, PROJECT)
    load_runs(target, archive, plan.mapping, plan.due)


def check_whole(uri: str, archive: Archive, folder: Path) -> None:
    """After one more load there is each run once, all of it, and its parent is right."""
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, [*plan.due, *plan.unverified])
    assert all(run.good for run in result.runs)
    assert {d.run for d in plan.due} <= {"root", "child"}
    plan = plan_load(target, archive, PROJECT)
    assert (plan.due, plan.unverified, plan.duplicates) == ([], [], {})
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        runs = database.execute(
            "SELECT name, run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY name"
        ).fetchall()
        assert [name for name, _ in runs] == ["child", "root"]
        for _, run_id in runs:
            points = database.execute("SELECT * FROM metrics WHERE run_uuid = ?", (run_id,))
            assert len(points.fetchall()) == 1510
        parents = database.execute(
            "SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId' AND run_uuid = ?",
            (runs[0][1],),
        ).fetchall()
        assert parents == [(runs[0][1], runs[1][1])]


def moments(count: int, calls: int) -> list[tuple[int, bool]]:
    generator = random.Random(2026)
    return [(generator.randint(1, calls), generator.random() < 0.5) for _ in range(count)]


ERRORS: tuple[type[BaseException], ...] = (RuntimeError, OSError, KeyboardInterrupt)


def raising(kind: type[BaseException]) -> Callable[[], None]:
    def stop() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if kind is OSError else kind

    return stop


def test_an_exception_at_any_call(
    archive: Archive, calls: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One of ours, a full disk, an interrupt; in turns."""
    for number, (at, after) in enumerate(moments(request.config.getoption("--crashes"), calls)):
        folder = tmp_path / str(number)
        uri = sqlite_uri(folder)
        target = MlflowTarget(MlflowConfig(tracking_uri=uri))
        kind = ERRORS[number % len(ERRORS)]
        intercept(target, at, after, raising(kind))
        # Of the listing; those of runs are reported.
        with contextlib.suppress(TargetError, RuntimeError, OSError, KeyboardInterrupt):
            load(target, archive)
        check_whole(uri, archive, folder)


def test_killed_at_any_call(
    archive: Archive, calls: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By SIGKILL or SIGINT, in turns. The process is forked from this one, which has mlflow
    imported and the store not open."""
    count = request.config.getoption("--crashes")
    for number, (at, after) in enumerate(moments(2 * count, calls)[count:]):
        folder = tmp_path / str(number)
        uri = sqlite_uri(folder)
        number_of_signal = (signal.SIGKILL, signal.SIGINT)[number % 2]
        child = os.fork()
        if not child:
            try:
                target = MlflowTarget(MlflowConfig(tracking_uri=uri))
                intercept(target, at, after, partial(os.kill, os.getpid(), number_of_signal))
                load(target, archive)
            except KeyboardInterrupt:
                os._exit(INTERRUPTED)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if number_of_signal is signal.SIGKILL:
            assert os.WIFSIGNALED(status)
        else:
            assert os.waitstatus_to_exitcode(status) == INTERRUPTED
        check_whole(uri, archive, folder)


def test_before_the_mark_it_is_partial(archive: Archive, calls: int, tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path)
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    marks: list[tuple[str, str]] = []
    client, entities = target._to._opened

    class Watching:
        def __getattr__(self, name: str) -> Any:
            call = getattr(client, name)

            def watched(*arguments: Any, **options: Any) -> Any:
                key = RunKey(PROJECT, "root")
                state = MlflowTarget(MlflowConfig(tracking_uri=uri)).find(key, NO_MAPPING).state
                marks.append((name, state))
                return call(*arguments, **options)

            return watched

    from migration_pipeline.mapping.scan import scan_run
    from migration_pipeline.mapping.terms import ProjectMapping
    from migration_pipeline.targets.target import Kin

    NO_MAPPING = ProjectMapping()  # noqa: N806
    target._to.__dict__["_opened"] = (Watching(), entities)
    run = archive.runs(PROJECT)[RunKey(PROJECT, "root")]
    target.load(scan_run(run, target.capabilities, NO_MAPPING), NO_MAPPING, Kin())
    assert LoadState.COMPLETE not in [state for _, state in marks]
    assert marks[-1] == ("set_tag", LoadState.PARTIAL)
    assert target.find(run.key, NO_MAPPING).state is LoadState.COMPLETE
