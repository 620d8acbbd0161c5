"""Reads one run from MLflow in the archive's terms, independently of what wrote it.

Values come from what MLflow shows its users: params, metric histories, artifacts. From what is kept
beside comes only what MLflow cannot hold, and only where MLflow shows the stand-in for it: a point
that was lost or changed there is not repaired by the note about it.
"""

from __future__ import annotations

import math
import posixpath
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import (
    PARAMETER_TYPES,
    float_series_batch,
    make_batch,
)
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.steps import step_micros, unscale
from migration_pipeline.mapping.values import float_from_json, from_text
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.metrics import Piece

Triple = tuple[int, int, float | None]
"""Step, time and value of a point as MLflow shows it; a NaN is None, so that it equals itself."""


def read_back(
    to: Connection, run: Any, key: RunKey, into: Path, attributes: Collection[str] | None
) -> Iterator[pa.RecordBatch]:
    """All of a run as `BATCH_SCHEMA` batches, files downloaded below `into`.

    Raises:
        TargetRefusedError: what says which attribute is which is gone or damaged.
    """
    reader = _Reader(to, run, key, into, attributes)
    yield from reader.parameters()
    yield from reader.metrics()
    yield from reader.series()
    yield from reader.files()


@dataclass
class _Notes:
    """Points of one series that its triples alone do not give back."""

    instead: dict[Triple, dict[str, Any]] = field(default_factory=dict)
    again: dict[Triple, list[dict[str, Any]]] = field(default_factory=dict)


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


