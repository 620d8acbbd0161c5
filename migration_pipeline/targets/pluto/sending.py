"""Sends one run to Pluto: points, configuration, text and histograms for people, files; the mark is
the caller's.

Points of one name and step count once however often they come, so they are sent again when a load
goes on. Text and histograms do not: that they are being sent, and that they were, is noted at the
run before and after. They are for people; read back is the file that holds them exactly.
"""

from __future__ import annotations

import math
import posixpath
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from json import JSONEncoder, dumps
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.schema import MICROS
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import key_names
from migration_pipeline.mapping.points import Points, Sent, out_of_range, unshown
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.steps import Bools, step_micros
from migration_pipeline.targets.pluto.capabilities import LARGEST_STEP, LINES_PER_REQUEST
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline.targets.pluto.connection import Connection
from migration_pipeline.targets.pluto.finding import (
    MARKS,
    TEXTS_BEGUN,
    TEXTS_SENT,
    FoundRun,
    as_text,
)
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.sending import Parameter, RemoteSender, Upload
from migration_pipeline.targets.target import LoadReport, Meter

SEEN_SECONDS = 60.0
"""How long what was taken is waited for: the server writes every 5 s (processors/background.rs)."""
GROUPED = 200
"""Files of one series that are shown under one name: a listing has 1,000 at most, and attempts that
were cut off are in it."""
SERIES_FILE = "step_"
"""How names of files of a series begin (`mapping.uploads`)."""
_EXACT_INTEGERS = 2**53
_NAMES_AT_A_TIME = 500
_LINE_BYTES = 4_000_000
_ENCODER = JSONEncoder(ensure_ascii=False)
_WORDS = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


