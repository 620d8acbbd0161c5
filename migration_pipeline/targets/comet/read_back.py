"""Reads one run from Comet in the archive's terms, independently of what wrote it.

Of a metric with more than 15,000 points Comet shows a sample. Its points come from the Parquet file
beside then, as long as Comet does show a sample of them: each that it shows must be one of them, at
that step and time and no more than once. How many a sample has at least is not published; fewer
than half of what Comet keeps are taken for what is left, and nothing comes from the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.points import UInt64s
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.targets.comet.connection import Connection
from migration_pipeline.targets.comet.naming import MARKS, whole_series
from migration_pipeline.targets.comet.records import Records
from migration_pipeline.targets.remote.pieces import Piece, piece
from migration_pipeline.targets.remote.reading import RemoteReader

_ROWS = 100_000


class Reader(RemoteReader):
    """Reads one run.

    Args:
        id: Comet's experiment key.
    """

    def __init__(
        self,
        to: Connection,
        id: str,
        key: RunKey,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._to, self._records, self._id = to, Records(to), id
        super().__init__(key, to.address, can, into, only)

    @cached_property
    def _assets(self) -> dict[str, str]:
        return self._records.assets(self._id)

    def fetch(self, name: str, to: Path) -> bool:
        if name not in self._assets:
            return False
        self._to.download(self._id, self._assets[name], to)
        return True

    def shown_parameters(self) -> Mapping[str, Any]:
        ours = set(MARKS.values())
        shown = self._records.parameters(self._id)
        return {name: value for name, value in shown.items() if name not in ours}

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        more = set(self._records.metric_names(self._id)) - set(names) if others else ()
        for name in [*names, *sorted(more)]:
            shown = _piece(name, self._records.points(self._id, name))
            if (file := self.download(whole_series(name))) is None:
                if len(shown):
                    yield shown
                continue
            yield from self._whole(name, file, shown)
            file.unlink()

    def _whole(self, name: str, file: Path, shown: Piece) -> Iterator[Piece]:
        """The points of the file; and of those shown what is not in it, or is there once more. Of a
        file whose points Comet shows no sample of, there is what it shows."""
        kept = self.can.points_kept_per_series or 0
        there = shown.hashes()
        known = np.zeros(len(shown), dtype=bool)
        with pq.ParquetFile(file) as whole:
            if whole.metadata.num_rows <= kept or len(shown) < kept // 2:
                if len(shown):
                    yield shown
                return
            for batch in whole.iter_batches(_ROWS):
                part = Piece(name, *(np.asarray(batch.column(n)) for n in batch.schema.names))
                known |= _isin(there, part.hashes())
                yield part
        again = np.ones(len(shown), dtype=bool)
        again[np.unique(there, return_index=True)[1]] = False
        known &= ~again
        if not known.all():
            yield shown.where(~known)


def _isin(hashes: UInt64s, among: UInt64s) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.isin(hashes, among)


def _piece(name: str, points: list[dict[str, Any]]) -> Piece:
    return piece(
        name,
        [int(point["step"] or 0) for point in points],
        [int(point["timestamp"]) for point in points],
        [float(point["metricValue"]) for point in points],
    )