class _Reader:
    def __init__(
        self,
        to: Connection,
        run: Any,
        key: RunKey,
        into: Path,
        attributes: Collection[str] | None,
    ) -> None:
        self._to, self._run, self._key, self._into = to, run, key, into
        self._only = attributes
        self._files = to.artifacts(run.info.artifact_uri)
        self._listed: dict[str, set[str]] = {}
        path = self._download(sidecar.MIGRATION)
        if path is None:
            raise self._damaged("it is not there")
        try:
            self._migration = sidecar.Migration.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> TargetRefusedError:
        return TargetRefusedError(
            f"run {self._key} at {self._to.address}: {sidecar.MIGRATION} among its artifacts is "
            f"damaged: {reason}",
            "Delete the run in MLflow and load it again.",
        )

    def _wanted(self, path: str) -> bool:
        return self._only is None or path in self._only

    def _entries(self, *kinds: str) -> Iterator[sidecar.AttributeEntry]:
        return (e for e in self._migration.attributes if e.type in kinds and self._wanted(e.path))

    # --- params -----------------------------------------------------------------------------

    def parameters(self) -> Iterator[pa.RecordBatch]:
        yield from sidecar.batched(self._key.project, self._key.run, self._parameter_rows())

    def _parameter_rows(self) -> Iterator[dict[str, Any]]:
        texts = dict(self._run.data.params)
        kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
        if path := self._download(sidecar.PARAMETERS):
            for line in sidecar.read_lines(path):
                if self._wanted(line["attribute"]):
                    kept.setdefault((line["attribute"], line["type"]), []).append(line)
        known = {e.name for e in self._migration.attributes if e.type in PARAMETER_TYPES}
        for entry in self._entries(*PARAMETER_TYPES):
            text = texts.get(entry.name)
            yield from _parameter(entry, text, kept.get((entry.path, entry.type), []))
        for name, text in texts.items():
            if name not in known and self._wanted(name):
                yield {"path": name, "type": "string", "value": text}

    # --- metrics ----------------------------------------------------------------------------

    def metrics(self) -> Iterator[pa.RecordBatch]:
        """All points; and a last value where MLflow's pages show another than the points say."""
        noted = self._point_notes()
        path_of = {e.name: e.path for e in self._migration.attributes if e.type == "float_series"}
        shown = self._run.data.metrics
        names = [
            name for name in sorted({*path_of, *shown}) if self._wanted(path_of.get(name, name))
        ]
        last = {name: _Last() for name in names}
        everything = self._only is None
        for piece in self._to.metrics.points(self._run.info.run_id, names, others=everything):
            path = path_of.get(piece.key, piece.key)
            last.setdefault(piece.key, _Last()).take(piece)
            yield from self._points(path, piece, noted.get(path))
        for name, of_points in last.items():
            if not of_points.is_shown(shown.get(name)):
                path = f"{path_of.get(name, name)} (last value)"
                row = {"path": path, "type": "float", "value": shown.get(name)}
                yield make_batch(self._key.project, self._key.run, [row])

    def _point_notes(self) -> dict[str, _Notes]:
        noted: dict[str, _Notes] = {}
        path = self._download(sidecar.POINTS)
        for line in sidecar.read_lines(path) if path else ():
            if not self._wanted(line["attribute"]):
                continue
            notes = noted.setdefault(line["attribute"], _Notes())
            step, time, value = line["shown"]
            triple = _triple(step, time, float(value))
            if line["again"]:
                notes.again.setdefault(triple, []).append(line)
            else:
                notes.instead[triple] = line
        return noted

    def _points(self, path: str, piece: Piece, noted: _Notes | None) -> Iterator[pa.RecordBatch]:
        extra: list[dict[str, Any]] = []
        if noted:
            natural = np.ones(len(piece), dtype=bool)
            points = zip(
                piece.steps.tolist(), piece.times.tolist(), piece.values.tolist(), strict=True
            )
            for i, (step, time, value) in enumerate(points):
                triple = _triple(step, time, value)
                extra += noted.again.get(triple, ())
                if line := noted.instead.get(triple):
                    extra.append(line)
                    natural[i] = False
            piece = piece.where(natural)
        timeless = path in self._migration.timeless
        start, multiplier = self._migration.start, self._migration.step_multiplier
        if len(piece):
            micros = unscale(piece.steps, multiplier)
            paths = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(piece), dtype=np.int32)), pa.array([path])
            )
            batch = float_series_batch(
                self._key.project, self._key.run, paths, micros, piece.times, piece.values
            )
            yield _without_times(batch, piece.times == start) if timeless else batch
        if extra:
            rows = [
                {
                    "path": path,
                    "type": "float_series",
                    "step": None if line["step"] is None else step_micros(line["step"]),
                    "timestamp": line["time"],
                    "value": float_from_json(line["value"]),
                }
                for line in extra
            ]
            yield make_batch(self._key.project, self._key.run, rows)

    # --- files ------------------------------------------------------------------------------

    def series(self) -> Iterator[pa.RecordBatch]:
        for entry in self._entries("string_series", "histogram_series"):
            if path := self._download(entry.name):
                rows = sidecar.series_rows(entry.path, entry.type, sidecar.read_lines(path))
                yield from sidecar.batched(self._key.project, self._key.run, rows)
                path.unlink()

    def files(self) -> Iterator[pa.RecordBatch]:
        index = self._download(sidecar.FILES)
        for line in sidecar.read_lines(index) if index else ():
            if self._wanted(line["attribute"]):
                row = {
                    "path": line["attribute"],
                    "type": line["type"],
                    "step": None if line["step"] is None else step_micros(line["step"]),
                    "timestamp": line["time"],
                    "value": None,
                }
                if "directory" in line:
                    row["value"] = self._directory(line["directory"])
                elif line["artifact"] is not None:
                    if (file := self._download(line["artifact"])) is None:
                        continue
                    row["value"] = file.relative_to(self._into).as_posix()
                yield self._file_batch(row)

    def _file_batch(self, row: dict[str, Any]) -> pa.RecordBatch:
        batch = make_batch(self._key.project, self._key.run, [row])
        if row["value"] is not None:
            return batch
        at = batch.schema.get_field_index("file_value")
        none = pa.nulls(1, batch.schema.field(at).type)
        return batch.set_column(at, batch.schema.field(at), none)

    def _directory(self, inside: dict[str, str]) -> str:
        """Puts the files of a directory together again, as it was in the archive."""
        whole = self._into / "directory"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        for child, artifact in inside.items():
            target = (whole / child).resolve()
            file = self._download(artifact)
            if file is not None and target.is_relative_to(whole.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
        return "directory"

    def _there(self, artifact: str) -> bool:
        """Whether the run has such an artifact; a folder is asked for once."""
        folder = posixpath.dirname(artifact)
        if folder not in self._listed:
            listed = self._files.list_artifacts(folder)
            self._listed[folder] = {item.path for item in listed if not item.is_dir}
        return artifact in self._listed[folder]

    def _download(self, artifact: str) -> Path | None:
        """A copy below `into`, or None when the run has no such artifact."""
        if not self._there(artifact):
            return None
        path = self._into / artifact
        path.parent.mkdir(parents=True, exist_ok=True)
        # `download_artifacts` asks two more questions for each file, and shows a bar.
        self._files._download_file(artifact, str(path))
        return path


def _parameter(
    entry: sidecar.AttributeEntry, text: str | None, kept: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of one parameter, from its text and from what is kept where that is not all."""
    base = {"path": entry.path, "type": entry.type}
    first = next((line for line in kept if not line["again"]), None)
    if first is not None and first["shown"] == text:
        yield {**base, "value": _kept_value(first)}
    elif text is not None:
        try:
            yield {**base, "value": from_text(entry.type, text)}
        except ValueError:
            yield {**base, "type": "string", "value": text}
    else:
        return
    for line in kept:
        if line["again"]:
            yield {**base, "value": _kept_value(line)}


def _kept_value(line: dict[str, Any]) -> Any:
    return float_from_json(line["value"]) if line["type"] == "float" else line["value"]


def _triple(step: int, time: int, value: float) -> Triple:
    return step, time, _same(value)


def _same(value: float) -> float | None:
    """A value that equals itself."""
    return None if math.isnan(value) else value


def _without_times(batch: pa.RecordBatch, where: Any) -> pa.RecordBatch:
    """The batch with no time where the mask is true."""
    at = batch.schema.get_field_index("timestamp")
    times = batch.column(at)
    masked = pa.array(
        np.asarray(times.cast(pa.int64())), type=pa.int64(), mask=np.asarray(where)
    ).cast(times.type)
    return batch.set_column(at, batch.schema.field(at), masked)
