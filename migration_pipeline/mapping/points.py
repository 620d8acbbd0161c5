"""Points of float series between archive and target: what is sent for a point, and which points
must be kept beside because the target's point alone would not give them back.

A target's point is a triple (step, time, value). Where a target cannot hold something, such as an
infinity or a point without time, a stand-in is sent; where it holds equal triples once only, a
repeated one is not sent at all. Both are written down point by point, so that what the target shows
plus what is kept beside is the archive again, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.digest import int64_column, mix
from migration_pipeline.archive.schema import MICROS, micros_from_steps
from migration_pipeline.mapping.steps import Bools, Int64s, as_held, scale, step_text
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.mapping.values import float_json

Rows = npt.NDArray[np.intp] | slice
UInt64s = npt.NDArray[np.uint64]
_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True)
class Points:
    """Float points as arrays of one length; masks are true where there is nothing."""

    micros: Int64s
    no_step: Bools
    times: Int64s
    no_time: Bools
    values: npt.NDArray[np.float64]
    no_value: Bools

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Points:
        """The rows of a batch that has at least the columns step, timestamp, float_value."""
        column = batch.column("float_value")
        data, offset = column.buffers()[1], column.offset
        if data is None:
            values = np.zeros(len(column))
        else:
            values = np.frombuffer(data, dtype=np.float64)[offset : offset + len(column)]
        no_value = (
            np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), dtype=bool)
        )
        return cls(
            *micros_from_steps(batch.column("step")),
            *int64_column(batch.column("timestamp")),
            np.where(no_value, np.nan, values) if column.null_count else values,
            no_value,
        )

    def take(self, rows: Rows) -> Points:
        return Points(
            self.micros[rows],
            self.no_step[rows],
            self.times[rows],
            self.no_time[rows],
            self.values[rows],
            self.no_value[rows],
        )

    def __len__(self) -> int:
        return len(self.micros)


@dataclass(frozen=True)
class Sent:
    """What a target gets for points: whole steps (or millionths, where it takes decimals), times in
    ms, values; `odd` where that is a stand-in."""

    steps: Int64s
    times: Int64s
    values: npt.NDArray[np.float64]
    odd: Bools
    by_step: bool = False
    """The target tells points apart by their steps alone."""

    def hashes(self) -> UInt64s:
        """64 bits of what the target tells points apart by."""
        h = mix(self.steps.view(np.uint64) * np.uint64(3))
        if self.by_step:
            return h
        h ^= self.times.view(np.uint64)
        h = mix(h)
        h ^= _bits(self.values)
        return mix(h)


def _bits(values: npt.NDArray[np.float64]) -> UInt64s:
    bits = np.ascontiguousarray(values).view(np.uint64).copy()
    bits[np.isnan(values)] = np.float64(np.nan).view(np.uint64)
    return bits


@dataclass(frozen=True)
class PointMapper:
    """Points → what is sent for them.

    Args:
        capabilities: of the target.
        multiplier: of the steps.
        start: of the run, ms; the time of points that have none, where one is required.
    """

    capabilities: Capabilities
    multiplier: int
    start: int

    def map(self, points: Points, timeless: bool = False) -> Sent:
        """`timeless`: no point of the series has a time, which is said once and not at each."""
        can = self.capabilities
        odd = points.no_step | points.no_value
        whole = points.micros
        if can.integer_steps:
            whole, rounded = scale(points.micros, self.multiplier)
            odd = odd | rounded
        elif can.double_steps:
            whole = as_held(points.micros)
            odd = odd | (whole != points.micros)
        times = points.times
        if points.no_time.any():
            times = np.where(points.no_time, self.time_for_none, times)
            if can.point_times == "required" and not timeless:
                odd = odd | points.no_time
        if (early := self.early(points)).any():
            times = np.where(early, self.time_for_none, times)
            odd = odd | early
        values = points.values
        if not can.infinity and (infinite := np.isinf(values)).any():
            values = np.where(infinite, np.copysign(_LARGEST, values), values)
            odd = odd | infinite
        if not can.negative_zero and (zero := negative_zeros(values)).any():
            values = np.where(zero, 0.0, values)
            odd = odd | zero
        return Sent(whole, times, values, odd, can.one_point_per_step)

    @property
    def time_for_none(self) -> int:
        """The run's start, or the earliest time that the target takes."""
        return max(self.start, self.capabilities.earliest_time_ms or self.start)

    def early(self, points: Points) -> Bools:
        """Those whose times are out of the target's range."""
        first, last = self.capabilities.earliest_time_ms, self.capabilities.latest_time_ms
        out = np.zeros(len(points), dtype=bool)
        if first is not None:
            out |= points.times < first
        if last is not None:
            out |= points.times > last
        return out & ~points.no_time


def out_of_range(can: Capabilities, steps: Int64s) -> Bools:
    """Where whole steps are none that the target can show."""
    if can.step_range is None:
        return np.zeros(len(steps), dtype=bool)
    low, high = can.step_range
    found: Bools = (steps < low) | (steps > high)
    return found


def unshown(can: Capabilities, points: Points) -> Bools:
    """Points that are left out of what is shown, because only some steps are wanted there."""
    every = can.steps_shown_every
    if every == 1:
        return np.zeros(len(points), dtype=bool)
    found: Bools = (points.micros % (every * MICROS) != 0) & ~points.no_step
    return found


def negative_zeros(values: npt.NDArray[np.float64]) -> Bools:
    zeros: Bools = (values == 0) & np.signbit(values)
    return zeros


@dataclass
class Splitter:
    """Tells which points of one series are sent, and which are written down beside.

    Args:
        repeated: hashes of triples that occur more than once in the series, sorted.
    """

    repeated: UInt64s
    _seen: set[tuple[int, int, int]] = field(default_factory=set)

    def split(self, sent: Sent, there: Bools | None = None) -> tuple[Bools, Bools]:
        """(not sent, because the target has that triple already; to be written down).

        Args:
            there: those of which the target gets to know at all; None: all.
        """
        again = np.zeros(len(sent.steps), dtype=bool)
        if len(self.repeated):
            hashes = sent.hashes()
            spot = np.searchsorted(self.repeated, hashes)
            spot[spot == len(self.repeated)] = 0
            bits = _bits(sent.values)
            same = self.repeated[spot] == hashes
            for row in np.flatnonzero(same if there is None else same & there):
                triple = (int(sent.steps[row]), int(sent.times[row]), int(bits[row]))
                if sent.by_step:
                    triple = (triple[0], 0, 0)
                again[row] = triple in self._seen
                self._seen.add(triple)
        return again, again | sent.odd


def notes(
    path: str,
    points: Points,
    sent: Sent,
    again: Bools,
    rows: npt.NDArray[np.intp],
    hidden: Bools | None = None,
) -> Iterator[dict[str, Any]]:
    """One JSON object for each of these rows: the triple that the target shows, and the point.

    `again` says that another point has the same triple, so this one comes in addition; `hidden`
    that the target shows nothing for it.
    """
    for row in rows:
        yield {
            "attribute": path,
            "shown": None
            if hidden is not None and hidden[row]
            else [
                int(sent.steps[row]),
                int(sent.times[row]),
                float_json(float(sent.values[row])),
            ],
            "step": None if points.no_step[row] else step_text(int(points.micros[row])),
            "time": None if points.no_time[row] else int(points.times[row]),
            "value": None if points.no_value[row] else float_json(float(points.values[row])),
            "again": bool(again[row]),
        }
