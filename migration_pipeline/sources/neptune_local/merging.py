"""A local run and the same run of an archive or a server, made one: all of both, by step.

The server had some of the operations and the directory has some; most are in both. The other's rows
are taken as they are, the local ones where the other has no such step or value. Where both have one
and differ the other's stands, and it is said. DuckDB compares them with bounded memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_pipeline.archive.archive import ArchivedRun
from migration_pipeline.archive.location import writing
from migration_pipeline.archive.schema import BATCH_SCHEMA, FILE_TYPES, SCHEMA, in_memory_form
from migration_pipeline.sources.copying import copy_readable, readable
from migration_pipeline.sources.neptune_local.others import Other, file_rows, told
from migration_pipeline.sources.source import DownloadedFile, Event, Rows, RunDone, RunRef

ONLY_SERVER = "only the server has"
"""In the damage of a run that a merge makes good."""
_MEMORY = "256MB"
_ROWS = 100_000
_OWN = "('sys/creation_time', 'sys/custom_run_id', 'sys/family')"
"""What the directory says of a run only because no server does."""
_VALUES = (
    "int_value, float_value, string_value, bool_value, datetime_value, "
    "list_sort(string_set_value), histogram_value"
)
_FILES = ", ".join(f"'{kind}'" for kind in sorted(FILE_TYPES))
_MATCHED = (
    "l.attribute_path = o.attribute_path AND l.attribute_type = o.attribute_type "
    "AND l.step IS NOT DISTINCT FROM o.step"
)
_OTHER_TYPE = """
SELECT DISTINCT l.attribute_path, l.attribute_type, o.attribute_type FROM local l
JOIN other o ON l.attribute_path = o.attribute_path AND l.attribute_type <> o.attribute_type
"""
_ADDED = f"""
SELECT l.* FROM local l
WHERE l.attribute_type NOT IN ({_FILES})
AND NOT EXISTS (SELECT 1 FROM other o WHERE l.attribute_path = o.attribute_path
                AND l.attribute_type <> o.attribute_type)
AND NOT EXISTS (SELECT 1 FROM other o WHERE {_MATCHED})
"""
_DIFFERENT = f"""
SELECT l.attribute_path, count(*), min(l.step) FROM
(SELECT attribute_path, attribute_type, step, row({_VALUES}) AS value FROM local
 WHERE attribute_type NOT IN ({_FILES}) AND attribute_path NOT IN {_OWN}) l
JOIN (SELECT attribute_path, attribute_type, step, list(row({_VALUES})) AS value FROM other
      GROUP BY ALL) o ON {_MATCHED}
WHERE NOT list_contains(o.value, l.value) GROUP BY 1 ORDER BY 1
"""


def merged(ref: RunRef, local: ArchivedRun, theirs: Other, scratch: Path) -> Iterator[Event]:
    """The events of the run that both are.

    Args:
        local: what the directories hold, exported.
        theirs: what an archive or a server holds, exported; it is not changed.
        scratch: an existing directory on the archive's file system.
    """
    ours, other = told(local), theirs.run
    folder = scratch / "merging"
    with writing(folder):
        folder.mkdir()
    try:
        database = duckdb.connect()
        database.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1")
        database.execute(f"SET temp_directory = {_quoted(folder / 'spilled')}")
        for name, run in (("local", local), ("other", other)):
            _as_one_file(run, folder / f"{name}.parquet")
            database.execute(f"CREATE VIEW {name} AS FROM {_quoted(folder / f'{name}.parquet')}")
        yield from _rows_of(ref, other)
        added = 0
        target = folder / "added.parquet"
        with writing(target):
            database.execute(f"COPY ({_ADDED}) TO {_quoted(target)} (FORMAT parquet)")
        with pq.ParquetFile(target) as read:
            for batch in read.iter_batches(_ROWS):
                added += batch.num_rows
                yield Rows(ref, _renamed(ref, batch))
        conflicts = [
            f"{path} is {kind} in the directory and {stands} in the other, which stands"
            for path, kind, stands in database.execute(_OTHER_TYPE).fetchall()
        ]
        conflicts += [
            f"{path}: {count} value(s) differ, the first at step {step}; the other's stand"
            if step is not None
            else f"{path} has another value in the directory; the other's stands"
            for path, count, step in database.execute(_DIFFERENT).fetchall()
        ]
        database.close()
        files: list[DownloadedFile] = []
        yield from _files(ref, ours, theirs, scratch, files, conflicts)
        added += len(files)
        had = set(theirs.missing_files)
        found = {file.attribute for file in files} | set(ours.missing_files)
        missing = [one for one in ours.missing_files if one not in _attributes(other)]
        said = f"merged with what {theirs.name} had of it: {added} rows are from the directory"
        yield RunDone(
            ref,
            ours.parent or theirs.parent,
            theirs.sys_id,
            sorted({*missing, *(one for one in had if one not in found)}),
            [said, *theirs.notes, *(one for one in ours.notes if one not in theirs.notes)],
            [*(one for one in ours.damage if ONLY_SERVER not in one), *theirs.damage],
            list(dict.fromkeys([*theirs.conflicts, *conflicts])),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _as_one_file(run: ArchivedRun, target: Path) -> None:
    with writing(target), pq.ParquetWriter(target, SCHEMA) as out:
        for batch in run.batches():
            out.write_batch(in_memory_form(batch, SCHEMA))


def _renamed(ref: RunRef, batch: pa.RecordBatch) -> pa.RecordBatch:
    """In the archive's types, which DuckDB does not all keep."""
    table = pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    [one] = table.to_batches() or [pa.RecordBatch.from_pylist([], SCHEMA)]
    for name, value in (("project_id", ref.key.project), ("run_id", ref.key.run)):
        at = SCHEMA.get_field_index(name)
        one = one.set_column(at, SCHEMA.field(at), pa.array([value] * one.num_rows, pa.string()))
    return in_memory_form(one, BATCH_SCHEMA)


