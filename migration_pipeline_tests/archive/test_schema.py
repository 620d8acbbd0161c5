"""Steps and columns: what a double says becomes the nearest millionth, and nothing is rounded."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.schema import (
    BATCH_SCHEMA,
    SCHEMA,
    STEP_TYPE,
    VALUE_COLUMN,
    float_series_batch,
    float_to_micros,
    make_batch,
    micros_from_steps,
    repeated,
    steps_from_micros,
)

EXACT_BELOW = 2**33
"""Above it, doubles lie further apart than a millionth."""
MOST = 10**18 - 1
"""Millionths of the largest decimal(18,6)."""


def micros(*steps: float) -> list[int]:
    return float_to_micros(np.array(steps, dtype=np.float64)).tolist()


@given(st.integers(0, EXACT_BELOW * 10**6 - 1), st.integers(0, 6))
def test_a_step_with_up_to_six_decimals_is_exact(number: int, decimals: int) -> None:
    number //= 10 ** (6 - decimals)
    step = float(Decimal(number).scaleb(-decimals))
    assert micros(step) == [number * 10 ** (6 - decimals)]


@given(st.floats(0, 999_999_999_999.9998, allow_nan=False))
def test_any_double_becomes_its_nearest_millionth(step: float) -> None:
    exact = Decimal(step).scaleb(6)
    (found,) = micros(step)
    # Half a millionth, and what the double product may be off by near a tie.
    assert abs(found - exact) <= Decimal("0.5000001")
    if abs(exact - exact.to_integral_value()) < Decimal("0.49"):
        assert found == int(exact.to_integral_value(ROUND_HALF_EVEN))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0.0, 0),
        (0.29, 290_000),
        (0.000001, 1),
        (1.005, 1_005_000),
        (4_503_599_627.370497, 4_503_599_627_370_497),
        (9e9, 9_000_000_000_000_000),
        (9e9 + 0.5, 9_000_000_000_500_000),
        (999_999_999_999.0, 999_999_999_999_000_000),
        # The doubles next to it lie 122 millionths apart.
        (999_999_999_999.9999, 999_999_999_999_999_878),
    ],
)
def test_steps_that_a_product_with_a_million_would_round(step: float, expected: int) -> None:
    assert micros(step) == [expected]


def test_steps_are_converted_each_by_itself() -> None:
    assert micros(0, 0.1, 3, 1e11 + 0.5) == [0, 100_000, 3_000_000, 100_000_000_000_500_000]
    assert micros() == []


@given(st.lists(st.none() | st.integers(-MOST, MOST), max_size=20), st.data())
def test_decimals_come_back_as_they_went(numbers: list[int | None], data: st.DataObject) -> None:
    mask = np.array([n is None for n in numbers], dtype=bool)
    column = steps_from_micros(np.array([n or 0 for n in numbers], dtype=np.int64), mask)
    column.validate(full=True)
    assert column.type == STEP_TYPE
    expected = [None if n is None else Decimal(n).scaleb(-6) for n in numbers]
    assert column.to_pylist() == expected

    start = data.draw(st.integers(0, len(numbers)))
    length = data.draw(st.integers(0, len(numbers) - start))
    for part in (column.slice(start, length), pa.array(expected, STEP_TYPE).slice(start, length)):
        found, missing = micros_from_steps(part)
        assert [None if m else int(n) for n, m in zip(found, missing, strict=True)] == numbers[
            start : start + length
        ]


def test_a_column_of_nulls_without_a_buffer_has_no_steps() -> None:
    found, missing = micros_from_steps(pa.nulls(3, STEP_TYPE))
    assert (found.tolist(), missing.tolist()) == ([0, 0, 0], [True] * 3)


VALUES = {
    "float": -0.5,
    "int": 2**63 - 1,
    "string": "ü\0\n",
    "bool": False,
    "datetime": -1,
    "string_set": ["b", "a", ""],
    "float_series": float("inf"),
    "string_series": "",
    "histogram_series": {"type": "COUNTING", "edges": [0.0, 1.0], "values": [3.0]},
    "file": "a/b.png",
    "file_series": "c",
    "artifact": "d.json",
    "file_set": "e.zip",
}


@pytest.mark.parametrize("kind", sorted(VALUE_COLUMN))
def test_a_row_has_its_value_in_one_column_and_nothing_else(kind: str) -> None:
    series = kind.endswith("_series")
    given_row = {"path": "a/b", "type": kind, "value": VALUES[kind]}
    if series:
        given_row |= {"step": 1_500_000, "timestamp": 1_700_000_000_123}
    batch = make_batch("acme/vision", "r", [given_row])
    assert batch.schema.equals(BATCH_SCHEMA)
    batch.validate(full=True)
    plain = pa.table(batch).cast(SCHEMA).to_pylist()[0]
    filled = {name: value for name, value in plain.items() if value is not None}
    value = filled.pop(VALUE_COLUMN[kind])
    if kind == "datetime":
        assert value.isoformat() == "1969-12-31T23:59:59.999000+00:00"
    else:
        assert value == (
            {"path": VALUES[kind]} if "file_value" in VALUE_COLUMN[kind] else VALUES[kind]
        )
    expected = {
        "project_id": "acme/vision",
        "run_id": "r",
        "attribute_path": "a/b",
        "attribute_type": kind,
    }
    if series:
        assert str(filled.pop("timestamp")) == "2023-11-14 22:13:20.123000+00:00"
        expected["step"] = Decimal("1.5")
    assert filled == expected


def test_float_batches_of_growing_size_hold_their_own_rows_only() -> None:
    """Empty columns are shared between batches; that must not show."""
    for rows in (1, 5, 3, 1000):
        numbers = np.arange(rows, dtype=np.int64)
        batch = float_series_batch(
            "p/q", "r", repeated("loss", rows), numbers * 10**6, numbers, numbers / 7
        )
        batch.validate(full=True)
        assert batch.schema.equals(BATCH_SCHEMA)
        assert batch.num_rows == rows
        assert batch.column("float_value").to_pylist() == [i / 7 for i in range(rows)]
        assert [int(s) for s in batch.column("step").to_pylist()] == list(range(rows))
        assert batch.column("int_value").null_count == rows
        assert batch.column("histogram_value").null_count == rows
