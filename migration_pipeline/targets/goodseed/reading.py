"""Reads one run from a GoodSeed file in the archive's terms, independently of what wrote it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.schema import PARAMETER_TYPES, float_to_micros
from migration_pipeline.mapping.values import from_text
from migration_pipeline.targets.local.reading import ROWS_AT_A_TIME, LocalReader, line_row
from migration_pipeline.targets.local.records import Named, RunRecord
from migration_pipeline.targets.local.times import from_iso

OWN = ("sys/id", "sys/state")
"""Configs that GoodSeed has in every run: written where the run has no attribute of that name."""
_TAGS = {"string": "str"}


class GoodseedReader(LocalReader):
    """See `LocalReader`.

    Args:
        folder: of the run's files.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        record: RunRecord,
        into: Path,
        only: Collection[str] | None,
        folder: Path,
    ) -> None:
        super().__init__(database, record, into, only)
        self._folder = folder

    def file(self, where: str) -> Path:
        return self._folder / where

    # --- parameters -----------------------------------------------------------------------------

    def parameters(self) -> Iterator[tuple[str, Any]]:
        known = {a.name for a in self.attributes if a.type in PARAMETER_TYPES}
        for name, tag, text in self.database.execute("SELECT path, type_tag, value FROM configs"):
            if name in known or name not in OWN:
                yield name, (tag, text)

    def parse(self, kind: str, value: Any) -> Any:
        tag, text = value
        if kind == "datetime":
            return from_text(kind, text) if tag == "str" else from_iso(text)
        if tag != _TAGS.get(kind, kind):
            raise ValueError(f"it is of type {tag}")
        if kind == "bool":
            return {"true": True, "false": False}[text]
        return json.loads(text) if kind == "string_set" else from_text(kind, text)

    # --- series ---------------------------------------------------------------------------------

    def series(self) -> Iterator[pa.RecordBatch]:
        for table, kind in (("metric", "float_series"), ("string", "string_series")):
            known = {a.name: a for a in self.attributes if a.type == kind}
            numbers = self.database.execute(f"SELECT id, path FROM {table}_series").fetchall()
            for number, name in numbers:
                attribute = known.get(name) or Named(0, name, kind, name, 0, False)
                if not self.wanted(attribute.path):
                    continue
                if table == "string":
                    yield from self._batched(self._texts(number, attribute))
                elif attribute.number and self.has_stand_ins(attribute.number):
                    yield from self._mixed(number, attribute)
                else:
                    yield from self._plain(number, attribute)

    def _plain(self, number: int, attribute: Named) -> Iterator[pa.RecordBatch]:
        rows = self.database.execute(
            "SELECT step, y, ts FROM metric_points WHERE series_id = ?", (number,)
        )
        while some := rows.fetchmany(ROWS_AT_A_TIME):
            yield self._points(attribute, some)

    def _mixed(self, number: int, attribute: Named) -> Iterator[pa.RecordBatch]:
        """Points of a series in which some stand for others."""
        rows = self.database.execute(
            "SELECT p.step, p.y, p.ts, k.shown_time, k.shown_bits, k.step, k.time, k.bits, k.rowid"
            " FROM metric_points p LEFT JOIN neptune_points k"
            " ON k.run = ? AND k.attribute = ? AND k.shown = p.step WHERE p.series_id = ?",
            (self.record.id, attribute.number, number),
        )
        while some := rows.fetchmany(ROWS_AT_A_TIME):
            natural, noted = [], []
            for row in some:
                bits = int(np.float64(row[1]).view(np.int64))
                if row[8] is not None and (row[3], row[4]) == (round(row[2] * 1000), bits):
                    noted.append((attribute.number, *row[5:8]))
                else:
                    natural.append(row[:3])
            if natural:
                yield self._points(attribute, natural)
            yield from self.notes(noted)

    def _points(self, attribute: Named, rows: list[tuple[float, ...]]) -> pa.RecordBatch:
        table = np.array(rows, dtype=np.float64)
        times = np.rint(table[:, 2] * 1000).astype(np.int64)
        micros = float_to_micros(table[:, 0])
        return self.points(attribute.path, micros, times, table[:, 1], attribute.timeless)

    def _texts(self, number: int, attribute: Named) -> Iterator[dict[str, Any]]:
        for step, text, ts, noted_step, noted_time, noted, found in self.database.execute(
            "SELECT p.step, p.value, p.ts, k.step, k.time, k.value, k.rowid"
            " FROM string_points p LEFT JOIN neptune_lines k"
            " ON k.run = ? AND k.attribute = ? AND k.shown = p.step WHERE p.series_id = ?",
            (self.record.id, attribute.number, number),
        ):
            if found is not None and noted == text:
                yield line_row(attribute, noted_step, noted_time, noted)
            else:
                micros = int(float_to_micros(np.array([step], dtype=np.float64))[0])
                yield line_row(attribute, micros, round(ts * 1000), text)
