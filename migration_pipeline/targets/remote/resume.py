"""What of a run is at a target already, from a load that was cut off.

Points are sent in the order of the archive and arrive batch by batch, so what is there of a series
is its beginning: as many points, with the same sum of their hashes. Where it is not, the archive
was written anew in another order meanwhile, or somebody else wrote there, and the run is begun
anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from migration_pipeline.mapping.points import UInt64s


class ContradictionError(Exception):
    """What is there is not the beginning of what is to be sent."""


@dataclass
class Beginning:
    """Points of one series that are there."""

    count: int = 0
    total: int = 0
    """The sum of their hashes, modulo 2**64."""

    def add(self, hashes: UInt64s) -> None:
        self.count += len(hashes)
        self.total = (self.total + _sum(hashes)) % 2**64

    def skip(self, hashes: UInt64s) -> int:
        """Takes the next points that are to be sent; returns how many of them are there.

        Raises:
            ContradictionError: those that are there are others.
        """
        known = min(self.count, len(hashes))
        if known:
            self.count -= known
            self.total = (self.total - _sum(hashes[:known])) % 2**64
            if not self.count and self.total:
                raise ContradictionError
        return known


def _sum(hashes: UInt64s) -> int:
    return int(hashes.sum(dtype=np.uint64))


@dataclass
class Held:
    """What a target has of a run; of a new one nothing."""

    series: dict[str, Beginning] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    """Name of a file → bytes."""

    def has_param(self, name: str, text: str) -> bool:
        """
        Raises:
            ContradictionError: it is there with another value, which cannot be changed.
        """
        if name not in self.params:
            return False
        if self.params[name] != text:
            raise ContradictionError
        return True

    def check_finished(self) -> None:
        """After all points were passed over.

        Raises:
            ContradictionError: there are more than those.
        """
        if any(beginning.count for beginning in self.series.values()):
            raise ContradictionError
