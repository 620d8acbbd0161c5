"""The ways past the clients' own classes, held against these: the same points in the same order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neptune.core.components.queue.json_file_splitter import JsonFileSplitter
from neptune.internal.operation import AssignFloat, AssignString, LogFloats, LogStrings
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1 import common_pb2

from migration_pipeline.sources.neptune_local.floats import parse
from migration_pipeline.sources.neptune_local.replay2 import operation_of
from migration_pipeline.sources.neptune_local.snapshots import decode

NAMES = st.text(
    st.sampled_from('ab:{}[],"\\ \n\u2028é漢🚀') | st.characters(exclude_categories=["Cs"]),
    min_size=1,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3)
TRAPS = ['"values": [{"value": 1, "step": 2, "ts": 3}]}, "version": 9', "a", 'b"', "c\\"]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POINT = st.tuples(
    NUMBERS | st.integers(-(2**31), 2**31),
    st.none() | st.integers(0, 10**9) | st.floats(0, 1e9),
    st.floats(0, 4e9),
)
FLOATS = st.builds(
    lambda path, points: LogFloats(path, [LogFloats.ValueType(*point) for point in points]),
    PATHS | st.lists(st.sampled_from(TRAPS), min_size=1, max_size=3),
    st.lists(POINT, min_size=1, max_size=4),
)
OTHERS = st.one_of(
    st.builds(AssignFloat, PATHS, NUMBERS),
    st.builds(AssignString, PATHS, st.sampled_from(TRAPS)),
    st.builds(lambda path: LogStrings(path, [LogStrings.ValueType("x", 1, 2.0)]), PATHS),
)
Point = tuple[int, str, Any, float, float]
"""Number of the operation, path, step, time, value; None: no step."""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), FLOATS | OTHERS), min_size=1, max_size=8))
def test_lines_that_log_floats(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[bool, Any]]
) -> None:
    """Whatever paths hold; with the time of the newest clients (`at`) and without."""
    lines = []
    for version, (timed, operation) in enumerate(operations, 1):
        line: dict[str, Any] = {"obj": operation.to_dict(), "version": version}
        lines.append(json.dumps(line | ({"at": 1_700_000_000.25} if timed else {})) + "\n")
    block = "".join(lines)
    file = tmp_path_factory.mktemp("log") / "data-1.log"
    file.write_text(block, encoding="ascii")
    expected, others = by_the_client(file)

    found, left = parse(block.encode())
    points: list[Point] = []
    if found is not None:
        steps = [None if np.isnan(step) else step for step in found.steps.tolist()]
        columns = zip(
            found.versions.tolist(),
            [found.paths[code] for code in found.codes],
            steps,
            found.times.tolist(),
            found.values.tolist(),
            strict=True,
        )
        points = list(columns)
        assert found.operations.tolist() == sorted({version for version, *_ in points})
    for line in map(json.loads, left):
        operation = operation_of(line["obj"])
        if isinstance(operation, LogFloats):
            points += points_of(line["version"], operation)
        else:
            others.remove(line["version"])
    assert sorted(map(repr, points)) == sorted(map(repr, expected))
    assert others == [], "an operation that is not of floats was lost"


def by_the_client(file: Path) -> tuple[list[Point], list[int]]:
    """Points, and the numbers of the other operations."""
    from neptune.internal.operation import Operation

    points: list[Point] = []
    others = []
    with JsonFileSplitter(file) as splitter:
        while (found := splitter.get()) is not None:
            operation = Operation.from_dict(found["obj"])
            if isinstance(operation, LogFloats):
                points += points_of(found["version"], operation)
            else:
                others.append(found["version"])
    return points, others


def points_of(version: int, operation: LogFloats) -> list[Point]:
    path = "/".join(operation.path)
    return [
        (version, path, None if one.step is None else float(one.step), one.ts, float(one.value))
        for one in operation.values
    ]


def test_usual_lines_are_read_as_columns() -> None:
    """Else the test above would hold for a way that is never taken."""
    operation = LogFloats(["m", 'l"oss'], [LogFloats.ValueType(1.5, i, 2.5) for i in range(3)])
    line = json.dumps({"obj": operation.to_dict(), "version": 7, "at": 1.0}) + "\n"
    found, left = parse(line.encode() * 2)
    assert left == []
    assert found is not None
    assert found.values.tolist() == [1.5] * 6


@st.composite
def snapshots(draw: st.DrawFn) -> Any:
    made = common_pb2.UpdateRunSnapshot()
    if draw(st.integers(0, 9)):
        made.step.whole = draw(st.sampled_from([0, 1, 127, 128, 10**6, 2**40]))
        made.step.micro = draw(st.sampled_from([0, 1, 500_000, 999_999]))
    if draw(st.integers(0, 9)):
        made.timestamp.seconds = draw(st.sampled_from([0, 1, 1_700_000_000, -5]))
        made.timestamp.nanos = draw(st.sampled_from([0, 1, 999_999_999]))
    for name in draw(st.lists(NAMES | st.just("x" * 200), max_size=4)):
        made.append[name].float64 = draw(st.floats(allow_nan=True))
    if draw(st.integers(0, 4)) == 0:
        made.preview.is_preview = draw(st.booleans())
        made.preview.completion_ratio = draw(st.sampled_from([0.0, 0.5]))
    extra = draw(st.integers(0, 9))
    if extra == 0:
        made.append["text"].string = "x"
    elif extra == 1:
        made.assign["a"].int64 = 3
    elif extra == 2:
        made.append["whole"].int64 = 2**60
    elif extra == 3:
        made.request_id = "r"
    return made


@settings(max_examples=100, deadline=None)
@given(st.lists(snapshots(), max_size=8))
def test_messages_of_float_points(made: list[Any]) -> None:
    found, others = decode([one.SerializeToString() for one in made])
    points = []
    if found is not None:
        points = [
            (message, found.paths[code], step, time, repr(value), preview)
            for message, code, step, time, value, preview in zip(
                found.messages.tolist(),
                found.codes.tolist(),
                found.steps.tolist(),
                found.times.tolist(),
                found.values.tolist(),
                found.previews.tolist(),
                strict=True,
            )
        ]
    expected = [
        (
            i,
            path,
            one.step.whole * 10**6 + one.step.micro,
            one.timestamp.seconds * 10**9 + one.timestamp.nanos,
            repr(value.float64),
            one.preview.is_preview,
        )
        for i, one in enumerate(made)
        if i not in others
        for path, value in one.append.items()
    ]
    assert sorted(points) == sorted(expected)
    for i, one in enumerate(made):
        kinds = {value.WhichOneof("value") for value in one.append.values()}
        plain = kinds <= {"float64"} and not one.assign and not one.HasField("request_id")
        if not plain:
            assert i in others
        elif one.HasField("step") and one.HasField("timestamp") and one.timestamp.seconds >= 0:
            assert i not in others, "protobuf would do what is meant to be done in columns"
