"""Decodes float series answers straight from their bytes into numpy arrays.

A protobuf library builds one object a point; at millions of points that is most of an export's
time. Points of one series nearly always have the same layout on the wire (32 bytes: timestamp,
step, value, completion ratio), so a stretch of equal layouts is read as strided columns. Fields
that are zero are omitted by the server, which starts a new stretch; a series of too many short
stretches, or with a field that is not known here, is given to protobuf instead. Tests prove both
ways equal.

The message layouts are those of neptune-query's generated `series_values_pb2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoFloatPointValueDTO,
    ProtoFloatSeriesValuesDTO,
)

from migration_pipeline.archive.schema import FloatSeriesBuilder, float_to_micros
from migration_pipeline.errors import IncompleteAnswerError

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TIMESTAMP, _STEP, _VALUE, _PREVIEW, _RATIO = 0x08, 0x11, 0x19, 0x20, 0x2D
_MAX_STRETCHES = 32
"""Beyond this many (plus one in 64 points), protobuf is faster."""
_BLOCK = 32_768
_MIN_RECORD = 16
"""Columns are compared eight bytes at a time; shorter records go to protobuf."""


@dataclass(frozen=True)
class Points:
    """One series' points of one answer, in the order they came: columns that still lie in it."""

    request_id: str
    columns: list[Columns]

    def __len__(self) -> int:
        return sum(len(part.steps) for part in self.columns)

    @property
    def first_step(self) -> float:
        return float(self.columns[0].steps[0])

    @property
    def last_step(self) -> float:
        """The last step as the server sent it: where the next page starts."""
        return float(self.columns[-1].steps[-1])

    @property
    def highest_step(self) -> float:
        return max(self.first_step, self.last_step)

    @property
    def previews(self) -> int:
        return sum(part.previews for part in self.columns)

    def fill(self, builder: FloatSeriesBuilder, at: int) -> None:
        """Writes steps, times and values into rows `at` and following."""
        for part in self.columns:
            for start in range(0, len(part.steps), _BLOCK):
                block = part.block(start)
                where = slice(at, at + len(block.steps))
                builder.set_micros(where, float_to_micros(np.ascontiguousarray(block.steps)))
                builder.values[where] = block.values
                block.fill_timestamps(builder.timestamps[where])
                at = where.stop


@dataclass(frozen=True)
class Columns:
    """A stretch of points with one layout; steps and values are views into the answer.

    `timestamps` are the times themselves, or, with `varint_bytes`, words that begin with their
    varints.
    """

    timestamps: npt.NDArray[Any]
    steps: Float64s
    values: Float64s
    previews: int
    varint_bytes: int = 0

    def block(self, start: int) -> Columns:
        """Some of the points, so few that intermediate arrays stay small."""
        where = slice(start, start + _BLOCK)
        return Columns(
            self.timestamps[where],
            self.steps[where],
            self.values[where],
            self.previews,
            self.varint_bytes,
        )

    def fill_timestamps(self, out: Int64s) -> None:
        if not self.varint_bytes:
            out[:] = self.timestamps
            return
        words = np.ascontiguousarray(self.timestamps)
        times = words & np.uint64(0x7F)
        for i in range(1, self.varint_bytes):
            times |= (words >> np.uint64(i)) & np.uint64(0x7F << (7 * i))
        out[:] = times.view(np.int64)


def decode_float_series(answer: bytes) -> Iterator[Points]:
    """Decodes a `ProtoFloatSeriesValuesResponseDTO`, whose bytes must live as long as the points.

    Raises:
        IncompleteAnswerError: the bytes are not such a message, or are cut off.
    """
    try:
        for number, payload in _fields(memoryview(answer)):
            if number == 1 and isinstance(payload, memoryview):
                yield _decode_series(payload)
    except (ValueError, IndexError, DecodeError) as error:
        raise IncompleteAnswerError(
            f"a float series answer of {len(answer)} bytes cannot be decoded: {error}"
        ) from error


def _decode_series(message: memoryview) -> Points:
    request_id, values = "", memoryview(b"")
    for number, payload in _fields(message):
        if number == 1 and isinstance(payload, memoryview):
            request_id = bytes(payload).decode()
        elif number == 2 and isinstance(payload, memoryview):
            values = payload
    return Points(request_id, decode_points(values))


def decode_points(message: memoryview) -> list[Columns]:
    """The points of a `ProtoFloatSeriesValuesDTO`, one `Columns` for each stretch of one layout."""
    stretches: list[Columns] = []
    at, end, decoded = 0, len(message), 0
    while at < end:
        if message[at] != 0x12:  # not a point: total_item_count
            at = _skip(message, at)
            continue
        if len(stretches) > _MAX_STRETCHES + decoded // 64:
            return [_decode_with_protobuf(message)]
        size, layout = _layout(message, at)
        if layout is None:
            count = 1
            record = message[_varint(message, at + 1)[1] : at + size]
            stretches.append(_columns([ProtoFloatPointValueDTO.FromString(bytes(record))]))
        else:
            count = layout.count(message, at)
            stretches.append(layout.read(message, at, count))
        at += count * size
        decoded += count
    return stretches


