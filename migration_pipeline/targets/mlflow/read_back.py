"""Reads one run from MLflow in the archive's terms: params, metric histories, artifacts; and says
where the last values that its pages show are not those of the histories."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.reading import RemoteReader


@dataclass
class _Last:
    """The latest of a metric's points, by MLflow's rule: step, then time, then value, where NaN
    is 0 (`_update_latest_metrics_if_necessary`)."""

    at: tuple[int, int, float] | None = None
    nan: set[bool] = field(default_factory=set)
    """Whether points there are NaN."""

    def take(self, piece: Piece) -> None:
        last = piece.steps == (step := piece.steps.max())
        last &= piece.times == (time := piece.times[last].max())
        nan = np.isnan(piece.values[last])
        values = np.where(nan, 0.0, piece.values[last])
        at = (int(step), int(time), float(values.max()))
        if self.at is None or at > self.at:
            self.at, self.nan = at, set()
        if at == self.at:
            self.nan |= set(nan[values == at[2]].tolist())

    def is_shown(self, value: float | None) -> bool:
        if self.at is None or value is None:
            return self.at is None and value is None
        nan = math.isnan(value)
        return nan in self.nan and self.at[2] == (0.0 if nan else value)


class Reader(RemoteReader):
    """Reads one run; `run` as MLflow's client gives it."""

    def __init__(
        self,
        to: Connection,
        run: Any,
        key: RunKey,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._to, self._run = to, run
        self._artifacts = to.artifacts(run.info.artifact_uri)
        self._listed: dict[str, set[str]] = {}
        self._last: dict[str, _Last] = {}
        super().__init__(key, to.address, can, into, only)

    def shown_parameters(self) -> Mapping[str, Any]:
        params: dict[str, Any] = dict(self._run.data.params)
        return params

    def points(self) -> Iterator[pa.RecordBatch]:
        """All points; and a last value where MLflow's pages show another than the points say."""
        yield from super().points()
        shown = self._run.data.metrics
        for name, of_points in self._last.items():
            if not of_points.is_shown(shown.get(name)):
                path = f"{self.series_path(name)} (last value)"
                row = {"path": path, "type": "float", "value": shown.get(name)}
                yield make_batch(self.key.project, self.key.run, [row])

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        more = [n for n in self._run.data.metrics if self.wanted(self.series_path(n))]
        asked = sorted({*names, *more})
        self._last = {name: _Last() for name in asked}
        for piece in self._to.metrics.points(self._run.info.run_id, asked, others=others):
            self._last.setdefault(piece.key, _Last()).take(piece)
            yield piece

    def fetch(self, name: str, to: Path) -> bool:
        """A folder is asked for once what it holds."""
        folder = posixpath.dirname(name)
        if folder not in self._listed:
            listed = self._artifacts.list_artifacts(folder)
            self._listed[folder] = {item.path for item in listed if not item.is_dir}
        if name not in self._listed[folder]:
            return False
        # `download_artifacts` asks two more questions for each file, and shows a bar.
        self._artifacts._download_file(name, str(to))
        return True