def _rows_of(ref: RunRef, run: ArchivedRun) -> Iterator[Event]:
    """Its rows but those of files, whose file may be gone."""
    files = pa.array(sorted(FILE_TYPES))
    for batch in run.batches():
        kept = batch.filter(pc.invert(pc.is_in(batch.column("attribute_type"), files)))
        if kept.num_rows:
            yield Rows(ref, _renamed(ref, kept))


def _files(
    ref: RunRef,
    local: Other,
    other: Other,
    scratch: Path,
    added: list[DownloadedFile],
    conflicts: list[str],
) -> Iterator[Event]:
    """The other's files, and those of the directory that it has not.

    Files of a series of 2.x lie at their order there, not at their step: they are the same where
    their content is.
    """
    ours, theirs = _digests(local), _digests(other)
    by_content = other.of_2x
    names_here, names_there = _names(local), _names(other)
    there: dict[tuple[str, Any], set[str]] = {}
    number = 0
    for row in file_rows(other.run):
        path, series = row["attribute_path"], row["attribute_type"] == "file_series"
        step = None if series and by_content else row["step"]
        there.setdefault((path, step), set()).add(theirs.get(row["file_value"]["path"], ""))
        number += 1
        yield _copied(ref, other.run, row, names_there, scratch / f"merged-{number}")
    for row in file_rows(local.run):
        path, kind = row["attribute_path"], row["attribute_type"]
        digest = ours.get(row["file_value"]["path"], "")
        step = None if kind == "file_series" and by_content else row["step"]
        known = there.get((path, step))
        if known is not None and (kind != "file_series" or not by_content or digest in known):
            if digest not in known and kind in ("file", "file_series"):
                conflicts.append(f"{path} is another file in the directory; the other's stands")
            continue
        number += 1
        event = _copied(ref, local.run, row, names_here, scratch / f"merged-{number}")
        added.append(event)
        yield event


def _copied(
    ref: RunRef,
    run: ArchivedRun,
    row: dict[str, Any],
    names: dict[str, str | None],
    target: Path,
) -> DownloadedFile:
    path = row["file_value"]["path"]
    file = run.file(path)
    with readable(ref, file):
        if stopped := copy_readable(file.open("rb"), target):
            raise stopped
    step, time = row["step"], row["timestamp"]
    return DownloadedFile(
        ref,
        row["attribute_path"],
        row["attribute_type"],
        target,
        Path(path).suffix,
        None if step is None else int(step.scaleb(6)),
        None if time is None else round(time.timestamp() * 1000),
        names.get(path),
    )


def _digests(run: Other) -> dict[str, str]:
    return {one.path: one.digest for one in run.files}


def _names(run: Other) -> dict[str, str | None]:
    return {one.path: one.name for one in run.files}


def _attributes(run: ArchivedRun) -> set[str]:
    return {row["attribute_path"] for row in file_rows(run)}
