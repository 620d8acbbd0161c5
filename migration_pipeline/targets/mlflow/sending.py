"""Sends one run to MLflow: params, metrics, files, what is kept beside, and last the mark.

The rows are streamed: metrics leave in batches, text and histogram series grow in temporary files,
other files are only linked to. Nothing is sent twice, not what an earlier load has sent either:
MLflow takes seven to ten times as long for a point that it knows already.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive import layout
from migration_pipeline.archive.digest import int64_column
from migration_pipeline.archive.schema import VALUE_COLUMN, micros_from_steps
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import Attribute, key_names, renames
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.parameters import REPEATED, ParameterMapper
from migration_pipeline.mapping.points import Points, Rows, Splitter, notes
from migration_pipeline.mapping.scan import Cut, FileRow, RunScan, rows_of, values_of
from migration_pipeline.mapping.steps import step_text
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.mapping.values import float_json
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.datasets import log_datasets
from migration_pipeline.targets.mlflow.metrics import Piece
from migration_pipeline.targets.mlflow.models import MODEL_OF, STAGE_OF
from migration_pipeline.targets.mlflow.resume import Held
from migration_pipeline.targets.target import LoadReport, Meter

_SERIES_TYPES = ("string_series", "histogram_series")
_SAID = (MODEL_OF, STAGE_OF)
_FILES_AT_A_TIME = 100
_REQUEST_BYTES = 500_000
"""Of parameters in one request: proxies and hosted servers stop at 1 MB."""


@dataclass(frozen=True)
class Names:
    """What attributes and files are called at the target."""

    keys: dict[Attribute, str]
    """Parameters and float series."""
    files: dict[Attribute, str]
    """Text and histogram series."""
    uploads: list[tuple[FileRow, dict[str, str]]]
    """File row → what lies where: path within the archived file ("" for itself) → artifact."""

    @property
    def renamed(self) -> dict[str, str]:
        return renames(self.keys)


def plan_names(scan: RunScan) -> Names:
    """Names for all that a run holds, known before anything is sent."""
    can = scan.capabilities
    wanted: dict[str, str] = {}
    for path, kind in scan.of_types(_SERIES_TYPES):
        wanted[f"series\0{path}\0{kind}"] = f"series/{path}.jsonl"
    rows: list[tuple[FileRow, dict[str, str]]] = []
    for number, row in enumerate(scan.files):
        inside = _inside(scan, row)
        rows.append((row, {child: f"file\0{number}\0{child}" for child in inside}))
        for child in inside:
            base = f"files/{_file_name(row)}"
            wanted[rows[-1][1][child]] = f"{base}/{child}" if child else base
    rules = NameRules(f"{can.file_characters}/", can.file_path_max_length, path=True, tree=True)
    given = assign_names(wanted, rules)
    return Names(
        key_names(scan.attributes, can),
        {(p, k): given[f"series\0{p}\0{k}"] for p, k in scan.of_types(_SERIES_TYPES)},
        [(row, {child: given[key] for child, key in inside.items()}) for row, inside in rows],
    )


def _inside(scan: RunScan, row: FileRow) -> list[str]:
    if row.path is None:
        return []
    file = scan.run.file(row.path)
    if not file.is_dir():
        return [""]
    return sorted(p.relative_to(file).as_posix() for p in file.rglob("*") if p.is_file())


def _file_name(row: FileRow) -> str:
    extension = layout.extension_of(row.path or "", "", "")
    if row.step is not None or row.type.endswith("_series"):
        step = "none" if row.step is None else step_text(row.step)
        return f"{row.attribute}/step_{step}{extension}"
    return row.attribute if row.attribute.endswith(extension) else f"{row.attribute}{extension}"


@dataclass
class Sender:
    """Sends the rows of one run.

    Args:
        to: the connection.
        scan: what was learnt of the run.
        run_id: MLflow's.
        root: where the run's files are.
        scratch: a directory of its own.
        held: what is there already.
    """

    to: Connection
    scan: RunScan
    names: Names
    run_id: str
    root: str
    scratch: Path
    meter: Meter | None
    held: Held
    losses: list[Loss] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    """Values of the attributes in `_SAID`."""
    _pieces: list[Piece] = field(default_factory=list)
    _waiting: int = 0
    """Points in them."""
    _params: list[Any] = field(default_factory=list)
    _param_bytes: int = 0
    _splitters: dict[str, Splitter] = field(default_factory=dict)
    _beside: dict[str, IO[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._mapper = ParameterMapper(self.scan.capabilities)

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
            self._flush_params()
            self._flush_metrics()
            self.held.check_finished()
            with self.to.calls("finishing metrics"):
                self.to.metrics.finish(self.run_id)
        for name in (sidecar.POINTS, sidecar.PARAMETERS):
            if not (self.scratch / name).stat().st_size:
                (self.scratch / name).unlink()
        size = self._files()
        for file in [p for p in self.scratch.rglob("*") if p.is_file()]:
            if self._is_there(file, file.relative_to(self.scratch).as_posix()):
                file.unlink()
        self._migration()
        with self.to.calls("sending files"):
            self.to.client.log_artifacts(self.run_id, str(self.scratch))
        log_datasets(self.to, self.scan, self.run_id, self.root, self.names.uploads)
        scan = self.scan
        return LoadReport(
            scan.key,
            attributes=len(scan.attributes),
            points=sum(n for (_, kind), n in scan.attributes.items() if kind.endswith("_series")),
            files=sum(1 for row in scan.files if row.path is not None),
            bytes=size,
            losses=self.losses,
            renames=self.names.renamed,
        )

    def _rows(self, batch: pa.RecordBatch) -> None:
        cut = Cut(batch)
        for path, points in cut.series():
            self._points(path, points)
        for path, kind, values in cut.parameters():
            self._parameters(path, kind, values)
        for (path, kind), rows in cut.attributes:
            if kind in _SERIES_TYPES:
                self._series(path, kind, batch, rows)

    def _points(self, path: str, points: Points) -> None:
        series = self.scan.series[path]
        sent = self.scan.mapper.map(points, series.timeless)
        if path not in self._splitters:
            self._splitters[path] = Splitter(series.repeated)
        again, odd = self._splitters[path].split(sent)
        for note in notes(path, points, sent, again, np.flatnonzero(odd)):
            sidecar.write_line(self._beside[sidecar.POINTS], note)
        take = np.flatnonzero(~again) if again.any() else slice(None)
        key = self.names.keys[path, "float_series"]
        piece = Piece(key, sent.steps[take], sent.times[take], sent.values[take])
        if beginning := self.held.series.get(key):
            piece = piece.after(beginning.skip(piece.hashes()))
        most = self.to.metrics.batch
        while len(piece):
            part, piece = piece.before(most - self._waiting), piece.after(most - self._waiting)
            self._pieces.append(part)
            self._waiting += len(part)
            if self._waiting >= most:
                self._flush_metrics()

    def _flush_metrics(self) -> None:
        if self._pieces:
            with self.to.calls("sending metrics"):
                self.to.metrics.send(self.run_id, self._pieces)
            self._count(points=self._waiting)
            self._pieces, self._waiting = [], 0

    def _parameters(self, path: str, kind: str, values: list[Any]) -> None:
        for value in values:
            if path in _SAID:
                self.said.setdefault(path, value)
            shown, reason = self._mapper.shown(path, kind, value)
            self.losses += self._mapper.losses(path, reason, value)
            if reason:
                exact = float_json(value) if kind == "float" else value
                line = {"attribute": path, "type": kind, "value": exact, "shown": shown}
                line["again"] = reason == REPEATED
                sidecar.write_line(self._beside[sidecar.PARAMETERS], line)
            if shown is None or reason == REPEATED:
                continue
            name = self.names.keys[path, kind]
            if self.held.has_param(name, shown):
                continue
            self._params.append(self.to.entities.Param(name, shown))
            self._param_bytes += len(shown.encode())
            most = self.scan.capabilities.parameters_per_request
            if len(self._params) >= most or self._param_bytes > _REQUEST_BYTES:
                self._flush_params()

    def _flush_params(self) -> None:
        if self._params:
            with self.to.calls("sending params"):
                self.to.client.log_batch(self.run_id, params=self._params)
            self._params, self._param_bytes = [], 0

    def _series(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        micros, no_step = micros_from_steps(rows_of(batch, "step", rows))
        times, no_time = int64_column(rows_of(batch, "timestamp", rows))
        file = self.scratch / self.names.files[path, kind]
        file.parent.mkdir(parents=True, exist_ok=True)
        line = sidecar.text_line if kind == "string_series" else sidecar.histogram_line
        with file.open("ab") as stream:
            for i, value in enumerate(values_of(batch, VALUE_COLUMN[kind], rows)):
                step = None if no_step[i] else int(micros[i])
                time = None if no_time[i] else int(times[i])
                sidecar.write_line(stream, line(step, time, value))
        self._count(points=len(micros))

    def _files(self) -> int:
        """Uploads the files, some at a time; returns their bytes."""
        total = 0
        index = self.scratch / sidecar.FILES
        pending: list[tuple[Path, str]] = []
        if not self.names.uploads:
            return 0
        with index.open("wb") as stream:
            for row, inside in self.names.uploads:
                sidecar.write_line(stream, _file_line(row, inside))
                for child, artifact in inside.items():
                    file = self.scan.run.file(row.path or "")
                    pending.append((file / child if child else file, artifact))
                if len(pending) >= _FILES_AT_A_TIME:
                    total += self._upload(pending)
                    pending = []
        return total + self._upload(pending)

    def _upload(self, files: list[tuple[Path, str]]) -> int:
        total = 0
        with tempfile.TemporaryDirectory(prefix="migration-") as name:
            for file, artifact in files:
                total += file.stat().st_size
                if self._is_there(file, artifact):
                    continue
                link = Path(name) / artifact
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.absolute())
            if any(Path(name).iterdir()):
                with self.to.calls("sending files"):
                    self.to.client.log_artifacts(self.run_id, name)
        self._count(size=total)
        return total

    def _is_there(self, file: Path, artifact: str) -> bool:
        """Whole: one that was cut off is shorter."""
        return self.held.files.get(artifact) == file.stat().st_size

    def _migration(self) -> None:
        scan, names = self.scan, self.names
        migration = sidecar.Migration(
            written_by=f"migration_pipeline {__version__}",
            project=scan.key.project,
            run=scan.key.run,
            kind=scan.key.kind,
            digest=scan.content.digest,
            step_multiplier=scan.mapping.step_multiplier,
            start=scan.mapper.time_for_none,
            attributes=[
                sidecar.AttributeEntry(
                    path=path,
                    type=kind,
                    rows=rows,
                    name=names.keys.get((path, kind)) or names.files.get((path, kind), ""),
                )
                for (path, kind), rows in sorted(scan.attributes.items())
            ],
            renamed=names.renamed,
            timeless=sorted(path for path, s in scan.series.items() if s.timeless),
            losses=sidecar.loss_entries(self.losses),
            damage=list(scan.run.damage),
        )
        file = self.scratch / sidecar.MIGRATION
        text = json.dumps(migration.model_dump(), ensure_ascii=False, indent=1)
        file.write_text(text, encoding="utf-8")

    def _count(self, points: int = 0, size: int = 0) -> None:
        if self.meter:
            self.meter.add(points=points, size=size)


def _file_line(row: FileRow, inside: dict[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "attribute": row.attribute,
        "type": row.type,
        "step": None if row.step is None else step_text(row.step),
        "time": row.time,
    }
    if row.path is None:
        return {**line, "artifact": None}
    if set(inside) == {""}:
        return {**line, "artifact": inside[""]}
    return {**line, "directory": inside}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory."""
    with tempfile.TemporaryDirectory(prefix="migration-") as name:
        yield Path(name)
