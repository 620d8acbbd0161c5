"""A digest changes with every change of content and with nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf, nan, nextafter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.digest import (
    FileInfo,
    RunSums,
    digest_bytes,
    digest_file,
)
from migration_pipeline.archive.schema import BATCH_SCHEMA, SCHEMA, VALUE_COLUMN, make_batch
from migration_pipeline_tests.archive.making import Row, points, row

HISTOGRAM = {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [3.0, 4.0]}
FILES = {"one": b"one", "other": b"other", "other2": b"other"}
ROWS: list[Row] = [
    row("lr", "float", 0.1),
    row("zero", "float", 0.0),
    row("n", "int", 2**53 + 1),
    row("name", "string", "é"),
    row("on", "bool", True),
    row("at", "datetime", 1_700_000_000_123),
    row("tags", "string_set", ["a", "b"]),
    row("weights", "file", "one"),
    *points("loss", [0, 1_000_000, 1_500_000], [1.0, nan, inf], at=5),
    *points("twin", [0, 1_000_000, 1_500_000], [1.0, nan, inf], at=5),
    row("log", "string_series", "a line", 0, 1),
    row("hist", "histogram_series", HISTOGRAM, 0, 1),
    row("images", "file_series", "other", 0, 1),
    row("late", "float_series", 1.0, 10**18 - 1, None),
]


def info(path: str) -> FileInfo:
    return digest_bytes(FILES[path])


def digest(rows: list[Row], cut: int | None = None) -> str:
    sums = RunSums(info)
    for start in range(0, len(rows), cut or len(rows) or 1):
        sums.update(make_batch("p/q", "r", rows[start : start + (cut or len(rows))]))
    return sums.digest()


def replaced(path: str, /, **changes: object) -> list[Row]:
    """`ROWS` with the first row of this path changed."""
    at = next(i for i, r in enumerate(ROWS) if r["path"] == path)
    return [*ROWS[:at], ROWS[at] | changes, *ROWS[at + 1 :]]


def without(path: str) -> list[Row]:
    at = next(i for i, r in enumerate(ROWS) if r["path"] == path)
    return ROWS[:at] + ROWS[at + 1 :]


CHANGES: dict[str, Callable[[], list[Row]]] = {
    **{f"lost {r['path']}": (lambda p=r["path"]: without(p)) for r in ROWS},
    "a row twice": lambda: [*ROWS, ROWS[-1]],
    "one ulp": lambda: replaced("lr", value=nextafter(0.1, 1)),
    "one ulp in a series": lambda: replaced("loss", value=nextafter(1.0, 2)),
    "the sign of zero": lambda: replaced("zero", value=-0.0),
    "an int through a float": lambda: replaced("n", value=2**53),
    "a letter": lambda: replaced("name", value="e"),
    "composed differently": lambda: replaced("name", value="e\N{COMBINING ACUTE ACCENT}"),
    "a bool": lambda: replaced("on", value=False),
    "a millisecond": lambda: replaced("at", value=1_700_000_000_124),
    "the order of a string set": lambda: replaced("tags", value=["b", "a"]),
    "strings joined": lambda: replaced("tags", value=["a, b"]),
    "other bytes": lambda: replaced("weights", value="other"),
    "a step by a millionth": lambda: replaced("loss", step=1),
    "a late step by a millionth": lambda: replaced("late", step=10**18 - 2),
    "a step from none": lambda: replaced("loss", step=None),
    "a time by a millisecond": lambda: replaced("loss", timestamp=6),
    "a time from none": lambda: replaced("late", timestamp=0),
    "a type": lambda: replaced("log", type="string"),
    "a path": lambda: replaced("lr", path="lr "),
    "int for float": lambda: replaced("lr", type="int", value=0),
    "an edge": lambda: replaced("hist", value=HISTOGRAM | {"edges": [0.0, 1.0, 2.5]}),
    "counts as densities": lambda: replaced("hist", value=HISTOGRAM | {"type": "DENSITY"}),
    "an edge become a value": lambda: replaced(
        "hist", value={"type": "COUNTING", "edges": [0.0, 1.0], "values": [2.0, 3.0, 4.0]}
    ),
    "two points' values": lambda: [
        r | {"value": {1.0: inf, inf: 1.0}.get(r["value"], r["value"])}
        if r["path"] == "loss"
        else r
        for r in ROWS
    ],
    "two series' keys": lambda: [
        r | {"path": {"loss": "late", "late": "loss"}.get(r["path"], r["path"])} for r in ROWS
    ],
    "two parameters' keys": lambda: [
        r | {"path": {"lr": "zero", "zero": "lr"}.get(r["path"], r["path"])} for r in ROWS
    ],
    "a point moved to its twin": lambda: replaced("loss", path="twin"),
    "NaN as no value": lambda: [
        r | {"value": None} if r["path"] == "loss" and r["value"] != r["value"] else r for r in ROWS
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows(change: str) -> None:
    changed = CHANGES[change]()
    assert repr(changed) != repr(ROWS), "this test changes nothing"
    assert digest(changed) != digest(ROWS)


def test_every_change_is_told_from_every_other() -> None:
    digests = {name: digest(make()) for name, make in CHANGES.items()}
    assert len(set(digests.values())) == len(digests)


@given(st.permutations(range(len(ROWS))), st.integers(1, len(ROWS)))
def test_order_and_batches_do_not_matter(order: list[int], cut: int) -> None:
    assert digest([ROWS[i] for i in order], cut) == digest(ROWS)


def test_all_blocks_of_a_long_batch_count() -> None:
    count = 100_000
    rows = points("loss", range(count), [float(i) for i in range(count)])
    random.Random(1).shuffle(rows)
    whole = digest(sorted(rows, key=lambda r: r["step"]))
    assert digest(rows) == whole
    assert digest(rows, 33_333) == whole
    for at in (0, 32_767, 32_768, 65_536, count - 1):
        other = rows[at] | {"value": rows[at]["value"] + 1}
        assert digest([*rows[:at], other, *rows[at + 1 :]]) != whole


def test_plain_columns_and_slices_have_the_digest_of_dictionaries() -> None:
    batch = make_batch("p/q", "r", ROWS)
    plain = pa.table(batch).cast(SCHEMA).combine_chunks().to_batches()[0]
    padded = make_batch("p/q", "r", [ROWS[3], *ROWS, ROWS[0]])
    for one in (plain, padded.slice(1, len(ROWS))):
        sums = RunSums(info)
        sums.update(one)
        assert sums.digest() == digest(ROWS)


def nan_with(payload: int, sign: int = 0) -> float:
    bits = np.array([sign << 63 | 0x7FF << 52 | 1 << 51 | payload], dtype=np.uint64)
    return float(bits.view(np.float64)[0])


@pytest.mark.parametrize("other", [nan_with(1), nan_with(12345), nan_with(0, sign=1)])
def test_one_nan_is_as_good_as_another(other: float) -> None:
    one = [row("lr", "float", nan), *points("loss", [0], [nan])]
    two = [row("lr", "float", other), *points("loss", [0], [other])]
    bits = np.array([two[0]["value"]]).view(np.uint64)
    assert bits != np.array([nan]).view(np.uint64)
    assert digest(one) == digest(two)
    edges = [HISTOGRAM | {"edges": [0.0, 1.0, value]} for value in (nan, other)]
    first, second = (digest([row("hist", "histogram_series", e, 0, 0)]) for e in edges)
    assert first == second


def test_files_count_by_their_bytes_and_not_by_their_names() -> None:
    assert digest(replaced("images", value="other2")) == digest(ROWS)


def test_missing_files_are_the_callers_to_raise() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        digest([row("weights", "file", "nowhere")])


def test_sums_say_what_ranges_and_decimals_there_are() -> None:
    sums = RunSums(info)
    sums.update(make_batch("p/q", "r", ROWS))
    loss = sums.attributes["loss", "float_series"]
    assert (loss.rows, loss.step_min, loss.step_max) == (3, 0, 1_500_000)
    assert (loss.time_min, loss.time_max) == (5, 2005)
    late = sums.attributes["late", "float_series"]
    assert (late.step_min, late.step_max, late.time_min) == (10**18 - 1, 10**18 - 1, None)
    assert sums.rows == len(ROWS)
    assert sums.step_decimals == {
        "float_series": 6,
        "string_series": 0,
        "histogram_series": 0,
        "file_series": 0,
    }


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=5), st.integers(0, 6))
def test_decimals_of_the_finest_step(numbers: list[int], decimals: int) -> None:
    sums = RunSums(info)
    steps = [n * 10 ** (6 - decimals) for n in numbers]
    sums.update(make_batch("p/q", "r", points("loss", steps, [0.0] * len(steps))))
    expected = max(6 - min(6, len(str(s)) - len(str(s).rstrip("0"))) if s else 0 for s in steps)
    assert sums.step_decimals == {"float_series": expected}


def test_a_file_is_digested_in_blocks(tmp_path: Path) -> None:
    content = random.Random(0).randbytes((1 << 20) + 17)
    (tmp_path / "f").write_bytes(content)
    assert digest_file(tmp_path / "f") == digest_bytes(content)
    assert digest_file(tmp_path / "f").size == (1 << 20) + 17
    assert digest_bytes(b"").digest == "cae66941d9efbd404e4d88758ea67670"


def test_a_directory_counts_by_names_and_bytes(tmp_path: Path) -> None:
    def made(name: str, files: dict[str, bytes]) -> FileInfo:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return digest_file(tmp_path / name)

    one = made("one", {"a/x": b"1", "b": b"22"})
    assert one == made("two", {"b": b"22", "a/x": b"1"})
    assert one.size == 3
    assert one != made("three", {"a/x": b"22", "b": b"1"})
    assert one != made("four", {"a_x": b"1", "b": b"22"})


def test_every_type_has_a_hash_of_its_own_value() -> None:
    """No type is forgotten: each column alone changes the digest."""
    assert {VALUE_COLUMN[r["type"]] for r in ROWS} == set(BATCH_SCHEMA.names[6:])
