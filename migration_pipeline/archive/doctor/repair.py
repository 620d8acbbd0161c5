"""Writes an archive anew, beside the old one, with what can be repaired without the source.

Repaired are the order of rows and rows that are there twice, of runs that another tool wrote.
Everything else is carried over as it is, by hard links where the file system allows (nothing here
or in the writer ever changes a file in place). A run with a manifest is never rewritten: what its
manifest says stays provable. Runs that cannot be read as one are left out, by name.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline import __version__
from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, Place, RunKey
from migration_pipeline.archive.digest import FileInfo, RunSums, digest_file
from migration_pipeline.archive.doctor.diagnosis import Diagnosis, ProjectDiagnosis
from migration_pipeline.archive.doctor.evidence import CLASSES
from migration_pipeline.archive.doctor.files import walk
from migration_pipeline.archive.doctor.on_disk import RunOnDisk, runs_on_disk
from migration_pipeline.archive.location import Location, local, location, sync, writing
from migration_pipeline.archive.reader import BATCH_ROWS, read_first_value
from migration_pipeline.archive.schema import KEY_COLUMNS, SCHEMA
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_files import parquet_batches, parquet_file
from migration_pipeline.archive.writer import PART_BYTES
from migration_pipeline.errors import ArchiveNotWritableError, ConfigError, DamagedPartError

REPAIRED_KEY = b"migration_pipeline.repaired"
"""In the footer of a repaired part 0: JSON that says what was done."""
REPAIRABLE = {"unordered_rows", "duplicate_rows"}
_LEFT_OUT = {
    "part_unreadable",
    "part_missing",
    "other_schema",
    "foreign_part",
    "no_rows",
    "manifest_unreadable",
}
_MEMORY = "320MB"
_GROUP_ROWS = 262_144
_PLACE = "place_among_all_rows"
_CLASS_ORDER = ("parameters", "metrics", "text", "histograms", "files")


@dataclass(frozen=True)
class Repair:
    """What was done to one run.

    Args:
        rows: that it has now.
        removed: rows that were equal to another one in every column.
    """

    key: RunKey
    rows: int
    removed: int


@dataclass(frozen=True)
class RepairReport:
    """What became of a project; `left_out` are runs with the reason."""

    project: str
    data: Path
    files: Path
    repaired: tuple[Repair, ...]
    carried: int
    left_out: tuple[tuple[RunKey, str], ...]


def repair_directory(given: str, archive: Archive) -> Path:
    """The new directory, checked before anything is done.

    Raises:
        ConfigError: it holds something, or is one of the archive's or inside of one.
    """
    place = local(location(given, "repair_to"), "repair_to")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ConfigError(f"repair_to is {given!r}, which is not empty", "Name a new directory.")
    for own in (archive.data, archive.files, archive.model_data, archive.model_files):
        if isinstance(own, Path) and place.resolve().is_relative_to(own.resolve()):
            raise ConfigError(
                f"repair_to is {given!r}, which is inside of the archive's {own}",
                "Name a new directory beside it; an archive is never repaired in place.",
            )
    return place


def repair(archive: Archive, found: ProjectDiagnosis, to: Path) -> RepairReport:
    """Writes a project into `<to>/data` and `<to>/files`.

    Raises:
        ArchiveNotWritableError: the disk is full or refuses.
    """
    repaired: list[Repair] = []
    left_out: list[tuple[RunKey, str]] = []
    carried = 0
    new = Archive(to / "data", to / "files")
    diagnoses = {run.key: run for run in found.runs}
    for run in runs_on_disk(archive, found.project):
        key = _key(found.project, run)
        diagnosis = diagnoses.get(key)
        if reason := _unfit(run, diagnosis):
            left_out.append((key, reason))
            continue
        assert diagnosis is not None
        directory = local(new.project_directory(found.project, run.place.kind), "repair_to")
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        if any(reason.code in REPAIRABLE for reason in diagnosis.reasons):
            repaired.append(_rewrite(run, diagnosis, directory))
        else:
            for number in run.numbers:
                _carry(run.part(number), directory / run.part(number).name)
            carried += 1
    files = local(new.files_root(found.project), "repair_to")
    _carry_files(archive.places(found.project), files)
    return RepairReport(
        found.project, to / "data", to / "files", tuple(repaired), carried, tuple(left_out)
    )


def _key(project: str, run: RunOnDisk) -> RunKey:
    """By which the run was diagnosed."""
    name = run.probable_id()
    for number in run.numbers:
        try:
            name = str(read_first_value(run.part(number), "run_id"))
            break
        except DamagedPartError:
            continue
    return RunKey(project, name, run.place.kind)


def _unfit(run: RunOnDisk, diagnosis: Diagnosis | None) -> str:
    """Why a run is left out; empty: it is not."""
    if not run.numbers:
        return "it has temporary parts only"
    if diagnosis is None:
        return "its parts are not those that were examined"
    return next((r.text for r in diagnosis.reasons if r.code in _LEFT_OUT), "")


def _rewrite(run: RunOnDisk, diagnosis: Diagnosis, directory: Path) -> Repair:
    """Sorts the rows, drops what is equal throughout, and looks whether that is all it did.

    Raises:
        DamagedPartError: the rows that were written are not those that were read.
    """
    parts = [run.part(number) for number in run.numbers]
    twice = any(reason.code == "duplicate_rows" for reason in diagnosis.reasons)
    with writing(directory), tempfile.TemporaryDirectory(dir=directory, prefix=".repair-") as name:
        ordered = Path(name, "ordered.parquet")
        _sort(parts, ordered, Path(name), without_copies=twice)
        before, after = _sums(parts), _sums([ordered])
        removed = before.rows - after.rows
        whole = set(before.attributes) == set(after.attributes)
        if not whole or (not removed and before.digest() != after.digest()):
            raise DamagedPartError(str(parts[0]), "sorting its rows changed them")
        said = {"rows_removed": removed, "ordered": True, "by": f"migration_pipeline {__version__}"}
        _write_parts(ordered, directory, run.stem, {REPAIRED_KEY: json.dumps(said).encode()})
    return Repair(diagnosis.key, after.rows, removed)


def _sort(parts: Sequence[Location], into: Path, scratch: Path, *, without_copies: bool) -> None:
    """Class by class, as exporters do; then by attribute and step. Spills to disk.

    Equal is what has the same bits: DuckDB's comparison takes 0.0 for -0.0, so the sign is asked.
    """
    columns = ", ".join(SCHEMA.names)
    ranks = " ".join(f"when '{k}' then {_CLASS_ORDER.index(own)}" for k, own in CLASSES.items())
    same = f"{columns}, signbit(float_value), histogram_value::varchar"
    copy = f"row_number() over (partition by {same} order by {_PLACE})" if without_copies else "1"
    target = str(into).replace("'", "''")
    query = f"""
        copy (
            with counted as (select *, {copy} as copy from given)
            select {columns} from counted where copy = 1
            order by case attribute_type {ranks} else 9 end, attribute_path, attribute_type,
                     step nulls first, {_PLACE}
        ) to '{target}' (format parquet)
    """
    spill = str(scratch / "spill")
    config: Any = {"memory_limit": _MEMORY, "threads": "2", "temp_directory": spill}
    with duckdb.connect(config=config) as database:
        database.register("given", _numbered(parts))
        try:
            database.execute(query)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise ArchiveNotWritableError(str(scratch), str(error)) from error
        except duckdb.Error as error:
            reason = f"its rows cannot be sorted ({error})"
            raise DamagedPartError(str(parts[0]), reason) from error


def _numbered(parts: Sequence[Location]) -> pa.RecordBatchReader:
    """All rows with their place, as a stream: what lies on disk has names that are no patterns."""

    def rows() -> Iterator[pa.RecordBatch]:
        start = 0
        for part in parts:
            for batch in _batches(part):
                places = pa.array(np.arange(start, start + batch.num_rows))
                start += batch.num_rows
                yield batch.append_column(_PLACE, places)

    return pa.RecordBatchReader.from_batches(SCHEMA.append(pa.field(_PLACE, pa.int64())), rows())


def _sums(parts: Sequence[Location]) -> RunSums:
    """Files count by their names: their bytes are not touched."""
    sums = RunSums(lambda path: FileInfo(0, path))
    for part in parts:
        for batch in _batches(part):
            sums.update(batch)
    return sums


def _batches(part: Location) -> Iterator[pa.RecordBatch]:
    """Rows in the archive's schema; DuckDB writes other names, sizes and units into its files."""
    with parquet_file(part, read_dictionary=list(KEY_COLUMNS)) as file:
        for batch in parquet_batches(file, part, BATCH_ROWS):
            columns = [batch.column(field.name).cast(field.type) for field in SCHEMA]
            yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _write_parts(rows: Path, directory: Path, stem: str, said: dict[bytes, bytes]) -> None:
    """Under temporary names, synced, part 0 renamed last."""
    parts: list[Path] = []
    groups = _groups(rows)
    group = next(groups, None)
    while group is not None:
        path = directory / f"{layout.part_name(stem, len(parts))}.tmp"
        schema = SCHEMA if parts else SCHEMA.with_metadata(said)
        parts.append(path)
        with (
            pa.OSFile(str(path), "wb") as sink,
            pq.ParquetWriter(sink, schema, compression="snappy") as writer,
        ):
            writer.write_table(group)
            while (group := next(groups, None)) is not None and sink.tell() < PART_BYTES:
                writer.write_table(group)
        sync(path)
    for path in reversed(parts):
        os.replace(path, path.with_suffix(""))
    sync(directory)


