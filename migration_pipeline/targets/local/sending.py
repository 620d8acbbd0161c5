"""Writes one run into a tracker's database: what all trackers on this machine have in common.

Rows are streamed, batch by batch. What the tracker's tables can hold goes there (the methods that a
target fills in); what they cannot goes into the tables of `records`, point by point, so that both
together are the archive again, exactly.
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.schema import PARAMETER_TYPES
from migration_pipeline.archive.store_files import on_this_machine
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import key_names
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.parameters import REPEATED, ParameterMapper
from migration_pipeline.mapping.points import Points, Rows, Sent
from migration_pipeline.mapping.scan import Cut, RunScan, line_rows
from migration_pipeline.mapping.steps import Bools
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.mapping.uploads import name_files
from migration_pipeline.mapping.values import float_json
from migration_pipeline.targets.local.records import RunRecord
from migration_pipeline.targets.target import LoadReport, Meter

_VALUES_AT_A_TIME = 1000
Attribute = tuple[str, str]


class LocalSender(ABC):
    """Writes the rows of one run, within a transaction that the caller began and ends.

    Args:
        database: of the tracker; has the tables of `records`.
        scan: what was learnt of the run.
        record: of the run, already inserted.
    """

    file_series: tuple[str, ...] = ()
    """Types of series that are written as files of JSON lines."""

    def __init__(
        self,
        database: sqlite3.Connection,
        scan: RunScan,
        record: RunRecord,
        scratch: Path,
        meter: Meter | None,
    ) -> None:
        self.database, self.scan, self.record = database, scan, record
        self.scratch, self._meter = scratch, meter
        self.can = scan.capabilities
        self.mapper = scan.mapper
        self.files = name_files(scan, self.file_series)
        self.keys = key_names(scan.attributes, self.can)
        self.numbers: dict[Attribute, int] = {
            attribute: number for number, attribute in enumerate(sorted(scan.attributes), 1)
        }
        self.losses: list[Loss] = []
        self._parameters = ParameterMapper(self.can)
        self._pending: dict[str, list[tuple[Any, ...]]] = {}

    # --- what a target fills in -----------------------------------------------------------------

    @abstractmethod
    def put_parameter(self, path: str, kind: str, value: Any, cut: str | None) -> str | None:
        """Writes a parameter; `cut` is a shortened text that stands for it.

        Returns:
            What the tracker shows, where that is not all of the value.
        """

    @abstractmethod
    def put_points(self, path: str, sent: Sent, take: Bools) -> None:
        """Writes points that the tracker holds exactly."""

    @abstractmethod
    def put_stand_ins(self, path: str, sent: Sent, rows: npt.NDArray[np.intp]) -> list[Any]:
        """Writes points that stand for others; returns what each is known by (`shown`)."""

    @abstractmethod
    def lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        """Writes points of a text or histogram series."""

    @abstractmethod
    def put_file(self, source: Path, name: str) -> tuple[str, int]:
        """Copies a file; returns where it is, and its bytes."""

    @abstractmethod
    def flush(self) -> None:
        """Writes what is still held, after all rows."""

    # --- the rest -------------------------------------------------------------------------------

    def send(self) -> LoadReport:
        """Everything but the mark of completion."""
        scan = self.scan
        self.losses = series_losses(scan)
        self._attributes()
        for batch in scan.run.batches():
            cut = Cut(batch)
            for path, points in cut.series():
                self._points(path, points)
            for path, kind, values in cut.parameters():
                self._values(path, kind, values)
            for (path, kind), rows in cut.attributes:
                if kind in self.file_series:
                    self._line_file(path, kind, batch, rows)
                elif kind in ("string_series", "histogram_series"):
                    self.lines(path, kind, batch, rows)
        self.flush()
        size = self._files()
        for table in list(self._pending):
            self._write_kept(table)
        return LoadReport.of(scan, self.keys, self.losses, size, self.record.tracker_id)

    def count(self, points: int = 0, size: int = 0) -> None:
        if self._meter:
            self._meter.add(points=points, size=size)

    def keep(self, table: str, row: tuple[Any, ...]) -> None:
        """Writes a row of one of our tables, some at a time."""
        pending = self._pending.setdefault(table, [])
        pending.append((self.record.id, *row))
        if len(pending) >= _VALUES_AT_A_TIME:
            self._write_kept(table)

    def _write_kept(self, table: str) -> None:
        rows = self._pending.pop(table)
        marks = ", ".join("?" * len(rows[0]))
        self.database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _attributes(self) -> None:
        for attribute, number in self.numbers.items():
            path, kind = attribute
            name = self.keys.get(attribute) or self.files.series.get(attribute, "")
            timeless = kind == "float_series" and self.scan.series[path].timeless
            rows = self.scan.attributes[attribute]
            self.keep("neptune_attributes", (number, path, kind, name, rows, int(timeless)))

    # --- parameters -----------------------------------------------------------------------------

    def _values(self, path: str, kind: str, values: list[Any]) -> None:
        assert kind in PARAMETER_TYPES
        for value in values:
            text, reason = self._parameters.shown(path, kind, value)
            self.losses += self._parameters.losses(path, reason, value)
            shown = None
            if text is not None and reason != REPEATED:
                shown = self.put_parameter(path, kind, value, text if reason else None)
            if reason or shown is not None:
                exact = json.dumps(float_json(value) if kind == "float" else value)
                number = self.numbers[path, kind]
                self.keep("neptune_values", (number, int(reason == REPEATED), shown, exact))

    # --- points ---------------------------------------------------------------------------------

    def _points(self, path: str, points: Points) -> None:
        sent = self.mapper.map(points, self.scan.series[path].timeless)
        hidden = points.no_step | points.no_value
        if not self.can.nan:
            hidden = hidden | np.isnan(points.values)
        if self.can.one_point_per_step and self.scan.series[path].repeats:
            hidden = hidden | self.taken(path, sent, ~hidden)
        stand_ins = np.flatnonzero(sent.odd & ~hidden)
        self.put_points(path, sent, ~(sent.odd | hidden))
        if len(stand_ins):
            shown = self.put_stand_ins(path, sent, stand_ins)
            self._keep_points(path, points, sent, stand_ins, shown)
        if hidden.any():
            rows = np.flatnonzero(hidden)
            self._keep_points(path, points, sent, rows, [None] * len(rows))
        self.count(points=len(points))

    def taken(self, path: str, sent: Sent, there: Bools) -> Bools:
        """Those of `there` whose step another point of the series has already."""
        raise NotImplementedError

    def _keep_points(
        self,
        path: str,
        points: Points,
        sent: Sent,
        rows: npt.NDArray[np.intp],
        shown: list[Any],
    ) -> None:
        number = self.numbers[path, "float_series"]
        exact = points.take(rows)
        given = _bits(sent.values[rows])
        bits = _bits(exact.values)
        times, steps = exact.times.tolist(), exact.micros.tolist()
        for i, row in enumerate(rows.tolist()):
            self.keep(
                "neptune_points",
                (
                    number,
                    shown[i],
                    int(sent.times[row]) if shown[i] is not None else None,
                    given[i] if shown[i] is not None else None,
                    None if exact.no_step[i] else steps[i],
                    None if exact.no_time[i] else times[i],
                    None if exact.no_value[i] else bits[i],
                ),
            )

    # --- text and histograms --------------------------------------------------------------------

    def keep_line(
        self, path: str, kind: str, shown: Any, step: int | None, time: int | None, value: Any
    ) -> None:
        """Keeps a point of a text or histogram series."""
        if kind == "histogram_series" and value is not None:
            value = json.dumps(sidecar.histogram_line(step, time, value))
        self.keep("neptune_lines", (self.numbers[path, kind], shown, step, time, value))

    def _line_file(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        file = self.scratch / str(self.numbers[path, kind])
        line = sidecar.text_line if kind == "string_series" else sidecar.histogram_line
        with file.open("ab") as stream:
            for step, time, value in line_rows(kind, batch, rows):
                sidecar.write_line(stream, line(step, time, value))
        self.count(points=rows.stop - rows.start if isinstance(rows, slice) else len(rows))

    # --- files ----------------------------------------------------------------------------------

    def _files(self) -> int:
        for attribute, name in self.files.series.items():
            number = self.numbers[attribute]
            where, _ = self.put_file(self.scratch / str(number), name)
            self.keep("neptune_files", (number, None, None, json.dumps({"": where})))
        total = 0
        for row, inside in self.files.rows:
            places: dict[str, str] | None = None
            if row.path is not None:
                places = {}
                file = self.scan.run.file(row.path)
                for child, name in inside.items():
                    with on_this_machine(file / child if child else file) as source:
                        places[child], size = self.put_file(source, name)
                    total += size
                    self.count(size=size)
            number = self.numbers[row.attribute, row.type]
            self.keep("neptune_files", (number, row.step, row.time, json.dumps(places)))
        return total


def _bits(values: npt.NDArray[np.float64]) -> list[int]:
    """The bits of doubles; every NaN has the same."""
    plain = np.where(np.isnan(values), np.nan, values)
    bits: list[int] = plain.view(np.int64).tolist()
    return bits
