"""Curves are real points: all when few, else with every peak; where there is no value, a gap."""

from __future__ import annotations

import tempfile
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch
from migration_pipeline.archive.summary import curves as curves_module
from migration_pipeline.archive.summary.curves import LARGEST, Curve
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import KEY, archive_in, points, row, write_run
from migration_pipeline_tests.archive.summary.summarizing import drawn, only, write_parts

MICRO = 10**6


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path)


@pytest.fixture
def twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curve has more than twenty points."""
    monkeypatch.setattr(curves_module, "MOST_POINTS", 20)
    monkeypatch.setattr(curves_module, "FEWEST_POINTS", 4)


def pairs(curve: Curve) -> list[tuple[float, float | None]]:
    """(step, value), None for a gap."""
    drawn = zip(curve.steps.tolist(), curve.values.tolist(), strict=True)
    return [(step, None if isnan(value) else value) for step, value in drawn]


def test_a_short_series_is_drawn_whole_and_in_order(archive: Archive) -> None:
    steps = [3 * MICRO, 0, 250_000, 250_000, MICRO]
    write_run(archive, KEY, points("loss", steps, [4.0, 1.0, 3.0, 2.0, 5e-324]))
    curve = only(drawn(archive, ["loss"]))
    assert pairs(curve) == [(0, 1), (0.25, 2), (0.25, 3), (1, 5e-324), (3, 4)]
    assert (curve.run, curve.metric, curve.points, curve.hidden, curve.last) == (0, 0, 5, 0, 4)


def test_what_no_axis_can_show_is_counted_and_leaves_a_gap(archive: Archive) -> None:
    values = [1.0, nan, inf, -inf, 2 * LARGEST, -0.0]
    write_run(archive, KEY, points("loss", range(0, 6 * MICRO, MICRO), values))
    curve = only(drawn(archive, ["loss"]))
    assert pairs(curve) == [(0, 1), (1, None), (2, None), (3, None), (4, None), (5, 0)]
    assert (curve.hidden, curve.last) == (4, -0.0)


def test_a_value_that_was_lost_is_a_gap_too(archive: Archive) -> None:
    """neptune-exporter's parts have null where NaN was logged; such a row has no last value."""
    batch = float_series_batch(
        KEY.project,
        KEY.run,
        pa.array(["loss"] * 2).dictionary_encode(),
        np.array([0, MICRO]),
        np.array([0, 1]),
        np.array([1.0, 0.0]),
    )
    column = batch.schema.get_field_index("float_value")
    lost = batch.set_column(column, batch.schema.field(column), pa.array([1.0, None]))
    with RunWriter(archive, KEY, "test") as writer:
        writer.write(lost)
        writer.commit()
    curve = only(drawn(archive, ["loss"]))
    assert pairs(curve) == [(0, 1), (1, None)]
    assert (curve.points, curve.hidden, curve.last) == (2, 1, None)


def test_a_thinned_curve_keeps_peaks_ends_and_gaps(archive: Archive, twenty: None) -> None:
    values = [0.0] * 650 + [nan] * 250 + [0.5] * 100
    values[137], values[611] = 1000.0, -1000.0
    write_run(archive, KEY, points("loss", range(0, 1000 * MICRO, MICRO), values))
    curves = drawn(archive, ["loss"])
    curve, found = only(curves), pairs(only(curves))
    assert curves.limit == 20
    assert len(found) <= 20
    assert (137, 1000) in found
    assert (611, -1000) in found
    assert (found[0], found[-1]) == ((0, 0), (999, 0.5))
    assert any(650 <= step < 900 and value is None for step, value in found)
    assert (curve.points, curve.hidden, curve.last) == (1000, 250, 0.5)


SERIES = st.lists(
    st.tuples(
        st.integers(0, 10**9) | st.integers(0, 50),
        st.floats(width=64) | st.sampled_from([nan, inf, -inf, -0.0, 1e300, 5e-324, 0.0]),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=30)
@given(SERIES, st.integers(1, 119))
@example([(7, 1.0)] * 50, 25)
@example([(0, nan)] * 50, 25)
def test_thinning_invents_nothing_and_loses_no_extreme(
    series: list[tuple[int, float]], cut: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(curves_module, "MOST_POINTS", 20)
        archive = archive_in(Path(folder))
        rows = [row("loss", "float_series", value, step, 0) for step, value in series]
        write_parts(archive, KEY, *(part for part in (rows[:cut], rows[cut:]) if part))
        curve = only(drawn(archive, ["loss"]))
    there = {(step / MICRO, value) for step, value in series if abs(value) < LARGEST}
    found = pairs(curve)
    shown = [(step, value) for step, value in found if value is not None]
    assert set(shown) <= there
    assert {step for step, _ in found} <= {step / MICRO for step, _ in series}
    assert [step for step, _ in found] == sorted(step for step, _ in found)
    assert len(found) <= max(20, 0 if len(series) > 20 else len(series))
    assert curve.points == len(series)
    assert curve.hidden == sum(not abs(value) < LARGEST for _, value in series)
    if there:
        assert min(v for _, v in shown) == min(v for _, v in there)
        assert max(v for _, v in shown) == max(v for _, v in there)
    if len(series) <= 20:
        expected = sorted(step / MICRO for step, _ in series)
        assert [step for step, _ in found] == expected


def test_curves_say_of_which_run_and_metric_they_are(archive: Archive) -> None:
    for i, metrics in enumerate((["a"], ["b", "a"], ["other"], [])):
        rows = [one for metric in metrics for one in points(metric, [0], [float(i)])]
        write_run(archive, RunKey(KEY.project, f"r-{i}"), rows)
    curves = drawn(archive, ["b", "a"])
    assert [(c.run, c.metric, c.last) for c in curves.curves] == [(0, 1, 0), (1, 0, 1), (1, 1, 1)]


def test_a_series_of_another_type_is_not_drawn(archive: Archive) -> None:
    write_run(archive, KEY, [row("a", "string_series", "x", 0, 0), row("b", "float", 1.0)])
    assert drawn(archive, ["a", "b"]).curves == ()


def test_of_too_many_runs_the_largest_are_drawn(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves_module, "ALL_POINTS", 3 * curves_module.FEWEST_POINTS)
    for i in range(5):
        rows = points("a", range(i + 1), [0.5] * (i + 1))
        write_run(archive, RunKey(KEY.project, f"r-{i}"), rows)
    curves = drawn(archive, ["a"])
    assert [curve.run for curve in curves.curves] == [2, 3, 4]
    assert (curves.left_out, curves.limit) == (2, 40)


def test_points_are_shared_out_among_curves(archive: Archive) -> None:
    """Two curves may have half as many points as all together, but never more than the most."""
    for i in range(2):
        write_run(archive, RunKey(KEY.project, f"r-{i}"), points("a", [0], [0.5]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves_module, "ALL_POINTS", 1001)
        assert drawn(archive, ["a"]).limit == 500
    assert drawn(archive, ["a"]).limit == curves_module.MOST_POINTS