def _groups(rows: Path) -> Iterator[pa.Table]:
    """Batches put together to tables of a row group each."""
    batches = _batches(rows)
    while waiting := list(islice(batches, max(_GROUP_ROWS // BATCH_ROWS, 1))):
        yield pa.Table.from_batches(waiting, SCHEMA)


def _carry_files(places: Sequence[Place], to: Path) -> None:
    for root in sorted({place.files_root for place in places}, key=str):
        if root.is_dir():
            for path, _ in walk(root, ()):
                with writing(to / path):
                    (to / path).parent.mkdir(parents=True, exist_ok=True)
                _carry(root / path, to / path)


def _carry(source: Location, to: Path) -> None:
    """A hard link, else a copy."""
    with writing(to):
        if isinstance(source, StorePath):
            if to.exists() and digest_file(to) != digest_file(source):
                reason = f"{source} and another file of the archive would both lie there"
                raise ArchiveNotWritableError(str(to), reason)
            source.fetch(to)
            return
        try:
            os.link(os.path.realpath(source), to)
        except FileExistsError as error:
            if not filecmp.cmp(source, to, shallow=False):
                reason = f"{source} and another file of the archive would both lie there"
                raise ArchiveNotWritableError(str(to), reason) from error
        except OSError:  # another file system, or one without links
            shutil.copy2(source, to)
