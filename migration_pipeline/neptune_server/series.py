"""Series in memory: numpy arrays for floats, plain lists for strings, histograms and files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Of a float series: `last` is the value at the highest step, whatever it is.

    The others are over the finite values, NaN when there are none, which is assumed; that the
    variance is the population's is asserted by Neptune's own end-to-end tests.
    """

    last_step: float
    last: float
    minimum: float
    maximum: float
    average: float
    variance: float


class FloatSeries:
    """Points in the order of their steps; previews (predicted points) are kept apart.

    Growth doubles the arrays, so appending n points costs O(n). The first arrays given are taken
    as they are, not copied: whoever hands them over must not change them afterwards.
    """

    __slots__ = ("_aggregates", "_size", "_steps", "_timestamps", "_values", "config", "previews")

    def __init__(self) -> None:
        self._steps: Floats = np.empty(0, np.float64)
        self._timestamps: Ints = np.empty(0, np.int64)
        self._values: Floats = np.empty(0, np.float64)
        self._size = 0
        self._aggregates: Aggregates | None = None
        self.previews: dict[float, tuple[int, float, float]] = {}
        """step → (timestamp in ms, value, completion from 0 to 1)"""
        self.config: tuple[float | None, float | None, str | None] | None = None
        """Lowest and highest value and unit, as a 2.x client says how to draw the series."""

    def __len__(self) -> int:
        return self._size

    @property
    def steps(self) -> Floats:
        return self._steps[: self._size]

    @property
    def timestamps(self) -> Ints:
        return self._timestamps[: self._size]

    @property
    def values(self) -> Floats:
        return self._values[: self._size]

    def extend(self, steps: Floats, timestamps: Ints, values: Floats) -> None:
        """Append points. ValueError when lengths differ or steps are not in order."""
        if not len(steps) == len(timestamps) == len(values):
            raise ValueError("steps, timestamps and values differ in length")
        if len(steps) == 0:
            return
        joined = bool(self._size) and steps[0] < self._steps[self._size - 1]
        if joined or not _ordered(steps):
            raise ValueError("steps must not decrease")
        if self._size == 0:
            self._steps, self._timestamps, self._values = steps, timestamps, values
            self._size = len(steps)
        else:
            self._reserve(self._size + len(steps))
            end = self._size + len(steps)
            self._steps[self._size : end] = steps
            self._timestamps[self._size : end] = timestamps
            self._values[self._size : end] = values
            self._size = end
        self._committed(float(steps[-1]))

    def append(self, step: float, timestamp: int, value: float) -> None:
        """One point; the caller has checked that its step is the highest."""
        self._reserve(self._size + 1)
        self._steps[self._size] = step
        self._timestamps[self._size] = timestamp
        self._values[self._size] = value
        self._size += 1
        self._committed(step)

    def sort(self) -> None:
        """Put the points in the order of their steps, keeping equal steps as they came."""
        if not _ordered(self.steps):
            order = np.argsort(self.steps, kind="stable")
            self._steps, self._timestamps = self.steps[order], self.timestamps[order]
            self._values = self.values[order]

    def append_unordered(self, steps: Floats, timestamps: Ints, values: Floats) -> None:
        """Append without looking at the order; `sort` must follow before anyone reads."""
        self._reserve(self._size + len(steps))
        end = self._size + len(steps)
        self._steps[self._size : end] = steps
        self._timestamps[self._size : end] = timestamps
        self._values[self._size : end] = values
        self._size = end
        self._aggregates = None

    def aggregates(self) -> Aggregates | None:
        """None when no point is committed."""
        if self._aggregates is None and self._size:
            self._aggregates = _aggregate(self.steps, self.values)
        return self._aggregates

    def _committed(self, step: float) -> None:
        self._aggregates = None
        if self.previews:
            self.previews = {at: point for at, point in self.previews.items() if at > step}

    def _reserve(self, size: int) -> None:
        writable = self._steps.flags.writeable and self._values.flags.writeable
        if size <= len(self._steps) and writable:
            return
        capacity = max(size, 2 * self._size, 16)
        self._steps = _grown(self.steps, capacity)
        self._timestamps = _grown(self.timestamps, capacity)
        self._values = _grown(self.values, capacity)


class ObjectSeries:
    """Points of a string, histogram or file series, in the order of their steps."""

    __slots__ = ("steps", "timestamps", "values")

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.timestamps: list[int] = []
        self.values: list[Any] = []

    def __len__(self) -> int:
        return len(self.steps)

    def append(self, step: float, timestamp: int, value: Any) -> None:
        self.steps.append(step)
        self.timestamps.append(timestamp)
        self.values.append(value)

    def sort(self) -> None:
        """Put the points in the order of their steps, keeping equal steps as they came."""
        if any(a > b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            order = sorted(range(len(self.steps)), key=self.steps.__getitem__)
            self.steps = [self.steps[i] for i in order]
            self.timestamps = [self.timestamps[i] for i in order]
            self.values = [self.values[i] for i in order]


def _grown(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.empty(capacity, array.dtype)
    grown[: len(array)] = array
    return grown


def _ordered(steps: Floats) -> bool:
    return bool(np.all(steps[1:] >= steps[:-1]))


def _aggregate(steps: Floats, values: Floats) -> Aggregates:
    count, mean, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        block = block[np.isfinite(block)]
        if not len(block):
            continue
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            center = float(block.mean())
            total, delta = count + len(block), center - mean
            squares += float(((block - center) ** 2).sum())
            squares += delta * delta * count * len(block) / total
            mean += delta * len(block) / total
        count = total
    nothing = count == 0
    return Aggregates(
        last_step=float(steps[-1]),
        last=float(values[-1]),
        minimum=np.nan if nothing else low,
        maximum=np.nan if nothing else high,
        average=np.nan if nothing else mean,
        variance=np.nan if nothing else squares / count,
    )
