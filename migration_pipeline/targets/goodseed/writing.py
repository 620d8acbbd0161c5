"""Writes one run into a GoodSeed file: configs, metrics, text series.

GoodSeed's own class inserts point by point. Here many points go into one statement, and into a file
that nobody else sees yet, so that nothing needs to be undone: that is where the speed comes from.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.mapping.points import Rows, Sent
from migration_pipeline.mapping.scan import RunScan, line_rows
from migration_pipeline.mapping.steps import Bools, as_doubles, as_held
from migration_pipeline.mapping.values import to_text
from migration_pipeline.targets.goodseed.capabilities import CAPABILITIES
from migration_pipeline.targets.local.files import copy
from migration_pipeline.targets.local.records import RunRecord
from migration_pipeline.targets.local.sending import LocalSender
from migration_pipeline.targets.local.times import iso
from migration_pipeline.targets.target import Meter

_AT_A_TIME = 80
"""Points of one statement; more gives nothing."""
_IN_A_QUESTION = 500


class GoodseedSender(LocalSender):
    """See `LocalSender`.

    Args:
        folder: of the run's files, below which they are copied.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        scan: RunScan,
        record: RunRecord,
        folder: Path,
        meter: Meter | None,
    ) -> None:
        super().__init__(database, scan, record, folder, meter)
        self.written = 0
        """Points, of numbers and of text."""
        self._folder = folder
        self._updated = iso(scan.facts.end) or iso(scan.facts.start)
        self._known: set[tuple[str, str]] = set()

    def put_parameter(self, path: str, kind: str, value: Any, cut: str | None) -> str | None:
        tag, text = serialized(kind, value)
        self.database.execute(
            "INSERT INTO configs (path, type_tag, value, updated_at) VALUES (?, ?, ?, ?)",
            (self.keys[path, kind], tag, text, self._updated),
        )
        return None

    # --- points ---------------------------------------------------------------------------------

    def put_points(self, path: str, sent: Sent, take: Bools) -> None:
        rows = slice(None) if take.all() else np.flatnonzero(take)
        self._insert(path, as_doubles(sent.steps[rows]), sent.values[rows], sent.times[rows])

    def put_stand_ins(self, path: str, sent: Sent, rows: npt.NDArray[np.intp]) -> list[Any]:
        steps = as_doubles(sent.steps[rows])
        self._insert(path, steps, sent.values[rows], sent.times[rows])
        known_by: list[Any] = steps.tolist()
        return known_by

    def _insert(
        self,
        path: str,
        steps: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64],
        times: npt.NDArray[np.int64],
    ) -> None:
        if not len(steps):
            return
        number = self._series("metric_series", path, "float_series")
        self.written += len(steps)
        whole = len(steps) // _AT_A_TIME
        flat = np.column_stack([steps, values, times / 1000]).ravel()
        width = 3 * _AT_A_TIME
        many = np.empty((whole, width + 1))
        many[:, 0] = number
        many[:, 1:] = flat[: whole * width].reshape(whole, width)
        self.database.executemany(_insertion(_AT_A_TIME), many.tolist())
        if rest := len(steps) - whole * _AT_A_TIME:
            one = [float(number), *flat[whole * width :].tolist()]
            self.database.execute(_insertion(rest), one)

    def taken(self, path: str, sent: Sent, there: Bools) -> Bools:
        again = np.zeros(len(there), dtype=bool)
        rows = np.flatnonzero(there)
        steps = as_doubles(sent.steps[rows])
        _, first = np.unique(steps, return_index=True)
        later = np.ones(len(rows), dtype=bool)
        later[first] = False
        if ("metric_series", path) in self._known:
            number = self._series("metric_series", path, "float_series")
            later |= np.isin(steps, self._there("metric_points", number, steps[first]))
        again[rows[later]] = True
        return again

    def _there(
        self, table: str, number: int, steps: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Which of these steps a series has already."""
        found: list[float] = []
        for start in range(0, len(steps), _IN_A_QUESTION):
            some = steps[start : start + _IN_A_QUESTION].tolist()
            marks = ", ".join("?" * len(some))
            query = f"SELECT step FROM {table} WHERE series_id = ? AND step IN ({marks})"
            found += [step for (step,) in self.database.execute(query, [number, *some])]
        return np.array(found, dtype=np.float64)

    def _series(self, table: str, path: str, kind: str) -> int:
        """The number of a series, which is made when it is new."""
        number = self.numbers[path, kind]
        if (table, path) not in self._known:
            self._known.add((table, path))
            self.database.execute(
                f"INSERT INTO {table} (id, path) VALUES (?, ?)", (number, self.keys[path, kind])
            )
        return number

    # --- text and histograms --------------------------------------------------------------------

    def lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        lines = list(line_rows(kind, batch, rows))
        self.count(points=len(lines))
        if kind == "histogram_series":
            for step, time, value in lines:
                self.keep_line(path, kind, None, step, time, value)
            return
        micros = np.array([step or 0 for step, _, _ in lines], dtype=np.int64)
        held = as_held(micros)
        steps = as_doubles(micros).tolist()
        new = self._known.isdisjoint({("string_series", path)})
        number = self._series("string_series", path, kind)
        there = set() if new else set(self._there("string_points", number, as_doubles(micros)))
        shown: list[tuple[int, float, str, float]] = []
        for i, (step, time, value) in enumerate(lines):
            if step is None or value is None or steps[i] in there:
                self.keep_line(path, kind, None, step, time, value)
                continue
            there.add(steps[i])
            at = self._time(time)
            shown.append((number, steps[i], value, at / 1000))
            if at != time or held[i] != micros[i]:
                self.keep_line(path, kind, steps[i], step, time, value)
        self.written += len(shown)
        self.database.executemany(
            "INSERT INTO string_points (series_id, step, value, ts) VALUES (?, ?, ?, ?)", shown
        )

    def _time(self, time: int | None) -> int:
        first, last = CAPABILITIES.earliest_time_ms or 0, CAPABILITIES.latest_time_ms or 0
        return time if time is not None and first <= time <= last else self.mapper.time_for_none

    # --- files ----------------------------------------------------------------------------------

    def put_file(self, source: Path, name: str) -> tuple[str, int]:
        return name, copy(source, self._folder / name)

    def flush(self) -> None:
        pass


def _insertion(points: int) -> str:
    rows = ",".join(f"(?1,?{i},?{i + 1},?{i + 2})" for i in range(2, 2 + 3 * points, 3))
    return f"INSERT INTO metric_points (series_id, step, y, ts) VALUES {rows}"


def serialized(kind: str, value: Any) -> tuple[str, str]:
    """A value as GoodSeed writes it (goodseed/utils.py serialize_value): type tag and text."""
    if kind == "bool":
        return "bool", "true" if value else "false"
    if kind == "datetime":
        text = iso(value)
        return ("datetime", text) if text else ("str", to_text(kind, value))
    if kind == "string_set":
        return "string_set", json.dumps(value, ensure_ascii=False)
    return {"string": "str"}.get(kind, kind), to_text(kind, value)
