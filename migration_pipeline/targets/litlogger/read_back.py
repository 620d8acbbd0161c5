"""Reads one run from Lightning AI, see `RemoteReader`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.targets.litlogger.capabilities import (
    CAPABILITIES,
    EARLIEST_STEP,
    LATEST_STEP,
    POINTS_BYTES,
    POINTS_PAGE,
)
from migration_pipeline.targets.litlogger.connection import Connection
from migration_pipeline.targets.litlogger.records import Experiment, Records
from migration_pipeline.targets.litlogger.refusals import NotFoundError, TooLongError
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.reading import RemoteReader

_WITHOUT_TIME = "0000-12-31T00:00:00"
"""Before all times that can be sent, so it equals none."""


class Reader(RemoteReader):
    """See `RemoteReader`."""

    def __init__(
        self,
        to: Connection,
        records: Records,
        experiment: Experiment,
        key: RunKey,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._to, self._records, self._experiment = to, records, experiment
        super().__init__(key, to.address, CAPABILITIES, into, only)

    def shown_parameters(self) -> Mapping[str, Any]:
        marks = set(CAPABILITIES.key_reserved)
        return {name: v for name, v in self._experiment.tags.items() if name not in marks}

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        """Range of steps by range of steps: the service gives all series at once."""
        if not names and not others:
            return
        summaries = self._records.counts(self._experiment).values()
        total = sum(int(one.get("numValues") or 0) for one in summaries)
        if not total:
            return
        first = min(int(one.get("minStep") or 0) for one in summaries)
        last = max(int(one.get("maxStep") or 0) for one in summaries)
        width = max((last - first) // (total // POINTS_PAGE + 1), 0) + 1
        ranges = [(a, min(a + width - 1, last)) for a in range(first, last + 1, width)]
        ranges.reverse()
        while ranges:
            low, high = ranges.pop()
            try:
                said = self._range(low, high, whole=(low, high) == (first, last))
            except TooLongError:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
                continue
            for name, values in said.items():
                piece = _piece(name, values)
                inside = (piece.steps >= low) & (piece.steps <= high)
                yield piece if inside.all() else piece.where(inside)

    def _range(self, low: int, high: int, whole: bool) -> dict[str, list[dict[str, Any]]]:
        """Name → points with steps from `low` to `high`, perhaps some around them.

        Raises:
            TooLongError: they are too many for one answer, and can be asked for in halves.
        """
        query = {"ids": self._experiment.id}
        if not whole:
            # Nobody says whether the ends are part of a range.
            around = max(low - 1, EARLIEST_STEP), min(high + 1, LATEST_STEP)
            query |= {"minStep": str(around[0]), "maxStep": str(around[1])}
        most = POINTS_BYTES if low < high else 1 << 62
        said = self._to.points(self._experiment.teamspace.id, query, most)
        found = (said.get("namedMetrics") or {}).items()
        per_id = {name: (of.get("idsMetrics") or {}) for name, of in found}
        return {
            name: of[self._experiment.id].get("metricsValues") or []
            for name, of in per_id.items()
            if self._experiment.id in of
        }

    @cached_property
    def _there(self) -> set[str]:
        """Files of this experiment; on the drive there may be others of an older one."""
        return self._records.files(self._experiment)

    def fetch(self, name: str, to: Path) -> bool:
        if name not in self._there:
            return False
        try:
            with to.open("wb") as stream:
                self._to.download(self._records.drive(self._experiment, name), stream)
        except NotFoundError:
            to.unlink(missing_ok=True)
            return False
        return True


def _piece(name: str, values: list[dict[str, Any]]) -> Piece:
    times = [(value.get("createdAt") or _WITHOUT_TIME)[:23].rstrip("Z") for value in values]
    return Piece(
        name,
        np.array([int(value.get("step") or 0) for value in values], dtype=np.int64),
        np.array(times, dtype="datetime64[ms]").astype(np.int64),
        np.array([value.get("value") or 0.0 for value in values], dtype=np.float64),
    )
