"""The decoder of float series says what protobuf says, of whatever bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from hypothesis import assume, example, given
from hypothesis import strategies as st
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoFloatSeriesValuesResponseDTO,
)

from migration_pipeline.archive.schema import (
    FloatSeriesBuilder,
    float_to_micros,
    micros_from_steps,
    repeated,
)
from migration_pipeline.errors import IncompleteAnswerError
from migration_pipeline.sources.neptune3 import wire
from migration_pipeline.sources.neptune3.wire import Points, decode_float_series

Decoded = list[tuple[str, list[int], list[int], list[bytes], int, float, float]]


def varint(number: int) -> bytes:
    """A protobuf varint; negative numbers as 64 bits, so ten bytes."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    length = varint(len(payload)) if wire_type == 2 else b""
    return varint(number << 3 | wire_type) + length + payload


def point(
    timestamp: int | None = None,
    step: float | None = None,
    value: float | None = None,
    preview: int | None = None,
    ratio: float | None = 1.0,
    unknown: bytes = b"",
) -> bytes:
    """A point's bytes with just the fields that are given, in the order of their numbers."""
    parts = []
    if timestamp is not None:
        parts.append(field(1, 0, varint(timestamp)))
    if step is not None:
        parts.append(field(2, 1, struct.pack("<d", step)))
    if value is not None:
        parts.append(field(3, 1, struct.pack("<d", value)))
    if preview is not None:
        parts.append(field(4, 0, varint(preview)))
    if ratio is not None:
        parts.append(field(5, 5, struct.pack("<f", ratio)))
    return field(2, 2, b"".join([*parts, unknown]))


def answer(*series: bytes, count: int | None = None) -> bytes:
    """An answer of series numbered from 0, each the bytes of its points."""
    total = b"" if count is None else field(1, 0, varint(count))
    return b"".join(
        field(1, 2, field(1, 2, str(i).encode()) + field(2, 2, total + points))
        for i, points in enumerate(series)
    )


def bits(values: Any) -> list[bytes]:
    return [struct.pack("<d", v) for v in values]


def by_protobuf(message: bytes) -> Decoded:
    decoded = []
    for series in ProtoFloatSeriesValuesResponseDTO.FromString(message).series:
        points = series.series.values
        steps = np.array([p.step for p in points], dtype=np.float64)
        decoded.append(
            (
                series.requestId,
                float_to_micros(steps).tolist(),
                [p.timestamp_millis for p in points],
                bits(p.value for p in points),
                sum(p.is_preview for p in points),
                points[-1].step if points else 0.0,
                max(points[0].step, points[-1].step) if points else 0.0,
            )
        )
    return decoded


def by_us(message: bytes) -> Decoded:
    return [_columns(points) for points in decode_float_series(message)]


def _columns(points: Points) -> Any:
    count = len(points)
    builder = FloatSeriesBuilder(count)
    points.fill(builder, 0)
    batch = builder.batch("p/q", "r", repeated("loss", count))
    micros, _ = micros_from_steps(batch.column("step"))
    ends = (points.last_step, points.highest_step) if count else (0.0, 0.0)
    return (
        points.request_id,
        micros.tolist(),
        batch.column("timestamp").cast(pa.int64()).to_pylist(),
        bits(np.asarray(batch.column("float_value"))),
        points.previews,
        *ends,
    )


TIMES = st.one_of(
    st.none(),
    st.sampled_from([1_700_000_000_000, 0, -1, -(2**63), 2**63 - 1]),
    *(st.integers(0, 2 ** (7 * size) - 1) for size in range(1, 10)),
    st.integers(-(2**63), 0),
)
STEPS = st.none() | st.sampled_from([0.0, 1.0, 0.29]) | st.floats(0, 999_999_999_999.0)
VALUES = st.none() | st.floats() | st.sampled_from([-0.0, 0.0, float("nan")])
UNKNOWN = st.sampled_from(
    [
        field(9, 0, varint(300)),
        field(9, 2, b"later"),
        field(300, 5, b"abcd"),
        field(15, 1, b"12345678"),
        field(9, 2, b"x" * 200),
    ]
)
POINTS = st.builds(
    point,
    timestamp=TIMES,
    step=STEPS,
    value=VALUES,
    preview=st.sampled_from([None, None, 0, 1, 2]),
    ratio=st.none() | st.just(1.0) | st.floats(0, 1, width=32),
    unknown=st.just(b"") | UNKNOWN,
)
STRETCHES = st.builds(lambda one, times: one * times, POINTS, st.integers(1, 40))
"""The same layout many times, as a server sends it."""
SERIES = st.lists(STRETCHES | POINTS, max_size=12).map(b"".join)
ANSWERS = st.builds(
    lambda series, count: answer(*series, count=count),
    st.lists(SERIES, max_size=4),
    st.none() | st.integers(0, 1 << 40),
)