class PlutoSender(RemoteSender):
    """Sends the rows of one run.

    Args:
        run: Pluto's.
        going_on: it was begun by another load; what is there of files is not sent again.
    """

    def __init__(
        self,
        to: Connection,
        config: PlutoConfig,
        scan: RunScan,
        run: FoundRun,
        scratch: Path,
        meter: Meter | None,
        going_on: bool,
    ) -> None:
        super().__init__(scan, scratch, meter)
        self._to, self._run, self._going_on = to, run, going_on
        self._rest, self._batch_rows = config.file_chunk_sleep, config.batch_rows
        self.points_at_a_time, self.files_at_a_time = config.flush_every, config.file_chunk_size
        self._registered: set[str] = set()
        self._last: tuple[str, int] | None = None
        self._keep_to_the_cap()
        self._grouped = Counter(
            row.attribute for row, _ in self.files.rows if row.type == "file_series"
        )

    def send(self) -> LoadReport:
        report = super().send()
        self._wait()
        return report

    # --- points ---------------------------------------------------------------------------------

    def hides(self, points: Points, sent: Sent) -> Bools:
        return out_of_range(self.can, sent.steps) | unshown(self.can, points)

    def put_points(self, pieces: Sequence[Piece]) -> None:
        self._register("METRIC", [piece.key for piece in pieces])
        self._to.metrics(self._run.project, self._run.id, metric_lines(pieces))
        self._last = pieces[-1].key, int(pieces[-1].steps[-1])

    def _rows(self, batch: pa.RecordBatch) -> None:
        size = self._batch_rows or batch.num_rows or 1
        for start in range(0, batch.num_rows, size):
            super()._rows(batch.slice(start, size))

    # --- parameters -----------------------------------------------------------------------------

    def encode(self, kind: str, value: Any, text: str, cut: bool) -> tuple[Any, bool]:
        """As JavaScript holds it exactly; else as text."""
        if cut or kind in ("string", "datetime"):
            return text, not cut
        if kind == "bool":
            return bool(value), True
        if kind == "string_set":
            return list(value), True
        if kind == "int":
            return (int(value) if abs(value) <= _EXACT_INTEGERS else text), True
        exact = math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)
        return (float(value) if exact else text), True

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        self._configure({parameter.name: parameter.shown for parameter in parameters})

    def _configure(self, change: dict[str, Any]) -> None:
        said = {"runId": self._run.id, "config": as_text(change)}
        self._to.post("/api/runs/config/update", "sending the configuration", said)

    # --- text and histograms --------------------------------------------------------------------

    def finish_points(self) -> None:
        """Sends text and histograms so that people see them, unless an earlier load has."""
        if not self.files.series or self._run.marks.get("texts") == TEXTS_SENT:
            return
        taken = set(self._registered)
        native = {"string_series": "native", "histogram_series": "native"}
        names = key_names(self.files.series, self.can.model_copy(update=native))
        self._configure({MARKS: {"texts": TEXTS_BEGUN}})
        for (path, kind), name in sorted(self.files.series.items()):
            shown = names[path, kind]
            if shown in taken:
                shown = f"{shown} ({kind.removesuffix('_series')})"
            taken.add(shown)
            self._texts(shown, kind, self.scratch / name)
        self._configure({MARKS: {"texts": TEXTS_SENT}})

    def _texts(self, name: str, kind: str, file: Path) -> None:
        text = kind == "string_series"
        lines: list[bytes] = []
        size = 0
        for at, step, value in self._shown_lines(text, file):
            line = {
                "time": at,
                "step": step,
                "dataType": "string-series" if text else "HISTOGRAM",
                "logName": name,
                "data": value,
            }
            lines.append(_ENCODER.encode(line).encode())
            size += len(lines[-1])
            if len(lines) >= LINES_PER_REQUEST or size > _LINE_BYTES:
                self._put_lines(name, text, lines)
                lines, size = [], 0
        if lines:
            self._put_lines(name, text, lines)

    def _put_lines(self, name: str, text: bool, lines: list[bytes]) -> None:
        self._register("DATA" if text else "HISTOGRAM", [name])
        self._to.data(self._run.project, self._run.id, b"\n".join(lines) + b"\n")

    def _shown_lines(self, text: bool, file: Path) -> Iterator[tuple[int, int, str]]:
        """Time, step and value of the lines that Pluto can show."""
        start, multiplier = self.scan.mapper.time_for_none, self.scan.mapping.step_multiplier
        first, last = self.can.earliest_time_ms or 0, self.can.latest_time_ms or 0
        for line in sidecar.read_lines(file):
            step = step_micros(line["step"] or "0") * multiplier // MICROS
            at = start if line["time"] is None else line["time"]
            value = line["value"] if text else histogram(line)
            if value is not None and 0 <= step <= LARGEST_STEP and first <= at <= last:
                yield at, step, value

    # --- files ----------------------------------------------------------------------------------

    def put_files(self, files: Sequence[Upload]) -> None:
        missing = [file for file in files if not (self._going_on and self._is_there(file))]
        if not missing:
            return
        self._register("ARTIFACT", [self._log_name(file) for file in missing])
        project, run_id = self._run.project, self._run.id
        addresses = self._to.presign(project, run_id, [self._announced(file) for file in missing])
        for file in missing:
            self._to.put(self._address(file, addresses), file.source)
        time.sleep(self._rest)

    def _address(self, file: Upload, addresses: dict[str, Any]) -> str:
        """
        Raises:
            TargetRefusedError: there is none: without its bytes the file would only be listed.
        """
        log_name, name = self._log_name(file), posixpath.basename(file.name)
        if found := address_of(addresses, log_name, name):
            return found
        raise TargetRefusedError(
            f"target pluto at {self._to.address} gives no address to send {log_name}/{name} to",
            "Set NEPTUNE_EXPORTER_PLUTO_FILE_CHUNK_SIZE to 1 and load again; if it is refused then "
            "as well, look whether PLUTO_URL_INGEST is that of Pluto's ingestion.",
        )

    def _log_name(self, file: Upload) -> str:
        """Files of a series share a name, so that a person can go through them by their steps."""
        row = file.row
        folder, name = posixpath.split(file.name)
        # Long names are cut, so that nothing tells a reader that they are of a series.
        in_series = row and row.type == "file_series" and name.startswith(SERIES_FILE)
        if row and in_series and self._grouped[row.attribute] <= GROUPED:
            return folder
        return file.name

    def _announced(self, file: Upload) -> dict[str, Any]:
        """As `pluto.api.make_compat_file_v1` says it, with the row's own time and step."""
        name = posixpath.basename(file.name)
        row, mapping = file.row, self.scan.mapping
        step = 0
        if row and row.step is not None:
            step = row.step * mapping.step_multiplier // MICROS
        at = self.scan.mapper.time_for_none if row is None or row.time is None else row.time
        return {
            "fileName": name,
            "fileSize": file.size,
            "fileType": posixpath.splitext(name)[1][1:],
            "time": min(max(at, 0), self.can.latest_time_ms or at),
            "logName": self._log_name(file),
            "step": min(max(step, 0), LARGEST_STEP),
            "sampleIndex": 0,
        }

    def _is_there(self, file: Upload) -> bool:
        """Listed, and with as many bytes: a row is made before any byte is sent."""
        url = file_url(self._to, self._run, self._log_name(file), posixpath.basename(file.name))
        return url is not None and self._to.size(url) == file.size

    def _keep_to_the_cap(self) -> None:
        if (most := self.can.files_per_run) is not None:
            count, kept = 0, []
            for row, inside in self.files.rows:
                count += row.path is not None
                if row.path is None or count <= most:
                    kept.append((row, inside))
            self.files.rows[:] = kept

    # --- the rest -------------------------------------------------------------------------------

    def _register(self, kind: str, names: list[str]) -> None:
        """Pages show only names that were announced; the first type of a name is the one."""
        new = [name for name in dict.fromkeys(names) if name not in self._registered]
        self._registered.update(new)
        for start in range(0, len(new), _NAMES_AT_A_TIME):
            some = new[start : start + _NAMES_AT_A_TIME]
            said = {"runId": self._run.id, "logType": kind, "logName": some}
            self._to.post("/api/runs/logName/add", "announcing names", said)

    def _wait(self) -> None:
        """Until the last point and the last file can be read."""
        to, run = self._to, self._run
        if self._last:
            name, step = self._last
            asked = {"projectName": run.project, "logName": name, "stepMin": step, "stepMax": step}

            def point() -> bool:
                answer = to.get("/api/runs/metrics", "reading points", runId=run.id, **asked)
                return bool(answer.get("metrics"))

            to.until(point, "points", SEEN_SECONDS)
        last = posixpath.basename(sidecar.MIGRATION)
        to.until(
            lambda: file_url(to, run, sidecar.MIGRATION, last) is not None, "files", SEEN_SECONDS
        )


