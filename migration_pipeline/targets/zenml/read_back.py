"""Reads a run back from ZenML: from the cards of its model version what they show, from the Parquet
and the files in the artifact store, as downloaded, all the rest.

A parameter comes from its card, unless it was written down that the card cannot hold it. The
summaries of the series are made again from the downloaded points and compared with the cards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.reader import read_parts
from migration_pipeline.archive.schema import (
    FILE_TYPES,
    PARAMETER_TYPES,
    VALUE_COLUMN,
    in_memory_form,
    make_batch,
    micros_from_steps,
)
from migration_pipeline.errors import DamagedPartError, TargetRefusedError
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.scan import Cut, values_of
from migration_pipeline.targets.zenml.cards import Summary, named_values, value_of_card
from migration_pipeline.targets.zenml.folders import Folder
from migration_pipeline.targets.zenml.sending import (
    FILES,
    MIGRATION,
    PARAMS,
    SERIES,
    SYS,
    SYS_PATH,
)

_FILES_AT_A_TIME = 16
_AGAIN = "Load the run again: delete its model version at ZenML first."


@dataclass
class Reader:
    """Reads one run.

    Args:
        cards: the metadata of its model version.
        data, files: its folders in the artifact store.
        where: for messages.
        into: files are downloaded below it.
        attributes: only these; None: all.
    """

    key: RunKey
    cards: Mapping[str, Any]
    data: Folder
    files: Folder
    where: str
    into: Path
    attributes: Collection[str] | None = None
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _summaries: dict[str, Summary] = field(default_factory=dict)
    _downloaded: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows.

        Raises:
            TargetRefusedError: the data cannot be read, or a summary is not that of its points.
        """
        self.into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="migration-") as name:
            scratch = Path(name)
            self._prepare(scratch)
            for part in self._parts:
                copy = self.data.get(part, scratch / part)
                try:
                    for batch in read_parts([copy]):
                        yield from self._batch(in_memory_form(batch))
                except DamagedPartError as error:
                    raise TargetRefusedError(
                        f"run {self.key}: its data at {self.where} cannot be read: {error.what}",
                        _AGAIN,
                    ) from error
                copy.unlink()
        yield from self._unexpected()
        self._compare_summaries()

    def _prepare(self, scratch: Path) -> None:
        text = self.data.get(MIGRATION, scratch / MIGRATION).read_text(encoding="utf-8")
        written = json.loads(text)
        self._parts: list[str] = written["parts"]
        self._in_data = {(path, kind) for path, kind in written["whole_in_data_only"]}
        self._names = {(e["path"], e["type"]): e["name"] for e in written["attributes"]}
        self._params = named_values(self.cards, PARAMS)
        sys = named_values(self.cards, SYS)
        self._params.update({f"{SYS_PATH}{name}": value for name, value in sys.items()})
        self._shown = named_values(self.cards, SERIES, summaries=True)
        self._stored: dict[str, dict[str, str]] = {}
        if any(kind in FILE_TYPES for _, kind in self._names):
            for line in sidecar.read_lines(self.data.get(FILES, scratch / FILES)):
                if line["path"] is not None:
                    self._stored[line["path"]] = line["names"]

    # --- rows -------------------------------------------------------------------------------

    def _batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        if self.attributes is not None:
            wanted = pa.array(sorted(self.attributes), type=pa.string())
            batch = batch.filter(pc.is_in(batch.column("attribute_path").cast(pa.string()), wanted))
        kinds = batch.column("attribute_type").cast(pa.string())
        own = [pc.is_in(kinds, pa.array(sorted(t))) for t in (PARAMETER_TYPES, FILE_TYPES)]
        parameters, files = (batch.filter(mask) for mask in own)
        rest = batch.filter(pc.invert(pc.or_(*own)))
        without = files.filter(files.column("file_value").is_null())
        files = files.filter(files.column("file_value").is_valid())
        if rest.num_rows:
            self._summarize(rest)
            yield rest
        if parameters.num_rows and (rows := list(self._parameters(parameters))):
            yield make_batch(self.key.project, self.key.run, rows)
        if without.num_rows:  # rows of files that the archive has lost
            yield without
        for start in range(0, files.num_rows, _FILES_AT_A_TIME):
            rows = list(self._files(files.slice(start, _FILES_AT_A_TIME)))
            yield make_batch(self.key.project, self.key.run, rows)

    def _parameters(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        for base, (path, kind, values) in zip(_bases(batch), _single_rows(batch), strict=True):
            attribute, (value,) = (path, kind), values
            first = attribute not in self._seen
            self._seen.add(attribute)
            if not first or value is None or attribute in self._in_data:
                yield {**base, "value": value}
            elif (name := self._names.get(attribute, "")) in self._params:
                shown = self._params[name]
                try:
                    yield {**base, "value": value_of_card(kind, shown)}
                except ValueError:
                    yield {**base, "type": "string", "value": json.dumps(shown)}

    def _files(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        for base, value in zip(_bases(batch), batch.column("file_value").to_pylist(), strict=True):
            yield {**base, "value": self._download(self._stored.get(value["path"], {}))}

    def _download(self, names: Mapping[str, str]) -> str:
        """The path below `into` of a file, or of a directory with all of its files."""
        self._downloaded += 1
        own = str(self._downloaded)
        if set(names) == {""}:
            self.files.get(names[""], self.into / own)
            return own
        (self.into / own).mkdir()
        for child, name in names.items():
            self.files.get(name, self.into / own / child)
        return own

    def _unexpected(self) -> Iterator[pa.RecordBatch]:
        """What the cards show beside the parameters of the run."""
        known = {self._names.get(attribute, "") for attribute in self._seen}
        rows = [
            {"path": name, "type": "string", "value": json.dumps(value)}
            for name, value in self._params.items()
            if name not in known and (self.attributes is None or name in self.attributes)
        ]
        if rows:
            yield make_batch(self.key.project, self.key.run, rows)

    # --- summaries --------------------------------------------------------------------------

    def _summarize(self, batch: pa.RecordBatch) -> None:
        for path, points in Cut(batch).series():
            self._summaries.setdefault(path, Summary()).update(points)

    def _compare_summaries(self) -> None:
        for path, summary in self._summaries.items():
            shown = self._shown.get(self._names.get((path, "float_series"), ""))
            if shown != summary.shown():
                raise TargetRefusedError(
                    f"run {self.key}: at {self.where} the card of series {path!r} shows {shown}, "
                    f"its points give {summary.shown()}",
                    _AGAIN,
                )


def _bases(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Path, type, step and time of each row, as `make_batch` takes them."""
    micros, no_step = micros_from_steps(batch.column("step"))
    times = batch.column("timestamp").cast(pa.int64()).to_pylist()
    paths, kinds = (batch.column(c).to_pylist() for c in ("attribute_path", "attribute_type"))
    for i, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        step = None if no_step[i] else int(micros[i])
        yield {"path": path, "type": kind, "step": step, "timestamp": times[i]}


def _single_rows(batch: pa.RecordBatch) -> Iterator[tuple[str, str, list[Any]]]:
    """Path, type and value of each row, in their order."""
    found: list[tuple[str, str, list[Any]] | None] = [None] * batch.num_rows
    for (path, kind), rows in Cut(batch).attributes:
        at = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        for row, value in zip(at, values_of(batch, VALUE_COLUMN[kind], rows), strict=True):
            found[int(row)] = (path, kind, [value])
    return (row for row in found if row is not None)
