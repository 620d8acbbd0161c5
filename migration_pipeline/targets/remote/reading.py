"""Reads one run from a target in the archive's terms, independently of what wrote it: what all
targets have in common that show points, parameters and files.

Values come from what the target shows its users. From what is kept beside comes only what the
target cannot hold, and in place of a stand-in only where the target still shows it: a point that
was lost or changed there is not repaired by the note about it.
"""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import (
    PARAMETER_TYPES,
    float_series_batch,
    make_batch,
    repeated,
    without_times,
)
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.steps import step_micros, unscale
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.mapping.values import float_from_json, from_text
from migration_pipeline.targets.remote.pieces import Piece

Triple = tuple[int, int, float | None]
"""Step, time and value of a point as the target shows it; a NaN is None, so it equals itself."""
_SERIES = ("string_series", "histogram_series")


@dataclass
class Notes:
    """Points of one series that its triples alone do not give back."""

    instead: dict[Triple, dict[str, Any]] = field(default_factory=dict)
    again: dict[Triple, list[dict[str, Any]]] = field(default_factory=dict)
    hidden: list[dict[str, Any]] = field(default_factory=list)
    """Those of which the target shows nothing."""


class RemoteReader(ABC):
    """Reads one run.

    Args:
        into: where files are downloaded to.
        only: paths of attributes; None: all.
    """

    def __init__(
        self,
        key: RunKey,
        address: str,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self.key, self.address, self.can = key, address, can
        self.into, self.only = into, only
        self.migration = self._migration()

    # --- what a target fills in -----------------------------------------------------------------

    @abstractmethod
    def shown_parameters(self) -> Mapping[str, Any]:
        """Name → what the target shows, but those of its own and of our marks."""

    @abstractmethod
    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        """All points of these series, in any order.

        Args:
            others: of series that are not named as well, as far as the target can tell.
        """

    @abstractmethod
    def fetch(self, name: str, to: Path) -> bool:
        """Downloads a file of the run; False when it has no such file."""

    def shown_lines(self, entry: sidecar.AttributeEntry) -> Iterator[dict[str, Any]]:
        """Rows for `make_batch` of a text or histogram series; as a rule from its file."""
        if path := self.download(entry.name):
            yield from sidecar.series_rows(entry.path, entry.type, sidecar.read_lines(path))
            path.unlink()

    def decode(self, kind: str, shown: Any) -> Any:
        """A shown parameter as a value of this type.

        Raises:
            ValueError, TypeError: it is none.
        """
        return from_text(kind, shown)

    # --- the rest -------------------------------------------------------------------------------

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of a run as `BATCH_SCHEMA` batches.

        Raises:
            TargetRefusedError: what says which attribute is which is gone or damaged.
        """
        yield from self.batched(self._parameter_rows())
        yield from self.points()
        yield from self._series()
        yield from self._files()

    def wanted(self, path: str) -> bool:
        return self.only is None or path in self.only

    def entries(self, *kinds: str) -> Iterator[sidecar.AttributeEntry]:
        return (e for e in self.migration.attributes if e.type in kinds and self.wanted(e.path))

    def batched(self, rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        return sidecar.batched(self.key.project, self.key.run, rows)

    def download(self, name: str) -> Path | None:
        """A copy below `into`, or None when the run has no such file."""
        path = self.into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path if self.fetch(name, path) else None

    def _migration(self) -> sidecar.Migration:
        path = self.download(sidecar.MIGRATION)
        if path is None:
            raise self._damaged("it is not there")
        try:
            return sidecar.Migration.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> TargetRefusedError:
        return TargetRefusedError(
            f"run {self.key} at {self.address}: {sidecar.MIGRATION} among its files is damaged: "
            f"{reason}",
            "Delete the run there and load it again.",
        )

    # --- parameters -----------------------------------------------------------------------------

    def _parameter_rows(self) -> Iterator[dict[str, Any]]:
        shown = self.shown_parameters()
        kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
        if path := self.download(sidecar.PARAMETERS):
            for line in sidecar.read_lines(path):
                if self.wanted(line["attribute"]):
                    kept.setdefault((line["attribute"], line["type"]), []).append(line)
        known = {e.name for e in self.migration.attributes if e.type in PARAMETER_TYPES}
        for entry in self.entries(*PARAMETER_TYPES):
            lines = kept.get((entry.path, entry.type), [])
            yield from self._parameter(entry, shown.get(entry.name), lines)
        for name, value in shown.items():
            if name not in known and self.wanted(name):
                yield {"path": name, "type": "string", "value": str(value)}

    def _parameter(
        self, entry: sidecar.AttributeEntry, shown: Any, kept: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The rows of one parameter, from what is shown and from what is kept where that is not
        all."""
        base = {"path": entry.path, "type": entry.type}
        first = next((line for line in kept if not line["again"]), None)
        if first is not None and first["shown"] == shown:
            yield {**base, "value": _kept_value(first)}
        elif shown is not None:
            try:
                yield {**base, "value": self.decode(entry.type, shown)}
            except (ValueError, TypeError):
                yield {**base, "type": "string", "value": str(shown)}
        else:
            return
        for line in kept:
            if line["again"]:
                yield {**base, "value": _kept_value(line)}

    # --- points ---------------------------------------------------------------------------------

    def points(self) -> Iterator[pa.RecordBatch]:
        """All points of float series."""
        noted = self._point_notes()
        names = sorted(e.name for e in self.entries("float_series"))
        for piece in self.shown_points(names, self.only is None):
            path = self.series_path(piece.key)
            if self.wanted(path):
                yield from self._points(path, piece, noted.get(path))
        for path, notes in noted.items():
            if notes.hidden:
                yield self._kept_points(path, notes.hidden)

    def series_path(self, name: str) -> str:
        """The attribute that a float series is of."""
        return self._series_paths.get(name, name)

    @cached_property
    def _series_paths(self) -> dict[str, str]:
        return {e.name: e.path for e in self.migration.attributes if e.type == "float_series"}

    def _point_notes(self) -> dict[str, Notes]:
        noted: dict[str, Notes] = {}
        path = self.download(sidecar.POINTS)
        for line in sidecar.read_lines(path) if path else ():
            if not self.wanted(line["attribute"]):
                continue
            notes = noted.setdefault(line["attribute"], Notes())
            if line["shown"] is None:
                notes.hidden.append(line)
                continue
            step, time, value = line["shown"]
            triple = _triple(step, time, float(value))
            if line["again"]:
                notes.again.setdefault(triple, []).append(line)
            else:
                notes.instead[triple] = line
        return noted

    def _points(self, path: str, piece: Piece, noted: Notes | None) -> Iterator[pa.RecordBatch]:
        extra: list[dict[str, Any]] = []
        if noted and (noted.instead or noted.again):
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
        if len(piece):
            micros = piece.steps
            if self.can.integer_steps:
                micros = unscale(micros, self.migration.step_multiplier)
            batch = float_series_batch(
                self.key.project,
                self.key.run,
                repeated(path, len(piece)),
                micros,
                piece.times,
                piece.values,
            )
            timeless = path in self.migration.timeless
            none = piece.times == self.migration.start
            yield without_times(batch, none) if timeless else batch
        if extra:
            yield self._kept_points(path, extra)

    def _kept_points(self, path: str, lines: list[dict[str, Any]]) -> pa.RecordBatch:
        rows = [
            {
                "path": path,
                "type": "float_series",
                "step": None if line["step"] is None else step_micros(line["step"]),
                "timestamp": line["time"],
                "value": float_from_json(line["value"]),
            }
            for line in lines
        ]
        return make_batch(self.key.project, self.key.run, rows)

    # --- text, histograms, files ----------------------------------------------------------------

    def _series(self) -> Iterator[pa.RecordBatch]:
        for entry in self.entries(*_SERIES):
            yield from self.batched(self.shown_lines(entry))

    def _files(self) -> Iterator[pa.RecordBatch]:
        index = self.download(sidecar.FILES)
        for line in sidecar.read_lines(index) if index else ():
            if self.wanted(line["attribute"]):
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
                    if (file := self.download(line["artifact"])) is None:
                        continue
                    row["value"] = file.relative_to(self.into).as_posix()
                yield self._file_batch(row)

    def _file_batch(self, row: dict[str, Any]) -> pa.RecordBatch:
        batch = make_batch(self.key.project, self.key.run, [row])
        if row["value"] is not None:
            return batch
        at = batch.schema.get_field_index("file_value")
        none = pa.nulls(1, batch.schema.field(at).type)
        return batch.set_column(at, batch.schema.field(at), none)

    def _directory(self, inside: dict[str, str]) -> str:
        """Puts the files of a directory together again, as it was in the archive."""
        whole = self.into / "directory"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        for child, name in inside.items():
            target = (whole / child).resolve()
            file = self.download(name)
            if file is not None and target.is_relative_to(whole.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
        return "directory"


def _kept_value(line: dict[str, Any]) -> Any:
    return float_from_json(line["value"]) if line["type"] == "float" else line["value"]


def _triple(step: int, time: int, value: float) -> Triple:
    return step, time, None if math.isnan(value) else value