def metric_lines(pieces: Sequence[Piece]) -> bytes:
    """Lines of metrics; series with the same steps and times share theirs."""
    groups: dict[tuple[bytes, bytes], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.steps.tobytes(), piece.times.tobytes()), []).append(piece)
    lines: list[str] = []
    for together in groups.values():
        names = ",".join(
            dumps(piece.key, ensure_ascii=False).replace("%", "%%") + ":%s" for piece in together
        )
        line = '{"time":%s,"step":%s,"data":{' + names + "}}\n"
        columns = [_numbers(piece.values) for piece in together]
        times, steps = together[0].times.tolist(), together[0].steps.tolist()
        lines += [line % row for row in zip(times, steps, *columns, strict=True)]
    return "".join(lines).encode()


def _numbers(values: npt.NDArray[np.float64]) -> list[str]:
    """Doubles as `ingest/src/models/metrics.rs` reads them, with the fewest digits that say all."""
    texts: list[str] = pa.array(values).cast(pa.string()).to_pylist()
    if not np.isfinite(values).all():
        texts = [_WORDS.get(text, text) for text in texts]
    return texts


def histogram(line: dict[str, Any]) -> str | None:
    """A histogram as Pluto's pages draw it, or None: they draw counts in even bins only, and one
    of another kind makes its whole panel fail (histogram.schema.ts)."""
    edges, values = line.get("edges"), line.get("values")
    if not edges or not values or line.get("type") != "COUNTING" or len(edges) != len(values) + 1:
        return None
    if not all(isinstance(n, int | float) for n in (*edges, *values)):
        return None  # not finite, or none
    if any(value < 0 or value != int(value) for value in values):
        return None
    widths = np.diff(np.array(edges, dtype=np.float64))
    if not (np.isfinite(widths).all() and (widths > 0).all() and np.allclose(widths, widths[0])):
        return None
    freq = [int(value) for value in values]
    bins = {"min": edges[0], "max": edges[-1], "num": len(freq)}
    shown = {"freq": freq, "bins": bins, "shape": "uniform", "type": "Histogram"}
    return dumps({**shown, "maxFreq": max(freq), "v": 1}, allow_nan=False)


def address_of(addresses: dict[str, Any], log_name: str, name: str) -> str | None:
    """Where a file is put to, of an answer of lists of file name → address.

    They are keyed by log name, or by what the SDK takes for a type (pluto/sync/process.py, which
    looks into all of them); then the address itself tells files of one name apart.
    """
    own = addresses.get(log_name) or ()
    found = [str(one[name]) for one in own if name in one]
    if not found:
        lists = [some for some in addresses.values() if isinstance(some, list)]
        found = [str(one[name]) for some in lists for one in some if name in one]
        end = f"/{log_name}/{name}"
        exact = [url for url in found if unquote(urlsplit(url).path).endswith(end)]
        found = exact or (found if len(found) == 1 else [])
    return found[-1] if found else None


def file_url(to: Connection, run: FoundRun, log_name: str, file_name: str) -> str | None:
    """Where a file can be read; None where the run lists none of that name."""
    return listed_files(to, run, log_name).get(file_name)


def listed_files(to: Connection, run: FoundRun, log_name: str) -> dict[str, str]:
    """File name → address, of all under one log name."""
    asked = {"runId": run.id, "projectName": run.project, "logName": log_name}
    answer = to.get("/api/runs/files", "listing files", **asked)
    return {
        str(file["fileName"]): str(file.get("downloadUrl") or file["url"])
        for file in answer.get("files", [])
    }
