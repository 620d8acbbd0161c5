"""Never more values in any minute than Comet takes, and hardly fewer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_pipeline.targets.comet.pace import Pace
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline_tests.contract.making import PROJECT, DataSet, RunData, build, curve
from migration_pipeline_tests.servers.comet import PUBLISHED, Rates
from migration_pipeline_tests.targets.comet_backend import CometTarget, account, configuration


class Clock:
    """Time that passes only where somebody waits, and while a request is under way."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@settings(deadline=None, max_examples=50)
@given(
    batches=st.lists(
        st.tuples(st.integers(1, 1000), st.floats(0, 3), st.floats(0, 1)), min_size=20, max_size=150
    )
)
def test_no_window_has_more(batches: list[tuple[int, float, float]]) -> None:
    """The server counts at any moment between request and answer."""
    clock = Clock()
    server = Rates({"metric": 3000}, clock=clock)
    pace = Pace(3000, clock=clock, sleep=clock.sleep)
    for values, takes, share in batches:
        with pace.room(values):
            clock.now += takes * share
            assert server.wait_for("metric", values) == 0
            clock.now += takes * (1 - share)
    assert server.busiest("metric") <= 3000


@pytest.mark.parametrize("takes", [0.0, 0.05, 0.5])
def test_the_rate_is_used(takes: float) -> None:
    """A million values in batches of a thousand: at most a tenth below 12,000 a minute, and never
    refused."""
    clock = Clock()
    server = Rates(PUBLISHED, clock=clock)
    pace = Pace(PUBLISHED["metric"], clock=clock, sleep=clock.sleep)
    for _ in range(1000):
        with pace.room(1000):
            clock.now += takes
            assert server.wait_for("metric", 1000) == 0
    whole = [when for when, _, _ in server.taken]
    # All but the last window of values, in the time until the last was sent.
    minutes = (whole[-1] - whole[0]) / 60
    assert 0.9 * 12_000 <= (1_000_000 - 12_000) / minutes <= 12_000 * 1.001
    assert server.busiest("metric") <= 12_000


def test_several_threads_share_it() -> None:
    clock, lock = Clock(), threading.Lock()
    server = Rates({"metric": 50}, window=10, clock=clock)

    def sleep(seconds: float) -> None:
        with lock:
            clock.now += seconds

    pace = Pace(50, 10, clock, sleep)

    def send(_: int) -> float:
        with pace.room(7), lock:
            clock.now += 0.01
            return server.wait_for("metric", 7)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, range(200))) == {0.0}
    assert sum(n for _, _, n in server.taken) == 1400


def test_more_than_a_window_goes_alone() -> None:
    clock = Clock()
    pace = Pace(10, 60, clock, clock.sleep)
    with pace.room(25):
        pass
    with pace.room(1):
        assert clock.now >= 1060


def test_a_load_is_never_refused(tmp_path: Path) -> None:
    """With a window of half a second at both ends: several runs at once, 429 at none."""
    runs = tuple(RunData(name, (*curve("m", 700), *curve("n", 200))) for name in "abcd")
    archive = build(tmp_path, DataSet("four", runs))
    most, window = 1000, 0.5
    account(tmp_path).rates = Rates({"metric": most}, window)
    target = CometTarget(configuration(tmp_path, values_per_minute=most))
    shorten(target, most, window)
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due, parallel=4)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    rates = account(tmp_path).rates
    assert rates is not None
    assert (rates.refused, sum(n for _, _, n in rates.taken)) == (0, 3600)
    assert rates.busiest("metric") <= most


def test_without_a_pace_the_same_load_is_refused_and_arrives(tmp_path: Path) -> None:
    """So that the test above can fail; Comet's word is waited for then."""
    archive = build(tmp_path, DataSet("one", (RunData("a", tuple(curve("m", 1500))),)))
    account(tmp_path).rates = Rates({"metric": 1000}, 0.5)
    target = CometTarget(configuration(tmp_path))
    plan = plan_load(target, archive, PROJECT)
    (run,) = load_runs(target, archive, plan.mapping, plan.due).runs
    assert run.good
    rates = account(tmp_path).rates
    assert rates is not None
    assert rates.refused > 0


def shorten(target: CometTarget, most: int, window: float) -> None:
    target._to._paces = {"metric": Pace(most, window)}
