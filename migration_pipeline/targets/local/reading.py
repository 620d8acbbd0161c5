"""Reads one run from a tracker's database in the archive's terms: what all trackers on this machine
have in common.

Values come from the tables that the tracker shows its users. From what is kept beside comes only
what the tracker cannot hold, and in place of a stand-in only where the tracker still shows it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.schema import (
    FILE_TYPES,
    PARAMETER_TYPES,
    float_series_batch,
    make_batch,
    repeated,
    steps_from_micros,
    without_times,
)
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.steps import Bools, Int64s
from migration_pipeline.mapping.values import float_from_json
from migration_pipeline.targets.local.records import Named, RunRecord, attributes_of

ROWS_AT_A_TIME = 50_000


class LocalReader(ABC):
    """Reads one run.

    Args:
        into: where files are copied to.
        only: paths of attributes; None: all.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        record: RunRecord,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self.database, self.record, self._into, self._only = database, record, into, only
        self.attributes = attributes_of(database, record)
        self.by_number = {a.number: a for a in self.attributes}

    # --- what a target fills in -----------------------------------------------------------------

    @abstractmethod
    def parameters(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each parameter that the tracker shows, but those of its own."""

    @abstractmethod
    def parse(self, kind: str, value: Any) -> Any:
        """A shown parameter as a value of this type.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """

    @abstractmethod
    def series(self) -> Iterator[pa.RecordBatch]:
        """All series that the tracker shows."""

    @abstractmethod
    def file(self, where: str) -> Path:
        """Where the bytes of a file are."""

    # --- the rest -------------------------------------------------------------------------------

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The whole run as `BATCH_SCHEMA` batches."""
        yield from self._batched(self._parameter_rows())
        yield from self.series()
        yield from self._hidden_points()
        yield from self._batched(self._line_rows())
        yield from self._files()

    def wanted(self, path: str) -> bool:
        return self._only is None or path in self._only

    def named(self, *kinds: str) -> list[Named]:
        """Attributes of these types that are wanted."""
        return [a for a in self.attributes if a.type in kinds and self.wanted(a.path)]

    def _batched(self, rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        return sidecar.batched(self.record.project, self.record.run, rows)

    # --- parameters -----------------------------------------------------------------------------

    def _parameter_rows(self) -> Iterator[dict[str, Any]]:
        known = {a.name: a for a in self.attributes if a.type in PARAMETER_TYPES}
        kept = self._kept_values()
        for name, value in self.parameters():
            attribute = known.get(name)
            path = attribute.path if attribute else name
            if self.wanted(path):
                yield {"path": path, **self._value(attribute, value, kept)}
        for number, lines in kept.items():
            for again, shown, exact in lines:
                attribute = self.by_number[number]
                if (again or shown is None) and self.wanted(attribute.path):
                    yield {"path": attribute.path, "type": attribute.type, "value": exact}

    def _kept_values(self) -> dict[int, list[tuple[int, str | None, Any]]]:
        kept: dict[int, list[tuple[int, str | None, Any]]] = {}
        for number, again, shown, text in self.database.execute(
            "SELECT attribute, again, shown, value FROM neptune_values WHERE run = ?"
            " ORDER BY rowid",
            (self.record.id,),
        ):
            exact = json.loads(text)
            if self.by_number[number].type == "float":
                exact = float_from_json(exact)
            kept.setdefault(number, []).append((again, shown, exact))
        return kept

    def _value(
        self,
        attribute: Named | None,
        value: Any,
        kept: dict[int, list[tuple[int, str | None, Any]]],
    ) -> dict[str, Any]:
        """Type and value of a shown parameter; as text where it is not what was written."""
        if attribute is not None:
            for again, shown, exact in kept.get(attribute.number, ()):
                if not again and shown == value:
                    return {"type": attribute.type, "value": exact}
            try:
                return {"type": attribute.type, "value": self.parse(attribute.type, value)}
            except (ValueError, TypeError, KeyError):
                pass
        return {"type": "string", "value": value if isinstance(value, str) else json.dumps(value)}

    # --- points ---------------------------------------------------------------------------------

    def points(
        self,
        path: str,
        micros: Int64s,
        times: Int64s,
        values: npt.NDArray[np.float64],
        timeless: bool = False,
    ) -> pa.RecordBatch:
        """A batch of points that the tracker holds exactly."""
        names = repeated(path, len(micros))
        batch = float_series_batch(
            self.record.project, self.record.run, names, micros, times, values
        )
        return without_times(batch, times == self.record.start) if timeless else batch

    def notes(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
        """Batches of points from rows (attribute, step, time, bits) of `neptune_points`."""
        grouped: dict[int, list[tuple[Any, ...]]] = {}
        for row in rows:
            grouped.setdefault(row[0], []).append(row)
        for number, lines in grouped.items():
            path = self.by_number[number].path
            if not self.wanted(path):
                continue
            arrays = [_int64s([line[i] for line in lines]) for i in (1, 2, 3)]
            (micros, no_step), (times, no_time), (bits, no_value) = arrays
            batch = self.points(path, micros, times, bits.view(np.float64))
            batch = without_times(batch, no_time)
            for column, array in (
                ("step", steps_from_micros(micros, no_step)),
                ("float_value", pa.array(bits.view(np.float64), mask=no_value)),
            ):
                at = batch.schema.get_field_index(column)
                batch = batch.set_column(at, batch.schema.field(at), array)
            yield batch

    def _hidden_points(self) -> Iterator[pa.RecordBatch]:
        rows = self.database.execute(
            "SELECT attribute, step, time, bits FROM neptune_points"
            " WHERE run = ? AND shown IS NULL ORDER BY attribute",
            (self.record.id,),
        )
        while some := rows.fetchmany(ROWS_AT_A_TIME):
            yield from self.notes(some)

    def has_stand_ins(self, number: int | None = None) -> bool:
        """Whether points of an attribute, or of any, stand for others."""
        query = "SELECT 1 FROM neptune_points WHERE run = ? AND shown IS NOT NULL"
        if number is not None:
            return bool(
                self.database.execute(
                    f"{query} AND attribute = ? LIMIT 1", (self.record.id, number)
                ).fetchone()
            )
        return bool(self.database.execute(f"{query} LIMIT 1", (self.record.id,)).fetchone())

    # --- text and histograms --------------------------------------------------------------------

    def _line_rows(self) -> Iterator[dict[str, Any]]:
        """Lines that the tracker does not show."""
        for number, step, time, value in self.database.execute(
            "SELECT attribute, step, time, value FROM neptune_lines"
            " WHERE run = ? AND shown IS NULL",
            (self.record.id,),
        ):
            attribute = self.by_number[number]
            if self.wanted(attribute.path):
                yield line_row(attribute, step, time, value)

    # --- files ----------------------------------------------------------------------------------

    def _files(self) -> Iterator[pa.RecordBatch]:
        for number, step, time, content in self.database.execute(
            "SELECT attribute, step, time, content FROM neptune_files WHERE run = ?",
            (self.record.id,),
        ):
            attribute, places = self.by_number[number], json.loads(content)
            if not self.wanted(attribute.path):
                continue
            if attribute.type not in FILE_TYPES:
                lines = self.file(places[""])
                if lines.exists():
                    yield from self._batched(
                        sidecar.series_rows(
                            attribute.path, attribute.type, sidecar.read_lines(lines)
                        )
                    )
                continue
            path = self._copy(places) if places is not None else None
            if path is None and places is not None:
                continue
            row = {"path": attribute.path, "type": attribute.type, "step": step, "timestamp": time}
            batch = make_batch(self.record.project, self.record.run, [{**row, "value": path}])
            if path is None:
                at = batch.schema.get_field_index("file_value")
                field = batch.schema.field(at)
                batch = batch.set_column(at, field, pa.nulls(1, field.type))
            yield batch

    def _copy(self, places: dict[str, str]) -> str | None:
        """Copies a file or a directory below `into`; None when the file is gone."""
        whole = self._into / "read"
        if whole.is_dir():
            shutil.rmtree(whole)
        whole.unlink(missing_ok=True)
        whole.parent.mkdir(parents=True, exist_ok=True)
        if set(places) == {""}:
            source = self.file(places[""])
            if not source.is_file():
                return None
            shutil.copyfile(source, whole)
            return "read"
        whole.mkdir()
        for child, where in places.items():
            target, source = whole / child, self.file(where)
            if source.is_file() and target.resolve().is_relative_to(whole.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        return "read"


def line_row(
    attribute: Named, step: int | None, time: int | None, value: str | None
) -> dict[str, Any]:
    """A line of `neptune_lines` as a row for `make_batch`."""
    row: dict[str, Any] = {"path": attribute.path, "type": attribute.type}
    row |= {"step": step, "timestamp": time, "value": value}
    if attribute.type == "histogram_series" and value is not None:
        line = json.loads(value)
        row = next(sidecar.series_rows(attribute.path, attribute.type, iter([line])))
    return row


def _int64s(items: list[int | None]) -> tuple[Int64s, Bools]:
    mask = np.array([item is None for item in items], dtype=bool)
    return np.array([item or 0 for item in items], dtype=np.int64), mask
