"""Sends one run to a target that takes points, parameters and files: what all such have in common.

The rows are streamed: points leave in batches, text and histogram series grow in temporary files,
other files are sent from where they lie. What the target cannot hold is written down beside, in
files `neptune/…` of the run (`mapping.sidecar`), so that both together are the archive again.
Nothing is sent twice, not what an earlier load has sent either, where the target says what it has.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.location import Location, below
from migration_pipeline.archive.store import StorePath
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import key_names
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.migration import migration_of
from migration_pipeline.mapping.parameters import REPEATED, ParameterMapper
from migration_pipeline.mapping.points import Points, Rows, Sent, Splitter, notes
from migration_pipeline.mapping.scan import Cut, FileRow, RunScan, line_rows
from migration_pipeline.mapping.steps import Bools, not_growing
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.mapping.uploads import file_line, name_files
from migration_pipeline.mapping.values import float_json
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.resume import Held
from migration_pipeline.targets.target import LoadReport, Meter

_FETCHED = ".fetched"
_FETCHED_BYTES = 256 << 20
"""Of files that lie on an object store, so many are on this machine at once, or one."""
_REQUEST_BYTES = 500_000
"""Of parameters in one request: proxies and hosted servers stop at 1 MB."""


@dataclass(frozen=True)
class Parameter:
    """A parameter as the target shows it."""

    name: str
    kind: str
    shown: Any


@dataclass(frozen=True)
class Upload:
    """A file to be sent: where it lies, what it is called at the target, and of what it is;
    `row` None: of what is kept beside, or a series; `stored`: it lies there, and is at `source`
    only while it is being sent."""

    source: Path
    name: str
    size: int
    row: FileRow | None = None
    stored: StorePath | None = None


class RemoteSender(ABC):
    """Sends the rows of one run.

    Args:
        scan: what was learnt of the run.
        scratch: a directory of its own.
        held: what is there already.
    """

    file_series: tuple[str, ...] = ("string_series", "histogram_series")
    """Types of series that are sent as files of JSON lines."""
    points_at_a_time: int = 0
    """Points of one call to `put_points`; 0: as capabilities say."""
    files_at_a_time: int = 100
    """Files of one call to `put_files`."""

    def __init__(
        self, scan: RunScan, scratch: Path, meter: Meter | None, held: Held | None = None
    ) -> None:
        self.scan, self.scratch, self._meter = scan, scratch, meter
        self.held = held or Held()
        self.can = scan.capabilities
        self.keys = key_names(scan.attributes, self.can)
        """Parameters, float series and series that are held as such → name."""
        self.files = name_files(scan, self.file_series)
        self.losses: list[Loss] = []
        self._mapper = ParameterMapper(self.can)
        self._points_mapper = scan.mapper
        self._pieces: list[Piece] = []
        self._waiting = 0
        self._parameters: list[Parameter] = []
        self._parameter_bytes = 0
        self._splitters: dict[str, Splitter] = {}
        self._tops: dict[str, int] = {}
        """Float series → its highest step so far."""
        self._beside: dict[str, IO[bytes]] = {}
        self._fetched = 0

    # --- what a target fills in -----------------------------------------------------------------

    @abstractmethod
    def put_points(self, pieces: Sequence[Piece]) -> None:
        """Sends points of one or several series."""

    @abstractmethod
    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        """Sends parameters, each once."""

    @abstractmethod
    def put_files(self, files: Sequence[Upload]) -> None:
        """Sends files."""

    def finish_points(self) -> None:  # noqa: B027 - most targets have nothing to do
        """Once all points of the run were sent, before its files."""

    def put_lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        """Sends points of a text or histogram series whose type is not in `file_series`."""
        raise NotImplementedError(kind)

    def encode(self, kind: str, value: Any, text: str, cut: bool) -> tuple[Any, bool]:
        """What is sent for a parameter, and whether `RemoteReader.decode` gives its value back.

        Args:
            text: its value as text, cut and cleaned as the target needs it.
            cut: that text is not all of it.
        """
        return text, not cut

    def hides(self, points: Points, sent: Sent) -> Bools:
        """Points that are not sent at all, and kept beside."""
        return np.zeros(len(points), dtype=bool) if self.can.nan else np.isnan(sent.values)

    def look_at(self, path: str, kind: str, value: Any) -> None:  # noqa: B027 - as above
        """Is told every value of every parameter."""

    # --- the rest -------------------------------------------------------------------------------

    def send(self) -> LoadReport:
        """Everything but the mark of completion.

        Raises:
            ContradictionError: what is there is not a part of what is to be sent.
        """
        self.losses = series_losses(self.scan)
        with contextlib.ExitStack() as on_exit:
            for name in (sidecar.POINTS, sidecar.PARAMETERS):
                file = self.scratch / name
                file.parent.mkdir(parents=True, exist_ok=True)
                self._beside[name] = on_exit.enter_context(file.open("wb"))
            for batch in self.scan.run.batches():
                self._rows(batch)
            self._flush_parameters()
            self._flush_points()
            self.held.check_finished()
            self.finish_points()
        for name in (sidecar.POINTS, sidecar.PARAMETERS):
            if not (self.scratch / name).stat().st_size:
                (self.scratch / name).unlink()
        size = self._files()
        self._migration()
        self._put(self._written())
        return LoadReport.of(self.scan, self.keys, self.losses, size)

    def count(self, points: int = 0, size: int = 0) -> None:
        if self._meter:
            self._meter.add(points=points, size=size)

    def _rows(self, batch: pa.RecordBatch) -> None:
        cut = Cut(batch)
        for path, points in cut.series():
            self._points(path, points)
        for path, kind, values in cut.parameters():
            self._values(path, kind, values)
        for (path, kind), rows in cut.attributes:
            if kind in self.file_series:
                self._line_file(path, kind, batch, rows)
            elif kind in ("string_series", "histogram_series"):
                self.put_lines(path, kind, batch, rows)

    # --- points ---------------------------------------------------------------------------------

    def _points(self, path: str, points: Points) -> None:
        series = self.scan.series[path]
        sent = self._points_mapper.map(points, series.timeless)
        if path not in self._splitters:
            self._splitters[path] = Splitter(series.repeated)
        hidden = self.hides(points, sent)
        if self.can.monotonic_steps:
            late, self._tops[path] = not_growing(sent.steps, self._tops.get(path))
            hidden = hidden | late
        again, odd = self._splitters[path].split(sent, ~hidden)
        if sent.by_step:  # nothing at the target says how often a step was logged
            hidden, again = hidden | again, np.zeros(len(again), dtype=bool)
        beside = np.flatnonzero(odd | hidden)
        for note in notes(path, points, sent, again, beside, hidden):
            sidecar.write_line(self._beside[sidecar.POINTS], note)
        not_sent = again | hidden
        take = np.flatnonzero(~not_sent) if not_sent.any() else slice(None)
        key = self.keys[path, "float_series"]
        piece = Piece(key, sent.steps[take], sent.times[take], sent.values[take])
        self.count(points=len(points) - len(piece))
        if beginning := self.held.series.get(key):
            known = beginning.skip(piece.hashes())
            self.count(points=known)
            piece = piece.after(known)
        most = self.points_at_a_time or self.can.points_per_request
        while len(piece):
            part, piece = piece.before(most - self._waiting), piece.after(most - self._waiting)
            self._pieces.append(part)
            self._waiting += len(part)
            if self._waiting >= most:
                self._flush_points()

    def _flush_points(self) -> None:
        if self._pieces:
            self.put_points(self._pieces)
            self.count(points=self._waiting)
            self._pieces, self._waiting = [], 0

    # --- parameters -----------------------------------------------------------------------------

    def _values(self, path: str, kind: str, values: list[Any]) -> None:
        for value in values:
            self.look_at(path, kind, value)
            text, reason = self._mapper.shown(path, kind, value)
            self.losses += self._mapper.losses(path, reason, value)
            shown, exact = text, not reason
            if text is not None and reason != REPEATED:
                shown, exact = self.encode(kind, value, text, bool(reason))
            if not exact:
                kept = float_json(value) if kind == "float" else value
                line = {"attribute": path, "type": kind, "value": kept, "shown": shown}
                line["again"] = reason == REPEATED
                sidecar.write_line(self._beside[sidecar.PARAMETERS], line)
            if text is not None and reason != REPEATED:
                self._parameter(Parameter(self.keys[path, kind], kind, shown), text)

    def _parameter(self, parameter: Parameter, text: str) -> None:
        if self.held.has_param(parameter.name, parameter.shown):
            return
        self._parameters.append(parameter)
        self._parameter_bytes += len(text.encode())
        most = self.can.parameters_per_request
        if len(self._parameters) >= most or self._parameter_bytes > _REQUEST_BYTES:
            self._flush_parameters()

    def _flush_parameters(self) -> None:
        if self._parameters:
            self.put_parameters(self._parameters)
            self._parameters, self._parameter_bytes = [], 0

    # --- text and histograms --------------------------------------------------------------------

    def _line_file(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        file = self.scratch / self.files.series[path, kind]
        file.parent.mkdir(parents=True, exist_ok=True)
        line = sidecar.text_line if kind == "string_series" else sidecar.histogram_line
        count = 0
        with file.open("ab") as stream:
            for step, time, value in line_rows(kind, batch, rows):
                sidecar.write_line(stream, line(step, time, value))
                count += 1
        self.count(points=count)

    # --- files ----------------------------------------------------------------------------------

    def _files(self) -> int:
        """Sends the files, some at a time; returns their bytes."""
        total = 0
        pending: list[Upload] = []
        if not self.files.rows:
            return 0
        index = self.scratch / sidecar.FILES
        index.parent.mkdir(parents=True, exist_ok=True)
        with index.open("wb") as stream:
            for row, inside in self.files.rows:
                sidecar.write_line(stream, file_line(row, inside))
                for child, name in inside.items():
                    file = self.scan.run.file(row.path or "")
                    pending.append(self._upload(file / child if child else file, name, row))
                if len(pending) >= self.files_at_a_time:
                    total += self._put(pending)
                    pending = []
        return total + self._put(pending)

    def _upload(self, file: Location, name: str, row: FileRow) -> Upload:
        size = file.stat().st_size
        if isinstance(file, Path):
            return Upload(file, name, size, row)
        # Of one folder each, below which its path is the archive's.
        self._fetched += 1
        folder = self.scratch / _FETCHED / str(self._fetched)
        return Upload(folder / below(file, self.scan.run.files_root), name, size, row, file)

    def _put(self, files: Sequence[Upload]) -> int:
        """Sends those that are not there whole: one that was cut off is shorter."""
        there = self.held.files
        missing = [
            file
            for file in files
            if there.get(file.name) != file.size or file.name == sidecar.MIGRATION
        ]
        for some in _portions(missing, self.files_at_a_time):
            with _here(some):
                self.put_files(some)
        size = sum(file.size for file in files if file.row)
        if size:
            self.count(size=size)
        return size

    def _written(self) -> list[Upload]:
        """Files of ours: series and what is kept beside; what says which is which comes last."""
        found = [path for path in sorted(self.scratch.rglob("*")) if path.is_file()]
        found.sort(key=lambda path: path == self.scratch / sidecar.MIGRATION)
        return [
            Upload(path, path.relative_to(self.scratch).as_posix(), path.stat().st_size)
            for path in found
        ]

    def _migration(self) -> None:
        migration = migration_of(self.scan, self.keys, self.files.series, self.losses)
        file = self.scratch / sidecar.MIGRATION
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(migration.model_dump(), ensure_ascii=False, indent=1)
        file.write_text(text, encoding="utf-8")


def _portions(files: Sequence[Upload], at_a_time: int) -> Iterator[list[Upload]]:
    """So many at a time, and no more bytes of an object store than may be here at once."""
    some: list[Upload] = []
    size = 0
    for file in files:
        fetched = file.size if file.stored else 0
        if some and (len(some) >= at_a_time or size + fetched > _FETCHED_BYTES):
            yield some
            some, size = [], 0
        some.append(file)
        size += fetched
    if some:
        yield some


@contextlib.contextmanager
def _here(files: Sequence[Upload]) -> Iterator[None]:
    """Fetches those that lie on an object store, for as long as the block lasts."""
    try:
        for file in files:
            if file.stored:
                file.source.parent.mkdir(parents=True, exist_ok=True)
                file.stored.fetch(file.source)
        yield
    finally:
        for file in files:
            if file.stored:
                file.source.unlink(missing_ok=True)
