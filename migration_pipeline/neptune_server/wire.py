"""Float series as 3.x protobuf, encoded by numpy.

One message object per point would make this server the slowest part of every measurement. A
point is a short record of fields in a fixed order, so points with the same fields present are
rows of one structured array. As in proto3, a field with a zero value is left out; an ordinary
point carries completion_ratio 1.0 (32 bit) and is then 32 bytes long.

    values { 1 timestamp_millis: varint, 2 step: double, 3 value: double,
             4 is_preview: bool, 5 completion_ratio: float }
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .series import Floats, Ints

_TAG_POINT = 0x12
_MAX_RUNS = 256


@dataclass(frozen=True, slots=True)
class FloatPoints:
    """Points of one series in the order they are to be sent.

    `previews` and `completion` are None when every point is an ordinary one.
    """

    steps: Floats
    timestamps: Ints
    values: Floats
    previews: NDArray[np.bool_] | None = None
    completion: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, selection: slice) -> "FloatPoints":
        """The points of a slice, as views."""
        return FloatPoints(
            self.steps[selection],
            self.timestamps[selection],
            self.values[selection],
            None if self.previews is None else self.previews[selection],
            None if self.completion is None else self.completion[selection],
        )


def encode_response(series: Iterable[tuple[str, int, FloatPoints]]) -> bytes:
    """ProtoFloatSeriesValuesResponseDTO of (request id, number of points in all, page)."""
    parts: list[Any] = []
    for request_id, total, points in series:
        records = encode_points(points)
        count = b"\x08" + _varint(total) if total else b""
        size = len(count) + sum(len(record) for record in records)
        name = request_id.encode()
        head = (b"\x0a" + _varint(len(name)) + name if name else b"") + b"\x12" + _varint(size)
        parts.append(b"\x0a" + _varint(len(head) + size) + head + count)
        parts.extend(records)
    return b"".join(parts)


def encode_points(points: FloatPoints) -> list[NDArray[np.uint8]]:
    """The repeated field `values` (tag, length, message per point) as bytes to be joined."""
    if not len(points):
        return []
    layouts = _layouts(points)
    if isinstance(layouts, int):
        return [_records(points, layouts).reshape(-1)]
    changes = np.flatnonzero(np.diff(layouts)) + 1
    if len(changes) < max(_MAX_RUNS, len(points) // 1024):
        edges = [0, *changes.tolist(), len(points)]
        return [
            _records(points.take(slice(a, b)), int(layouts[a])).reshape(-1)
            for a, b in itertools.pairwise(edges)
        ]
    return [_scattered(points, layouts)]


# A layout is a small number: bytes of the timestamp's varint (0 when left out), then one bit
# each for step, value, is_preview and completion_ratio.
_STEP, _VALUE, _PREVIEW, _COMPLETION = 16, 32, 64, 128


def _layouts(points: FloatPoints) -> int | NDArray[np.int64]:
    """The layout of all points when they share one, else one a point."""
    shared, varying = 0, []
    sizes = _varint_sizes(points.timestamps)
    if isinstance(sizes, int):
        shared += sizes
    else:
        varying.append(sizes)
    present = [(_STEP, _nonzero(points.steps)), (_VALUE, _nonzero(points.values))]
    if points.previews is not None:
        present.append((_PREVIEW, points.previews))
    if points.completion is not None:
        present.append((_COMPLETION, points.completion.view(np.uint32) != 0))
    else:
        shared += _COMPLETION
    for bit, mask in present:
        if mask.all():
            shared += bit
        elif mask.any():
            varying.append(mask.astype(np.int64) * bit)
    return shared + sum(varying[1:], varying[0]) if varying else shared


def _nonzero(array: Floats) -> NDArray[np.bool_]:
    """Whether any bit is set: -0.0 is sent, only +0.0 is left out."""
    bits: NDArray[np.uint64] = np.ascontiguousarray(array).view(np.uint64)
    return np.not_equal(bits, 0)


def _varint_sizes(timestamps: Ints) -> int | NDArray[np.int64]:
    low, high = int(timestamps.min()), int(timestamps.max())
    if low >= 0 and (size := (low.bit_length() + 6) // 7) == (high.bit_length() + 6) // 7:
        return size
    unsigned = timestamps.astype(np.uint64)
    sizes = np.zeros(len(unsigned), np.int64)
    for n in range(10):
        sizes += unsigned >= np.uint64(1 << 7 * n)
    return sizes


@lru_cache(maxsize=512)
def _record_type(layout: int) -> np.dtype[Any]:
    fields: list[tuple[Any, ...]] = [("tag", "u1"), ("length", "u1")]
    if layout & 15:
        fields += [("tag1", "u1"), ("timestamp", "u1", (layout & 15,))]
    if layout & _STEP:
        fields += [("tag2", "u1"), ("step", "<f8")]
    if layout & _VALUE:
        fields += [("tag3", "u1"), ("value", "<f8")]
    if layout & _PREVIEW:
        fields += [("tag4", "u1"), ("preview", "u1")]
    if layout & _COMPLETION:
        fields += [("tag5", "u1"), ("completion", "<f4")]
    return np.dtype(fields)


def _records(points: FloatPoints, layout: int) -> NDArray[np.uint8]:
    """Bytes (points, size of a record) of points that all have the same layout."""
    kind = _record_type(layout)
    out = np.empty(len(points), kind)
    out["tag"], out["length"] = _TAG_POINT, kind.itemsize - 2
    if size := layout & 15:
        out["tag1"] = 0x08
        rest = points.timestamps.astype(np.uint64)
        for at in range(size):
            more = 0x80 if at < size - 1 else 0
            out["timestamp"][:, at] = (rest.astype(np.uint8) & 0x7F) | more
            rest >>= np.uint64(7)
    if layout & _STEP:
        out["tag2"], out["step"] = 0x11, points.steps
    if layout & _VALUE:
        out["tag3"], out["value"] = 0x19, points.values
    if layout & _PREVIEW:
        out["tag4"], out["preview"] = 0x20, 1
    if layout & _COMPLETION:
        out["tag5"] = 0x2D
        out["completion"] = 1.0 if points.completion is None else points.completion
    return out.view(np.uint8).reshape(len(points), kind.itemsize)


def _scattered(points: FloatPoints, layouts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Bytes of points whose layouts alternate: each layout is encoded at once, then placed."""
    kinds, inverse = np.unique(layouts, return_inverse=True)
    sizes = np.array([_record_type(int(kind)).itemsize for kind in kinds], np.int64)
    ends = np.cumsum(sizes[inverse])
    starts = ends - sizes[inverse]
    out = np.empty(int(ends[-1]), np.uint8)
    for number, kind in enumerate(kinds):
        chosen = np.flatnonzero(inverse == number)
        some = FloatPoints(
            points.steps[chosen],
            points.timestamps[chosen],
            points.values[chosen],
            None,
            None if points.completion is None else points.completion[chosen],
        )
        out[starts[chosen][:, None] + np.arange(sizes[number])] = _records(some, int(kind))
    return out


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
