"""Points of one float series on their way to or from a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from migration_pipeline.mapping.points import Sent
from migration_pipeline.mapping.steps import Int64s


@dataclass(frozen=True)
class Piece:
    """Some points of one series as a target holds them, arrays of one length.

    Args:
        key: what the series is called there.
        steps: whole steps, or millionths where the target takes decimals.
        times: ms since 1970.
    """

    key: str
    steps: Int64s
    times: Int64s
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def where(self, mask: npt.NDArray[np.bool_]) -> Piece:
        return Piece(self.key, self.steps[mask], self.times[mask], self.values[mask])

    def before(self, point: int) -> Piece:
        return Piece(self.key, self.steps[:point], self.times[:point], self.values[:point])

    def after(self, point: int) -> Piece:
        return Piece(self.key, self.steps[point:], self.times[point:], self.values[point:])

    def hashes(self) -> npt.NDArray[np.uint64]:
        """64 bits of each point, whatever way it came."""
        nothing_odd = np.zeros(len(self.steps), dtype=bool)
        return Sent(self.steps, self.times, self.values, nothing_odd).hashes()


def piece(key: str, steps: list[int], times: list[int], values: list[float]) -> Piece:
    return Piece(
        key,
        np.array(steps, dtype=np.int64),
        np.array(times, dtype=np.int64),
        np.array(values, dtype=np.float64),
    )
