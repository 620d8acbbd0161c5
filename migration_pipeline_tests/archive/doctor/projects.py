"""Small projects to be examined: trainings that are alike, as neptune-exporter or we write them.

Nothing in them is wrong; a test spoils one thing and says what the doctor must then find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from math import nan
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.diagnosis import ProjectDiagnosis
from migration_pipeline.archive.schema import (
    FILE_TYPES,
    MICROS,
    SCHEMA,
    in_memory_form,
    make_batch,
)
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import Row, fill, row

PROJECT = "acme/vision"
CREATED = 1_735_689_600_000
"""Of the first run, ms since 1970."""
MINUTE, HOUR = 60_000, 3_600_000
STEPS = 100
Change = Callable[[pa.Table], pa.Table]


def key(run: str) -> RunKey:
    return RunKey(PROJECT, run)


def training(number: int, name: str = "", **changed: object) -> list[Row]:
    """The rows of one run, class by class; the value of a file is its content.

    Args:
        changed: `sys/…` or `config/…` values, by the last part of their path; None: leave it out.
    """
    created = CREATED + number * HOUR
    values: dict[str, tuple[str, object]] = {
        "sys/id": ("string", f"VIS-{number + 1}"),
        "sys/custom_run_id": ("string", f"run {number}"),
        "sys/name": ("string", name or f"exp-{number % 2}"),
        "sys/creation_time": ("datetime", created),
        "sys/modification_time": ("datetime", created + HOUR),
        "sys/failed": ("bool", False),
        "config/lr": ("float", 0.1 + number),
        "config/epochs": ("int", 10 + number),
        "config/optimizer": ("string", "adam"),
        "config/clip": ("float", nan),
    }
    rows = []
    for path, (kind, value) in values.items():
        given = changed.get(path.rpartition("/")[2], value)
        if given is not None:
            rows.append(row(path, kind, given))
    for path in ("train/loss", "train/acc"):
        rows += [
            row(path, "float_series", nan if i == 3 else 1 / (i + 1 + number), i * MICROS, at)
            for i, at in enumerate(range(created + 1_000, created + 1_000 + STEPS * 1_000, 1_000))
        ]
    at = created + 2_000
    for i in range(20):
        rows.append(row("log/stdout", "string_series", f"line {i} of {number}", i * MICROS, at + i))
    for i in range(3):
        histogram = {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [1.0, i + 0.5]}
        rows.append(row("weights/hist", "histogram_series", histogram, i * MICROS, at + i))
    rows.append(row("model/weights", "file", f"weights of run {number:04}".encode()))
    for i in range(2):
        content = f"image {i} of run {number:04}".encode()
        rows.append(row("images", "file_series", content, i * MICROS, at + i))
    return rows


def without(rows: Iterable[Row], *what: str) -> list[Row]:
    """Without the rows of some types or paths."""
    return [one for one in rows if one["type"] not in what and one["path"] not in what]


def adopted(
    archive: Archive, run: RunKey, *parts: Sequence[Row], first: int = 0, stem: str = ""
) -> list[Path]:
    """A run as neptune-exporter writes it: a row group a class, no manifest.

    Files get `<run>/<attribute>[_<step>]` as their path; a row whose value is a text names a file
    that is there already.
    """
    directory = archive.project_directory(run.project, run.kind)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for number, rows in enumerate(parts, first):
        placed = [_placed(archive, run, one) for one in rows]
        path = directory / layout.part_name(stem or layout.name_on_disk(run.run), number)
        with pq.ParquetWriter(path, SCHEMA, compression="snappy") as writer:
            for group in _classes(placed):
                batch = in_memory_form(make_batch(run.project, run.run, group), SCHEMA)
                writer.write_batch(batch)
        written.append(path)
    return written


def _placed(archive: Archive, run: RunKey, one: Row) -> Row:
    if one["type"] not in FILE_TYPES or not isinstance(one["value"], bytes):
        return one
    name = f"{layout.clean(run.run)[:50]}/{one['path']}"
    name += "" if one["step"] is None else f"_{one['step']}"
    place = archive.files_root(run.project) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(one["value"])
    return {**one, "value": name}


def _classes(rows: Sequence[Row]) -> Iterable[list[Row]]:
    """Parameters; metrics; text and histograms; files; series of files: as the tool asks."""
    ranks = {"float_series": 1, "string_series": 2, "histogram_series": 2, "file_series": 4}
    groups: dict[int, list[Row]] = {}
    for one in rows:
        rank = ranks.get(one["type"], 3 if one["type"] in FILE_TYPES else 0)
        groups.setdefault(rank, []).append(one)
    return [groups[rank] for rank in sorted(groups)]


def adopted_project(archive: Archive, runs: int = 6) -> None:
    """Trainings in which nothing is wrong, `run 0` of two parts."""
    for number in range(runs):
        rows = training(number)
        parts = [rows[:60], rows[60:]] if number == 0 else [rows]
        adopted(archive, key(f"run {number}"), *parts)


def own_project(archive: Archive, runs: int = 6, *, parts: bool = False) -> None:
    """The same with manifests.

    Args:
        parts: `run 0` of several parts.
    """
    small = mock.patch.object(writer_module, "PART_BYTES", 1)
    for number in range(runs):
        rows = training(number)
        with (
            small if parts and number == 0 else nullcontext(),
            RunWriter(archive, key(f"run {number}"), "neptune3") as writer,
        ):
            for some in (rows[:60], rows[60:]):
                fill(writer, some)
                writer.flush()
            writer.commit(sys_id=f"VIS-{number + 1}")


def rewrite(part: Path, change: Change) -> None:
    """Changes the rows of a part; what its footer says of the whole run stays."""
    metadata = pq.read_metadata(part).metadata or {}
    kept = {k: v for k, v in metadata.items() if k.startswith(b"migration_pipeline")}
    table = change(pq.read_table(part).cast(SCHEMA))
    pq.write_table(table.replace_schema_metadata(kept), part, compression="snappy")


def part_of(archive: Archive, run: str, number: int = 0) -> Path:
    stem = layout.name_on_disk(run)
    return archive.project_directory(PROJECT) / layout.part_name(stem, number)


def codes(found: ProjectDiagnosis) -> dict[str, list[str]]:
    """Run → codes of its reasons, for runs that have any."""
    return {
        run.key.run: sorted(reason.code for reason in run.reasons)
        for run in found.runs
        if run.reasons
    }


def grades(found: ProjectDiagnosis) -> dict[str, str]:
    return {run.key.run: run.grade for run in found.runs}


def text_of(found: ProjectDiagnosis, run: str, code: str) -> str:
    """The sentence of the one reason of a run that has a code."""
    (diagnosis,) = [one for one in found.runs if one.key.run == run]
    (reason,) = [one for one in diagnosis.reasons if one.code == code]
    return reason.text


def findings(found: ProjectDiagnosis) -> dict[str, str]:
    """Code → sentence."""
    return {one.code: one.text for one in found.findings}
