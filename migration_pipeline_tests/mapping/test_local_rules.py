"""Rules of targets that hold steps as doubles, one point a step, and names of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.schema import float_to_micros
from migration_pipeline.mapping.keys import key_names
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.scan import scan_run
from migration_pipeline.mapping.steps import as_doubles, as_held
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.goodseed.capabilities import CAPABILITIES as GOODSEED
from migration_pipeline.targets.trackio.capabilities import CAPABILITIES as TRACKIO
from migration_pipeline_tests.contract.making import PROJECT, START, build, floats, of

MOST = 9_200_000_000_000_000_000
micros = st.lists(st.integers(-MOST, MOST), min_size=1).map(lambda x: np.array(x, dtype=np.int64))
usual = st.lists(st.integers(-(8 * 10**15), 8 * 10**15), min_size=1).map(
    lambda x: np.array(x, dtype=np.int64)
)


@given(usual)
def test_steps_come_back_from_doubles(steps: np.ndarray) -> None:
    assert (float_to_micros(as_doubles(steps)) == steps).all()
    assert (as_held(steps) == steps).all()


@given(micros)
def test_what_a_double_holds_stays_as_it_is(steps: np.ndarray) -> None:
    held = as_held(steps)
    assert (float_to_micros(as_doubles(steps)) == held).all()
    assert (as_held(held) == held).all()
    assert (as_doubles(held) == as_doubles(steps)).all()


def test_a_double_is_the_one_that_people_write() -> None:
    assert as_doubles(np.array([290_000, 1_290_000, -3_250_000])).tolist() == [0.29, 1.29, -3.25]


def test_reserved_names_and_case() -> None:
    paths = [("step", "float_series"), ("Step", "float_series"), ("a/b", "float_series")]
    names = key_names(paths, TRACKIO)
    assert names[paths[1]] == "Step"
    assert names[paths[2]] == "a/b"
    assert names[paths[0]].startswith("step-")
    assert key_names(paths, GOODSEED)[paths[0]] == "step"


def test_what_one_point_a_step_loses_is_counted_by_step(tmp_path: Path) -> None:
    points = [("1", START, 1.0), ("1", START + 1, 2.0), ("2", START, 1.0), ("1", START, 1.0)]
    far = [("9100000000000.000001", START, 1.0), ("1", START + 2, 1.0)]
    archive = build(tmp_path, of("one", floats("m", points), floats("far", far)))
    (run,) = archive.runs(PROJECT).values()
    losses = {
        (loss.attribute, loss.reason, loss.count)
        for loss in series_losses(scan_run(run, GOODSEED, ProjectMapping()))
    }
    assert losses == {("m", "repeated point", 2), ("far", "step has too many digits", 1)}
    losses = {
        (loss.attribute, loss.reason, loss.count)
        for loss in series_losses(scan_run(run, TRACKIO, ProjectMapping()))
    }
    assert losses == {("far", "step has too many digits", 1)}
