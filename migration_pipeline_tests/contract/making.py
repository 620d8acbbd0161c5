"""What data sets are made of, and how they become an archive: by the package's own writer."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.archive.schema import SCHEMA, VALUE_COLUMN, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.mapping.steps import step_micros

PROJECT = "team/project"
START = 1_700_000_000_000
"""Creation time of every run, ms."""
INF, NAN = math.inf, math.nan
DENORMAL = struct.unpack("<d", struct.pack("<Q", 1))[0]
LARGEST = 1.7976931348623157e308


@dataclass(frozen=True)
class Row:
    """One row; a file's value is its bytes, a directory's a dict of name → bytes.

    A file has the extension of its attribute unless `extension` says another.
    """

    path: str
    type: str
    value: Any
    step: str | None = None
    time: int | None = None
    extension: str | None = None


@dataclass(frozen=True)
class RunData:
    """One run of a data set."""

    run: str
    rows: tuple[Row, ...] = ()
    project: str = PROJECT
    kind: Kind = "run"
    parent: str | None = None
    plain: bool = False
    """Without the sys attributes that every real run has."""
    adopted: bool = False
    """As neptune-exporter writes it: two parts with half of the rows each, and no manifest."""


@dataclass(frozen=True)
class DataSet:
    name: str
    runs: tuple[RunData, ...] = field(default_factory=tuple)


def param(path: str, kind: str, value: Any) -> Row:
    return Row(path, kind, value)


def floats(path: str, points: Iterable[tuple[str | None, int | None, float | None]]) -> list[Row]:
    return [Row(path, "float_series", value, step, time) for step, time, value in points]


def curve(path: str, count: int = 20, start: int = START) -> list[Row]:
    return floats(path, ((str(i), start + i, 1 / (i + 1)) for i in range(count)))


def lines(path: str, count: int) -> list[Row]:
    return [Row(path, "string_series", f"line {i}\n", str(i), START + i) for i in range(count)]


def histogram(kind: str, edges: list[float], values: list[float]) -> dict[str, Any]:
    return {"type": kind, "edges": edges, "values": values}


def of(name: str, *rows: Row | list[Row], **run: Any) -> DataSet:
    """A data set of one run."""
    flat = [r for row in rows for r in (row if isinstance(row, list) else [row])]
    return DataSet(name, (RunData("RUN-1", tuple(flat), **run),))


def build(root: Path, dataset: DataSet) -> Archive:
    """Writes a data set into a new archive."""
    archive = Archive(root / "data", root / "files")
    for run in dataset.runs:
        write_run(archive, run)
    return archive


def write_run(archive: Archive, run: RunData) -> RunKey:
    """Writes one run, in two batches, so that series are cut in the middle."""
    key = RunKey(run.project, run.run, run.kind)
    rows = [*run.rows] if run.plain else [*_sys(run), *run.rows]
    with RunWriter(archive, key, "test") as writer:
        made = [_row(writer, row, i) for i, row in enumerate(rows)]
        half = len(made) // 2
        for part in (made[:half], made[half:]):
            if part:
                writer.write(make_batch(run.project, run.run, part))
        writer.commit(parent=run.parent)
    for row, item in zip(rows, made, strict=True):
        if isinstance(row.value, dict) and row.type in ("file", "file_set"):
            # The writer takes files only; directories come with archives of other tools.
            _fill(archive.files_root(run.project) / item["value"], row.value)
    if run.adopted:
        adopt(archive, key)
    return key


def adopt(archive: Archive, key: RunKey) -> None:
    """Rewrites a run as neptune-exporter would have written it: in two parts, no manifest."""
    run = archive.find(key)
    assert run is not None
    table = pq.read_table(run.parts[0]).replace_schema_metadata(None)
    half = table.num_rows // 2
    stem = layout.parse_part_name(run.parts[0].name)
    assert stem is not None
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = run.parts[0].parent / layout.part_name(stem[0], number)
        pq.write_table(part.cast(SCHEMA), path)


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _sys(run: RunData) -> list[Row]:
    given = {row.path for row in run.rows}
    usual = [
        param("sys/creation_time", "datetime", START),
        param("sys/modification_time", "datetime", START + 1000),
        param("sys/custom_run_id", "string", run.run),
        param("sys/failed", "bool", False),
        param("sys/tags", "string_set", ["one", "two, three"]),
    ]
    return [row for row in usual if row.path not in given]


def _row(writer: RunWriter, row: Row, number: int) -> dict[str, Any]:
    value = row.value
    if VALUE_COLUMN[row.type] == "file_value":
        value = _file(writer, row, number)
    return {
        "path": row.path,
        "type": row.type,
        "value": value,
        "step": None if row.step is None else step_micros(row.step),
        "timestamp": row.time,
    }


def _file(writer: RunWriter, row: Row, number: int) -> str:
    staged = writer.staging_path(str(number))
    if isinstance(row.value, dict):
        _fill(staged, row.value)
    else:
        staged.write_bytes(row.value)
    extension = Path(row.path).suffix if row.extension is None else row.extension
    return writer.add_file(staged, row.path, row.step or "", extension)
