"""Counting on whole columns gives what counting row by row gives, however rows are batched."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.doctor.attributes import NO_STEP, Attributes
from migration_pipeline.archive.schema import SCHEMA, in_memory_form, make_batch
from migration_pipeline_tests.archive.making import Row, row

STEPS = st.none() | st.integers(-5, 5)
TIMES = st.none() | st.integers(-3, 10)
ROWS = st.one_of(
    st.builds(
        row, st.sampled_from("abc"), st.just("float_series"), st.none() | st.floats(), STEPS, TIMES
    ),
    st.builds(
        row, st.sampled_from("ab"), st.just("string_series"), st.none() | st.text(), STEPS, TIMES
    ),
    st.builds(
        row, st.sampled_from("ab"), st.just("file_series"), st.none() | st.just("f"), STEPS, TIMES
    ),
    st.builds(row, st.sampled_from(["p", "sys/n"]), st.just("int"), st.none() | st.integers(0, 9)),
)


def is_padding(one: Row) -> bool:
    return one["type"] == "file_series" and one["value"] is None and one["timestamp"] is None


def counted(rows: list[Row]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """(rows, valued, greatest step, how often a step is less than the one before)."""
    of: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for one in rows:
        if not is_padding(one):
            of[one["path"], one["type"]].append(one)
    found = {}
    for name, own in of.items():
        steps = [one["step"] for one in own]
        pairs = pairwise(steps)
        found[name] = (
            len(own),
            sum(one["value"] is not None for one in own),
            max((s for s in steps if s is not None), default=None),
            sum(a is not None and b is not None and b < a for a, b in pairs),
        )
    return found


@settings(deadline=None)
@given(st.lists(st.lists(ROWS, max_size=12), max_size=4), st.booleans())
def test_columns_count_what_rows_count(groups: list[list[Row]], dictionaries: bool) -> None:
    found = Attributes()
    for rows in groups:
        if rows:
            batch = make_batch("p", "r", rows)
            found.add(batch if dictionaries else in_memory_form(batch, SCHEMA))
    rows = [one for group in groups for one in group]
    assert {
        name: (
            int(found.rows[i]),
            int(found.valued[i]),
            None if found.step_max[i] == NO_STEP else int(found.step_max[i]),
            int(found.backward[i]),
        )
        for name, i in found.names.items()
    } == counted(rows)
    times = [one["timestamp"] for one in rows if one["timestamp"] is not None]
    assert (found.time_min, found.time_max) == (min(times, default=None), max(times, default=None))
    files = [f for claim in found.claims for f in claim.column("file").to_pylist()]
    assert len(files) == sum(o["type"] == "file_series" and o["value"] is not None for o in rows)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=30),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_repeated_steps_are_counted_in_order_and_within_a_batch_in_any_order(
    points: list[tuple[str, int]], size: int, chance: Any
) -> None:
    expected = len(points) - len(set(points))
    ordered = [row(p, "float_series", 1.0, s, 0) for p, s in sorted(points, key=lambda x: x[1])]
    found = Attributes()
    for start in range(0, len(ordered), size):
        found.add(make_batch("p", "r", ordered[start : start + size]))
    assert (int(found.repeated.sum()), int(found.backward.sum())) == (expected, 0)
    chance.shuffle(ordered)
    shuffled = Attributes()
    if ordered:
        shuffled.add(make_batch("p", "r", ordered))
    assert int(shuffled.repeated.sum()) == expected


def test_more_attributes_than_16_bits_number() -> None:
    rows = [row(f"a/{i}", "float_series", 1.0, i, 0) for i in range(40_000)]
    found = Attributes()
    found.add(make_batch("p", "r", rows))
    found.add(make_batch("p", "r", rows[::-1]))
    assert len(found.names) == 40_000
    assert np.array_equal(found.rows, np.full(40_000, 2))
    assert found.step_max[found.names["a/39999", "float_series"]] == 39_999
    assert int(found.repeated.sum()) == 40_000


def test_times_of_any_year_are_kept() -> None:
    """Beyond what Python's datetimes hold."""
    found = Attributes()
    rows = [
        row("sys/creation_time", "datetime", 10**15),
        row("s", "float_series", 1.0, 0, -(10**15)),
    ]
    found.add(make_batch("p", "r", rows))
    assert found.system == {"sys/creation_time": 10**15}
    assert (found.time_min, found.time_max) == (-(10**15), -(10**15))


def test_an_empty_batch_is_nothing() -> None:
    found = Attributes()
    found.add(pa.RecordBatch.from_pylist([], SCHEMA))
    assert (found.names, found.counts().num_rows) == ({}, 0)
