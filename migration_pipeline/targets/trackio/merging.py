"""Points of many series as Trackio has them: rows of one step and time, with all that was logged
then.

The archive holds series after series, Trackio step after step, and a run may be larger than memory.
So points are held up to a size and beyond it written to a file; then all series are read side by
side, a stretch of steps at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
_HELD = 1_000_000
"""Points in memory (24 bytes each) before they go to the file."""
_STRETCH = 500_000
"""Points of one stretch, of all series together."""


@dataclass(frozen=True)
class Stretch:
    """Series that have the same steps and times there.

    Args:
        names: of the series.
        steps, times: one entry a row; times in ms.
        values: a row a step, a column a series.
    """

    names: list[str]
    steps: Doubles
    times: Int64s
    values: Doubles


@dataclass
class _Block:
    """Points of a series that lie together, in memory or in the file."""

    arrays: tuple[Doubles, Int64s, Doubles] | None
    count: int
    offset: int = 0
    done: int = 0


@dataclass
class _Series:
    blocks: list[_Block] = field(default_factory=list)
    steps: Doubles = field(default_factory=lambda: np.empty(0))
    times: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    values: Doubles = field(default_factory=lambda: np.empty(0))


class Merger:
    """Takes series whose steps grow, in blocks; gives them back side by side.

    Args:
        spill: a file that may be made.
    """

    def __init__(self, spill: Path) -> None:
        self._spill_path = spill
        self._file: IO[bytes] | None = None
        self._series: dict[str, _Series] = {}
        self._held = 0
        self._end = 0

    def add(self, name: str, steps: Doubles, times: Int64s, values: Doubles) -> None:
        block = _Block((steps, times, values), len(steps))
        self._series.setdefault(name, _Series()).blocks.append(block)
        self._held += len(steps)
        if self._held > _HELD:
            self._spill()

    def stretches(self) -> Iterator[Stretch]:
        """All points, in steps that grow from stretch to stretch. Can be taken once."""
        try:
            while self._series:
                each = max(_STRETCH // len(self._series), 16)
                for series in self._series.values():
                    self._fill(series, each)
                self._series = {n: s for n, s in self._series.items() if len(s.steps)}
                unread = [s.steps[-1] for s in self._series.values() if s.blocks]
                last = min(unread) if unread else np.inf
                yield from _alike(
                    {name: part for name, s in self._series.items() if (part := _cut(s, last))}
                )
        finally:
            if self._file is not None:
                self._file.close()
                self._spill_path.unlink(missing_ok=True)

    def _spill(self) -> None:
        if self._file is None:
            with contextlib.ExitStack() as stack:
                self._file = stack.enter_context(self._spill_path.open("w+b"))
                stack.pop_all()
        for series in self._series.values():
            for block in series.blocks:
                if block.arrays is not None:
                    self._file.seek(self._end)
                    for array in block.arrays:
                        self._file.write(np.ascontiguousarray(array).tobytes())
                    block.offset, block.arrays = self._end, None
                    self._end += 24 * block.count
        self._held = 0

    def _fill(self, series: _Series, each: int) -> None:
        """Reads on until `each` points of a series are there, or all of them."""
        parts = [(series.steps, series.times, series.values)]
        there = len(series.steps)
        while series.blocks and there < each:
            block = series.blocks[0]
            count = min(block.count - block.done, each - there)
            parts.append(self._read(block, count))
            block.done += count
            there += count
            if block.done == block.count:
                series.blocks.pop(0)
        if len(parts) > 1:
            series.steps = np.concatenate([p[0] for p in parts])
            series.times = np.concatenate([p[1] for p in parts])
            series.values = np.concatenate([p[2] for p in parts])

    def _read(self, block: _Block, count: int) -> tuple[Doubles, Int64s, Doubles]:
        rows = slice(block.done, block.done + count)
        if block.arrays is not None:
            steps, times, values = block.arrays
            return steps[rows], times[rows], values[rows]
        assert self._file is not None
        read = []
        for column in range(3):
            self._file.seek(block.offset + 8 * (column * block.count + block.done))
            read.append(self._file.read(8 * count))
        return (
            np.frombuffer(read[0], np.float64),
            np.frombuffer(read[1], np.int64),
            np.frombuffer(read[2], np.float64),
        )


def _cut(series: _Series, last: float) -> tuple[Doubles, Int64s, Doubles] | None:
    """Takes the points up to a step from what is there of a series."""
    count = int(np.searchsorted(series.steps, last, side="right"))
    if not count:
        return None
    part = series.steps[:count], series.times[:count], series.values[:count]
    series.steps, series.times, series.values = (
        series.steps[count:],
        series.times[count:],
        series.values[count:],
    )
    return part


def _alike(parts: dict[str, tuple[Doubles, Int64s, Doubles]]) -> Iterator[Stretch]:
    """Groups series by their steps and times."""
    groups: dict[tuple[bytes, bytes], list[str]] = {}
    for name, (steps, times, _) in parts.items():
        groups.setdefault((steps.tobytes(), times.tobytes()), []).append(name)
    for names in groups.values():
        steps, times, _ = parts[names[0]]
        values = np.column_stack([parts[name][2] for name in names])
        yield Stretch(names, steps, times, values)
