"""Sends one run to Comet: metrics, parameters and assets.

Metrics go in batches to the endpoint that the SDK's own streamer uses, since `log_metric` takes
forty times as long. Of a series that Comet keeps a sample of, the whole goes beside as Parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.errors import TargetUnavailableError
from migration_pipeline.mapping.points import Points, Sent
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.steps import Bools
from migration_pipeline.targets.comet import histograms
from migration_pipeline.targets.comet.connection import Connection
from migration_pipeline.targets.comet.histograms import scaled
from migration_pipeline.targets.comet.naming import whole_series
from migration_pipeline.targets.comet.records import Records
from migration_pipeline.targets.comet.sdk import imported
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.sending import Parameter, RemoteSender, Upload
from migration_pipeline.targets.target import Meter

_RECORD = np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<f8")])
_ROWS = 1_000_000
"""Of a row group."""


class Sender(RemoteSender):
    """Sends the rows of one run.

    Args:
        id: Comet's experiment key.
        pool: one thread, which sends a batch while the next one is read.
    """

    def __init__(
        self,
        to: Connection,
        scan: RunScan,
        id: str,
        scratch: Path,
        meter: Meter | None,
        pool: ThreadPoolExecutor,
    ) -> None:
        super().__init__(scan, scratch, meter)
        self._to, self._records, self._id = to, Records(to), id
        self._pool = pool
        self._under_way: Future[None] | None = None
        kept = self.can.points_kept_per_series or 0
        self._sampled = {
            self.keys[path, "float_series"]
            for path, series in scan.series.items()
            if series.rows > kept
        }
        self._counts: dict[str, int] = {}
        """Metric → points that were sent."""
        self._sent_again: set[str] = set()
        """Metrics of batches that were sent again, since they were not there when it was asked."""

    def hides(self, points: Points, sent: Sent) -> Bools:
        """Infinities as well: the largest double in their place would spoil the chart."""
        hidden: Bools = ~np.isfinite(points.values)
        return hidden

    def put_points(self, pieces: Sequence[Piece]) -> None:
        body = f'{{"experimentKey":"{self._id}","values":[{",".join(map(_values, pieces))}]}}'
        for piece in pieces:
            if piece.key in self._sampled:
                self._keep(piece)
        self._wait()
        self._under_way = self._pool.submit(self._send, body.encode(), list(pieces))

    def _send(self, body: bytes, pieces: Sequence[Piece]) -> None:
        total = sum(len(piece) for piece in pieces)
        self._to.log_metrics(body, total, lambda: self._arrived(pieces))
        for piece in pieces:
            self._counts[piece.key] = self._counts.get(piece.key, 0) + len(piece)

    def _wait(self) -> None:
        """Until the batch that is under way is there; one follows the other."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _arrived(self, pieces: Sequence[Piece]) -> bool:
        """Whether a batch of which no answer came is there: it is taken whole or not at all.

        One that is not there may be on its way still, which `finish_points` looks at; of a series
        that Comet shows a sample of that could not be seen.

        Raises:
            TargetUnavailableError: it cannot be told.
        """
        for piece in pieces:
            shown = len(self._records.points(self._id, piece.key))
            added = sum(len(other) for other in pieces if other.key == piece.key)
            before = self._counts.get(piece.key, 0)
            if piece.key not in self._sampled:
                if shown not in (before, before + added):
                    break
                if shown == before:
                    self._sent_again |= {other.key for other in pieces} - self._sampled
                return shown > before
        raise self._doubt("whether they arrived cannot be told")

    def _check_sent_again(self) -> None:
        """
        Raises:
            TargetUnavailableError: a batch arrived twice.
        """
        for key in sorted(self._sent_again):
            if len(self._records.points(self._id, key)) > self._counts[key]:
                raise self._doubt(f"those of {key!r} arrived twice")

    def _doubt(self, what: str) -> TargetUnavailableError:
        return TargetUnavailableError(
            "comet",
            self._to.address,
            f"no answer came to some values, and {what}; the next load begins the run anew",
        )

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        self._wait()
        self._records.put_parameters(self._id, {p.name: p.shown for p in parameters}, self._time)

    @property
    def _time(self) -> int:
        return max(self.scan.facts.start or 1, 1)

    def put_files(self, files: Sequence[Upload]) -> None:
        for file in files:
            about: dict[str, Any] = {"type": "asset"}
            if file.row is not None and file.row.step is not None:
                about["step"] = scaled(file.row.step, self.scan.mapping.step_multiplier)
            self._to.upload(self._id, file.source, file.name, about)

    # --- series of which Comet keeps a sample ---------------------------------------------------

    def _keep(self, piece: Piece) -> None:
        records = np.empty(len(piece), dtype=_RECORD)
        records["step"], records["time"] = piece.steps, piece.times
        records["value"] = piece.values
        with self._raw(piece.key).open("ab") as stream:
            stream.write(records.tobytes())

    def _raw(self, key: str) -> Path:
        path = self.scratch / f"{whole_series(key)}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish_points(self) -> None:
        self._wait()
        self._check_sent_again()
        self._whole_series()
        self._histograms()

    def _histograms(self) -> None:
        """Some of each series, as Comet draws them, until it has enough."""
        empty = imported().Histogram()
        file = self.scratch / "histogram.json"
        for (path, kind), name in self.files.series.items():
            if kind != "histogram_series":
                continue
            rows, multiplier = self.scan.attributes[path, kind], self.scan.mapping.step_multiplier
            for step, drawn in histograms.shown(self.scratch / name, rows, multiplier, empty):
                file.write_text(dumps(drawn))
                drawing = {"type": histograms.TYPE, "step": step, "overwrite": "false"}
                about = {**drawing, "extension": ".json"}
                title = name.removeprefix("series/").removesuffix(".jsonl")
                if not self._to.upload(self._id, file, title, about):
                    file.unlink()
                    return
                file.unlink()

    def _whole_series(self) -> None:
        for key in sorted(self._sampled & self._counts.keys()):
            raw = self._raw(key)
            records = np.memmap(raw, dtype=_RECORD, mode="r")
            table = pa.schema(
                [("step", pa.int64()), ("time", pa.int64()), ("value", pa.float64())],
                metadata={"metric": key},
            )
            with pq.ParquetWriter(self.scratch / whole_series(key), table) as to:
                for start in range(0, len(records), _ROWS):
                    part = records[start : start + _ROWS]
                    columns = [pa.array(np.ascontiguousarray(part[n])) for n in table.names]
                    to.write_batch(pa.record_batch(columns, schema=table))
            del records
            raw.unlink()


def _values(piece: Piece) -> str:
    """Points as the batch endpoint takes them, finite ones only."""
    name = dumps(piece.key)
    points = zip(piece.values.tolist(), piece.steps.tolist(), piece.times.tolist(), strict=True)
    return ",".join(
        f'{{"metricName":{name},"metricValue":{value!r},"step":{step},"epoch":null,'
        f'"context":null,"timestamp":{time}}}'
        for value, step, time in points
    )