def _decode_with_protobuf(message: memoryview) -> Columns:
    return _columns(ProtoFloatSeriesValuesDTO.FromString(bytes(message)).values)


def _columns(points: Any) -> Columns:
    count = len(points)
    return Columns(
        np.fromiter((p.timestamp_millis for p in points), np.int64, count),
        np.fromiter((p.step for p in points), np.float64, count),
        np.fromiter((p.value for p in points), np.float64, count),
        sum(p.is_preview for p in points),
    )


@dataclass(frozen=True)
class _Layout:
    """Where the fields of a point lie in its record, and which bytes tell that layout.

    `mask` has ff where a byte must equal `template`, 80 where only its continuation bit must.
    """

    size: int
    mask: bytes
    template: bytes
    timestamp: int
    timestamp_bytes: int
    step: int
    value: int
    preview: bool

    def count(self, message: memoryview, at: int) -> int:
        """How many records from `at` on have this layout; looked for in growing windows."""
        most = (len(message) - at) // self.size
        found, window = 1, 1024
        while found < most:
            length = min(window, most - found)
            same = np.ones(length, dtype=bool)
            start = at + found * self.size
            for offset in self._words():
                word = np.ndarray((length,), "<u8", message, start + offset, (self.size,))
                mask, template = self._word(offset)
                same &= (word & mask) == template
            if not same.all():
                return found + int(np.argmin(same))
            found += length
            window *= 8
        return found

    def _words(self) -> list[int]:
        return [*range(0, self.size - 7, 8), self.size - 8]

    def _word(self, offset: int) -> tuple[np.uint64, np.uint64]:
        mask = int.from_bytes(self.mask[offset : offset + 8], "little")
        template = int.from_bytes(self.template[offset : offset + 8], "little")
        return np.uint64(mask), np.uint64(template & mask)

    def read(self, message: memoryview, at: int, count: int) -> Columns:
        """The columns of `count` records from `at` on."""
        if self.timestamp_bytes:
            words = np.ndarray((count,), "<u8", message, at + self.timestamp, (self.size,))
        else:
            words = np.zeros(count, dtype=np.int64)
        return Columns(
            words,
            self._doubles(message, at, count, self.step),
            self._doubles(message, at, count, self.value),
            count if self.preview else 0,
            self.timestamp_bytes,
        )

    def _doubles(self, message: memoryview, at: int, count: int, offset: int) -> Float64s:
        if not offset:
            return np.zeros(count, dtype=np.float64)
        return np.ndarray((count,), "<f8", message, at + offset, (self.size,))


def _layout(message: memoryview, at: int) -> tuple[int, _Layout | None]:
    """Size and layout of the record at `at`; no layout when it is one for protobuf."""
    length, start = _varint(message, at + 1)
    size = length + start - at
    if at + size > len(message):
        raise ValueError("a point is cut off")
    if length >= 0x80 or size < _MIN_RECORD:
        return size, None
    mask, template = bytearray(size), bytearray(message[at : at + size])
    mask[0] = mask[1] = 0xFF
    places = {_TIMESTAMP: 0, _STEP: 0, _VALUE: 0}
    timestamp_bytes, preview, i = 0, False, 2
    while i < size:
        tag = template[i]
        mask[i] = 0xFF
        i += 1
        if tag == _TIMESTAMP:
            places[tag], first = i, i
            while template[i] & 0x80:
                i += 1
            i += 1
            mask[first:i] = b"\x80" * (i - first)
            timestamp_bytes = i - first
            if timestamp_bytes > 8 or first + 8 > size:
                return size, None  # before 1970, or too near the end to be read as one word
        elif tag in (_STEP, _VALUE):
            places[tag] = i
            i += 8
        elif tag == _PREVIEW and template[i] in (0, 1):
            mask[i] = 0xFF
            preview = template[i] == 1
            i += 1
        elif tag == _RATIO:
            i += 4
        else:
            return size, None
    if i != size:
        raise ValueError("a point's fields do not fit its length")
    layout = _Layout(
        size,
        bytes(mask),
        bytes(template),
        places[_TIMESTAMP],
        timestamp_bytes,
        places[_STEP],
        places[_VALUE],
        preview,
    )
    return size, layout


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it is cut off")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} is not protobuf's")


def _skip(message: memoryview, at: int) -> int:
    tag, at = _varint(message, at)
    if tag & 7 == _VARINT:
        return _varint(message, at)[1]
    if tag & 7 == _BYTES:
        length, at = _varint(message, at)
        return at + length
    return at + (4 if tag & 7 == _FIXED32 else 8)
