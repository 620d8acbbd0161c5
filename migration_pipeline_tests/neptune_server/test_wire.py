"""The numpy encoder gives the bytes that protobuf gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoFloatSeriesValuesResponseDTO,
)

from migration_pipeline.neptune_server.wire import FloatPoints, encode_response

DOUBLES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf")]), st.floats()
)
TIMES = st.one_of(
    st.sampled_from([0, 1, 127, 128, -1, 2**63 - 1, -(2**63)]),
    st.integers(1_600_000_000_000, 1_800_000_000_000),
)
POINT = st.tuples(TIMES, DOUBLES, DOUBLES, st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))


def by_protobuf(series: list[tuple[str, int, FloatPoints]]) -> bytes:
    message = ProtoFloatSeriesValuesResponseDTO()
    for request_id, total, points in series:
        one = message.series.add(requestId=request_id)
        one.series.SetInParent()
        one.series.total_item_count = total
        for i in range(len(points)):
            one.series.values.add(
                timestamp_millis=int(points.timestamps[i]),
                step=points.steps[i],
                value=points.values[i],
                is_preview=points.previews is not None and bool(points.previews[i]),
                completion_ratio=1.0 if points.completion is None else points.completion[i],
            )
    return message.SerializeToString()


def points_of(rows: list[tuple[int, float, float, bool, float]], plain: bool) -> FloatPoints:
    return FloatPoints(
        np.array([row[1] for row in rows], np.float64),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        None if plain else np.array([row[3] for row in rows], bool),
        None if plain else np.array([row[4] for row in rows], np.float32),
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=5), st.lists(POINT, max_size=30), st.booleans())),
    st.booleans(),
)
def test_any_points(series: list, reverse: bool) -> None:
    direction = slice(None, None, -1) if reverse else slice(None)
    given_series = [
        (name, len(rows), points_of(rows, plain).take(direction)) for name, rows, plain in series
    ]
    assert encode_response(given_series) == by_protobuf(given_series)


@pytest.mark.parametrize("zeros", [0, 1, 7, 700, 1500])
def test_many_points_with_zeros_among_them(zeros: int) -> None:
    random = np.random.default_rng(zeros)
    steps = np.arange(3000, dtype=float)
    values = random.normal(size=3000)
    values[random.choice(3000, zeros, replace=False)] = 0.0
    times = np.sort(random.integers(2**34, 2**36, 3000))
    series = [("a", 3000, FloatPoints(steps, times, values))]
    assert encode_response(series) == by_protobuf(series)


def test_an_ordinary_point_is_32_bytes() -> None:
    points = FloatPoints(np.array([1.0]), np.array([1_700_000_000_000]), np.array([2.0]))
    with_point = encode_response([("0", 0, points)])
    without = encode_response([("0", 0, points.take(slice(0)))])
    assert len(with_point) - len(without) == 32
