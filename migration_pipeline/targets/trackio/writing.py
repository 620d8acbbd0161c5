"""Writes one run into a Trackio database: a config, rows of metrics, an artifact with its files.

The rows are those that `SQLiteStorage.bulk_log` would write, but with the run's own times, and many
at a time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from migration_pipeline.mapping.points import Rows, Sent
from migration_pipeline.mapping.scan import RunScan, line_rows
from migration_pipeline.mapping.steps import Bools, as_doubles, as_held
from migration_pipeline.mapping.values import to_text
from migration_pipeline.targets.local.records import RunRecord
from migration_pipeline.targets.local.sending import LocalSender
from migration_pipeline.targets.local.sqlite import sync
from migration_pipeline.targets.local.times import EARLIEST, LATEST, iso
from migration_pipeline.targets.target import Meter
from migration_pipeline.targets.trackio.merging import Doubles, Int64s, Merger, Stretch
from migration_pipeline.targets.trackio.naming import artifact_name, run_name
from migration_pipeline.targets.trackio.package import note_artifact

HISTOGRAM = "trackio.histogram"
"""trackio/histogram.py Histogram.TYPE"""
_INSERT = (
    "INSERT INTO metrics (timestamp, run_id, run_name, step, metrics, log_id)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_VALUES_AT_A_TIME = 100_000
_BLOCK = 1 << 20


class TrackioSender(LocalSender):
    """See `LocalSender`.

    Args:
        blobs: the folder of the project's files, each named by its digest.
        pause: is told of the bytes of rows: it may end the transaction and begin another.
    """

    file_series = ("string_series",)

    def __init__(
        self,
        database: sqlite3.Connection,
        scan: RunScan,
        record: RunRecord,
        scratch: Path,
        meter: Meter | None,
        blobs: Path,
        pause: Callable[[int], None],
    ) -> None:
        super().__init__(database, scan, record, scratch, meter)
        self._name = run_name(scan.key)
        self._blobs, self._pause = blobs, pause
        self._rows = 0
        self._config: dict[str, Any] = {}
        self._manifest: list[dict[str, Any]] = []
        self._merger = Merger(scratch / "points")
        # A run is listed once it has a row, and was created when its first one was.
        self._write([self.mapper.time_for_none], [0], [b"{}"])

    # --- parameters -----------------------------------------------------------------------------

    def put_parameter(self, path: str, kind: str, value: Any, cut: str | None) -> str | None:
        name = self.keys[path, kind]
        self._config[name] = json_value(kind, value) if cut is None else cut
        return cut

    # --- points ---------------------------------------------------------------------------------

    def put_points(self, path: str, sent: Sent, take: Bools) -> None:
        rows = slice(None) if take.all() else np.flatnonzero(take)
        steps, times, values = as_doubles(sent.steps[rows]), sent.times[rows], sent.values[rows]
        name = self.keys[path, "float_series"]
        if self.scan.series[path].ordered:
            self._merger.add(name, steps, times, values)
        elif len(steps):
            self._write_stretch(Stretch([name], steps, times, values[:, None]))

    def put_stand_ins(self, path: str, sent: Sent, rows: npt.NDArray[np.intp]) -> list[Any]:
        first = self._rows
        name = self.keys[path, "float_series"]
        steps, times = as_doubles(sent.steps[rows]), sent.times[rows]
        self._write_stretch(Stretch([name], steps, times, sent.values[rows][:, None]))
        return [self._log_id(number) for number in range(first, self._rows)]

    def flush(self) -> None:
        for stretch in self._merger.stretches():
            self._write_stretch(stretch)

    def _write_stretch(self, stretch: Stretch) -> None:
        most = max(_VALUES_AT_A_TIME // len(stretch.names), 1)
        for start in range(0, len(stretch.steps), most):
            rows = slice(start, start + most)
            texts = _rows_of(stretch.names, stretch.values[rows])
            self._write(stretch.times[rows], stretch.steps[rows].tolist(), texts)

    def _write(self, times: Int64s | list[int], steps: Iterable[float], texts: list[bytes]) -> None:
        stamps = np.datetime_as_string(np.asarray(times, dtype=np.int64).view("M8[ms]"))
        first, name, tracker_id = self._rows, self._name, self.record.tracker_id
        self._rows += len(texts)
        self.database.executemany(
            _INSERT,
            (
                (f"{stamp}+00:00", tracker_id, name, step, text, f"{tracker_id}-{number}")
                for number, (stamp, step, text) in enumerate(
                    zip(stamps.tolist(), steps, texts, strict=True), first
                )
            ),
        )
        self._pause(sum(map(len, texts)))

    def _log_id(self, number: int) -> str:
        return f"{self.record.tracker_id}-{number}"

    # --- histograms -----------------------------------------------------------------------------

    def lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        name = self.keys[path, kind]
        times, steps, texts = [], [], []
        for step, time, value in line_rows(kind, batch, rows):
            if _is_held(step, time, value):
                assert step is not None
                assert time is not None
                shown = {"_type": HISTOGRAM, "bins": value["edges"], "values": value["values"]}
                texts.append(orjson.dumps({name: {**shown, "type": value["type"]}}))
                times.append(time)
                steps.append(float(as_doubles(np.array([step]))[0]))
            else:
                self.keep_line(path, kind, None, step, time, value)
            self.count(points=1)
        if texts:
            self._write(times, steps, texts)

    # --- files ----------------------------------------------------------------------------------

    def put_file(self, source: Path, name: str) -> tuple[str, int]:
        digest, size = _stage(source, self._blobs)
        self._manifest.append({"path": name, "digest": digest, "size": size})
        return digest, size

    # --- the end --------------------------------------------------------------------------------

    def finish(self) -> None:
        """Writes the config and the artifact, after all rows."""
        key, facts = self.scan.key, self.scan.facts
        created = iso(facts.start)
        about = {
            "project": key.project,
            "run": key.run,
            "kind": key.kind,
            "status": "failed" if facts.failed else "finished",
            "started": created or None,
            "ended": iso(facts.end) or None,
            "forked_from": facts.parent or None,
        }
        config = {
            **self._config,
            "neptune": about,
            "_Username": facts.owner or None,
            "_Created": created or None,
            "_Group": facts.experiment or None,
        }
        self.database.execute(
            "INSERT INTO configs (run_id, run_name, config, created_at) VALUES (?, ?, ?, ?)",
            (self.record.tracker_id, self._name, orjson.dumps(config), created),
        )
        if self._manifest:
            note_artifact(
                self.database,
                artifact_name(key),
                f"Files of run {self._name}",
                self._manifest,
                self.record.tracker_id,
                self._name,
                created,
            )


def _rows_of(names: list[str], values: Doubles) -> list[bytes]:
    """A JSON object each row, as `bulk_log` writes it (trackio/utils.py serialize_values)."""
    if np.isfinite(values).all():
        # All numbers are made text at once; no object is made of any.
        numbers = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        keys = [orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in names]
        row = b"{" + b",".join(keys) + b"}"
        return [row % tuple(some.split(b",")) for some in numbers[2:-2].split(b"],[")]
    rows = values.tolist()
    for i, j in np.argwhere(~np.isfinite(values)).tolist():
        rows[i][j] = json_float(rows[i][j])
    return [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]


def json_float(value: float) -> float | str:
    if value != value:
        return "NaN"
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)


def json_value(kind: str, value: Any) -> Any:
    """A parameter as Trackio's config holds it."""
    if kind == "float":
        return json_float(value)
    if kind == "datetime":
        return iso(value) or to_text(kind, value)
    return value


def _is_held(step: int | None, time: int | None, value: Any) -> bool:
    """Whether a point of a histogram series can be shown as it is."""
    if step is None or time is None or value is None:
        return False
    if not EARLIEST <= time <= LATEST or as_held(np.array([step]))[0] != step:
        return False
    numbers = [*(value["edges"] or ()), *(value["values"] or ())]
    return (
        None not in (value["edges"], value["values"])
        and None not in numbers
        and bool(np.isfinite(np.array(numbers, dtype=np.float64)).all())
    )


def _stage(source: Path, blobs: Path) -> tuple[str, int]:
    """Copies a file to where Trackio has it, by its digest (trackio/cas.py); (digest, bytes)."""
    blobs.mkdir(parents=True, exist_ok=True)
    partial = blobs / f".partial.{uuid.uuid4().hex}"
    hasher, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as read, partial.open("wb") as write:
            while block := read.read(_BLOCK):
                hasher.update(block)
                write.write(block)
                size += len(block)
            write.flush()
            os.fsync(write.fileno())
        target = blob_path(blobs, hasher.hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)
    return hasher.hexdigest(), size


def blob_path(blobs: Path, digest: str) -> Path:
    return blobs / digest[:2] / digest