@given(ANSWERS)
@example(b"")
@example(answer(b""))
@example(answer(point(5, 1.0, 2.0) * 100))
def test_any_answer_is_decoded_as_protobuf_does(message: bytes) -> None:
    assert by_us(message) == by_protobuf(message)


@pytest.mark.parametrize("count", [1, 40, 1024, 1025, 9216, 9217, 32_768, 32_769, 70_000])
def test_long_stretches_of_one_layout(count: int) -> None:
    """Lengths around the windows in which equal layouts are looked for."""
    points = b"".join(point(1_700_000_000_000 + i, i + 1.0, i / 7) for i in range(count))
    message = answer(points, point(1, 1.0, 1.0))
    assert by_us(message) == by_protobuf(message)


@pytest.mark.parametrize("at", [0, 1, 1023, 1024, 1025, 2999])
@pytest.mark.parametrize("odd", [point(), point(1_700_000_000_000, None, 1.0), point(3, 1.0, 2.0)])
def test_a_point_of_another_layout_among_many(odd: bytes, at: int) -> None:
    """Zeros are omitted, so a step 0 or a value 0.0 has a layout of its own."""
    points = [point(1_700_000_000_000, i + 1.0, i / 7) for i in range(3000)]
    points[at] = odd
    message = answer(b"".join(points))
    assert by_us(message) == by_protobuf(message)


def test_every_omission_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"timestamp": 1_700_000_000_000, "step": 1.5, "value": -0.0, "preview": 1, "ratio": 0.5}
    for chosen in range(32):
        given_fields = {k: v for i, (k, v) in enumerate(full.items()) if chosen >> i & 1}
        one = point(**{"ratio": None} | given_fields)  # type: ignore[arg-type]
        for message in (answer(one), answer(one * 50), answer(point(1, 1.0, 1.0) + one)):
            assert by_us(message) == by_protobuf(message), given_fields


def test_layouts_that_change_too_often_are_given_to_protobuf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = []
    decode = wire._decode_with_protobuf
    monkeypatch.setattr(wire, "_decode_with_protobuf", lambda m: parsed.append(len(m)) or decode(m))
    uniform = answer(point(1_700_000_000_000, 1.0, 2.0) * 500)
    assert by_us(uniform) == by_protobuf(uniform)
    assert parsed == []
    restless = answer(b"".join(point(i, i * 1.0, 1.0) if i % 2 else point(i) for i in range(500)))
    assert by_us(restless) == by_protobuf(restless)
    assert len(parsed) == 1


CUT = answer(
    point(1_700_000_000_000, 1.0, 2.0) * 5,
    point(1_700_000_000_000) + point(-1, 2.0, None, 1),
    b"",
    count=7,
)


@pytest.mark.parametrize("size", range(len(CUT)))
def test_an_answer_cut_off_anywhere_is_refused_or_whole_up_to_there(size: int) -> None:
    """Between two series a cut cannot show in the bytes: HTTP's length shows it."""
    try:
        expected = by_protobuf(CUT[:size])
    except DecodeError:
        with pytest.raises(IncompleteAnswerError, match=f"{size} bytes"):
            by_us(CUT[:size])
    else:
        assert by_us(CUT[:size]) == expected
        assert expected == by_protobuf(CUT)[: len(expected)]


@given(ANSWERS, st.data())
def test_any_cut_is_refused_where_protobuf_refuses_it(message: bytes, data: st.DataObject) -> None:
    assume(message)
    cut = message[: data.draw(st.integers(0, len(message) - 1))]
    try:
        expected = by_protobuf(cut)
    except DecodeError:
        with pytest.raises(IncompleteAnswerError):
            by_us(cut)
    else:
        assert by_us(cut) == expected


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda b: answer(b)))
@example(b"<html>Bad gateway</html>")
@example(b'{"errorType": "X"}')
def test_noise_is_an_incomplete_answer_or_nothing(noise: bytes) -> None:
    """No other error, and no point that protobuf does not see."""
    try:
        found = by_us(noise)
    except IncompleteAnswerError:
        return
    try:
        expected = by_protobuf(noise)
    except DecodeError:
        assert not any(series[1] for series in found)
        return
    assert [series[1:4] for series in found if series[1]] == [
        series[1:4] for series in expected if series[1]
    ]
