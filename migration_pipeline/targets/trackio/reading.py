"""Reads one run from a Trackio database in the archive's terms, independently of what wrote it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from migration_pipeline.archive.schema import (
    PARAMETER_TYPES,
    float_series_batch,
    float_to_micros,
    make_batch,
    without_times,
)
from migration_pipeline.mapping.steps import Int64s
from migration_pipeline.mapping.values import from_text
from migration_pipeline.targets.local.reading import LocalReader
from migration_pipeline.targets.local.records import Named, RunRecord
from migration_pipeline.targets.local.times import from_iso
from migration_pipeline.targets.trackio.writing import HISTOGRAM, blob_path

OWN = ("neptune", "_Created", "_Group", "_Username")
"""Keys of a config that are no parameters."""
_VALUES_AT_A_TIME = 200_000
_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_TYPES: dict[str, type] = {"int": int, "bool": bool, "string": str, "string_set": list}


@dataclass
class _Alike:
    """Rows with the same keys."""

    steps: list[float] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    values: list[list[Any]] = field(default_factory=list)


class TrackioReader(LocalReader):
    """See `LocalReader`.

    Args:
        blobs: the folder of the project's files, each named by its digest.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        record: RunRecord,
        into: Path,
        only: Collection[str] | None,
        blobs: Path,
    ) -> None:
        super().__init__(database, record, into, only)
        self._blobs = blobs
        self._floats = {a.name: a for a in self.attributes if a.type == "float_series"}
        self._histograms = {a.name: a for a in self.attributes if a.type == "histogram_series"}

    def file(self, where: str) -> Path:
        return blob_path(self._blobs, where)

    # --- parameters -----------------------------------------------------------------------------

    def parameters(self) -> Iterator[tuple[str, Any]]:
        known = {a.name for a in self.attributes if a.type in PARAMETER_TYPES}
        for name, value in config_of(self.database, self.record).items():
            if name in known or name not in OWN:
                yield name, value

    def parse(self, kind: str, value: Any) -> Any:
        if kind == "float":
            return number(value)
        if kind == "datetime":
            return from_text(kind, value) if value.endswith("Z") else from_iso(value)
        if type(value) is not _TYPES[kind]:
            raise TypeError(f"it is of type {type(value).__name__}")
        return value

    # --- series ---------------------------------------------------------------------------------

    def series(self) -> Iterator[pa.RecordBatch]:
        query = "SELECT m.step, m.timestamp, m.metrics FROM metrics m WHERE m.run_id = ?"
        rows = self.database.execute(query, (self.record.tracker_id,))
        if self.has_stand_ins():
            rows = self.database.execute(
                "SELECT m.step, m.timestamp, m.metrics, k.rowid, k.attribute, k.shown_time,"
                " k.shown_bits, k.step, k.time, k.bits FROM metrics m LEFT JOIN neptune_points k"
                " ON k.run = ? AND k.shown = m.log_id WHERE m.run_id = ?",
                (self.record.id, self.record.tracker_id),
            )
        groups: dict[tuple[str, ...], _Alike] = {}
        noted: list[tuple[Any, ...]] = []
        held = 0
        for row in rows:
            metrics = orjson.loads(row[2])
            if len(row) > 3 and row[3] is not None and self._is_note(row, metrics):
                noted.append((row[4], *row[7:]))
                held += 1
            elif metrics:
                group = groups.setdefault(tuple(metrics), _Alike())
                group.steps.append(row[0])
                group.stamps.append(row[1])
                group.values.append(list(metrics.values()))
                held += len(metrics)
            if held >= _VALUES_AT_A_TIME:
                yield from self._given(groups, noted)
                groups, noted, held = {}, [], 0
        yield from self._given(groups, noted)

    def _is_note(self, row: tuple[Any, ...], metrics: dict[str, Any]) -> bool:
        """Whether a row still shows what its note says that it shows."""
        name = self.by_number[row[4]].name
        if set(metrics) != {name}:
            return False
        try:
            bits = int(np.float64(number(metrics[name])).view(np.int64))
        except TypeError:
            return False
        return (row[5], row[6]) == (int(milliseconds([row[1]])[0]), bits)

    def _given(
        self, groups: dict[tuple[str, ...], _Alike], noted: list[tuple[Any, ...]]
    ) -> Iterator[pa.RecordBatch]:
        for names, rows in groups.items():
            steps = float_to_micros(np.array(rows.steps, dtype=np.float64))
            times = milliseconds(rows.stamps)
            if set(map(type, chain.from_iterable(rows.values))) <= {float, int}:
                table = np.array(rows.values, dtype=np.float64)
                yield from self._table(names, steps, times, table)
                continue
            for i, name in enumerate(names):
                column = [values[i] for values in rows.values]
                yield from self._odd_column(name, steps, times, column)
        yield from self.notes(noted)

    def _table(
        self, names: tuple[str, ...], steps: Int64s, times: Int64s, table: Any
    ) -> Iterator[pa.RecordBatch]:
        """One batch of several series with the same steps and times."""
        known = [self._floats.get(n) or Named(0, n, "float_series", n, 0, False) for n in names]
        wanted = [i for i, attribute in enumerate(known) if self.wanted(attribute.path)]
        if not wanted:
            return
        rows = len(steps)
        codes = np.repeat(np.arange(len(wanted), dtype=np.int32), rows)
        paths = pa.DictionaryArray.from_arrays(
            pa.array(codes), pa.array([known[i].path for i in wanted], pa.string())
        )
        every = np.tile(times, len(wanted))
        batch = float_series_batch(
            self.record.project,
            self.record.run,
            paths,
            np.tile(steps, len(wanted)),
            every,
            table[:, wanted].T.ravel(),
        )
        timeless = np.repeat([known[i].timeless for i in wanted], rows)
        yield without_times(batch, timeless & (every == self.record.start))

    def _odd_column(
        self, name: str, steps: Int64s, times: Int64s, values: list[Any]
    ) -> Iterator[pa.RecordBatch]:
        """A series with values that are no plain numbers."""
        floats = self._floats.get(name) or Named(0, name, "float_series", name, 0, False)
        bins = self._histograms.get(name) or Named(0, name, "histogram_series", name, 0, False)
        plain, others = [], []
        for i, value in enumerate(values):
            try:
                number(value)
                plain.append(i)
            except TypeError:
                others.append(i)
        if plain and self.wanted(floats.path):
            numbers = np.array([number(values[i]) for i in plain])
            yield self.points(floats.path, steps[plain], times[plain], numbers, floats.timeless)
        rows = []
        for i in others:
            value = values[i]
            row: dict[str, Any] = {"step": int(steps[i]), "timestamp": int(times[i])}
            if isinstance(value, dict) and value.get("_type") == HISTOGRAM:
                shown = {"edges": value.get("bins"), "values": value.get("values")}
                row |= {"path": bins.path, "type": "histogram_series"}
                row["value"] = {"type": value.get("type"), **shown}
            else:
                row |= {"path": name, "type": "string_series"}
                row["value"] = orjson.dumps(value).decode()
            if self.wanted(row["path"]):
                rows.append(row)
        for start in range(0, len(rows), 100):
            yield make_batch(self.record.project, self.record.run, rows[start : start + 100])


def config_of(database: sqlite3.Connection, record: RunRecord) -> dict[str, Any]:
    """The run's config as Trackio holds it; empty when it is gone."""
    row = database.execute(
        "SELECT config FROM configs WHERE run_id = ?", (record.tracker_id,)
    ).fetchone()
    found = orjson.loads(row[0]) if row else {}
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float:
    """A value of a metric or a parameter as a double.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, str) and value in _NUMBERS:
        return _NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"it is of type {type(value).__name__}")
    return float(value)


def milliseconds(stamps: list[str]) -> Int64s:
    """Times as Trackio has them → ms since 1970."""
    if all(stamp.endswith("+00:00") for stamp in stamps):
        times = np.array([stamp[:-6] for stamp in stamps], dtype="M8[ms]")
        return times.astype(np.int64)
    found = [datetime.fromisoformat(s) for s in stamps]
    return np.array(
        [from_iso((t if t.tzinfo else t.replace(tzinfo=UTC)).isoformat()) for t in found],
        dtype=np.int64,
    )
