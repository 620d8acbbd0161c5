"""Looks at a run without a manifest: nothing says what it should be, so all of it is read.

Columns that a row group cannot have values in, by the one attribute type that its statistics name,
are not read; that is most of them. What is found here concerns the run alone; what only comparison
with other runs shows is `evidence`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_pipeline.archive.doctor.attributes import Attributes
from migration_pipeline.archive.doctor.diagnosis import Reason
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.doctor.files import look_at_files
from migration_pipeline.archive.doctor.on_disk import RunOnDisk
from migration_pipeline.archive.doctor.rules import because, counted, listed, some
from migration_pipeline.archive.reader import BATCH_ROWS, schema_difference
from migration_pipeline.archive.schema import KEY_COLUMNS, PARAMETER_TYPES, SCHEMA, VALUE_COLUMN
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_files import arrow_file

_ALL: list[str] = SCHEMA.names
_ALWAYS = ("attribute_path", "attribute_type", "step", "timestamp")
_HOUR = 3_600_000
_MOST_HOURS = 14
_BUFFER = 1 << 20
_START_UP = 600_000
"""ms within which a run logs its first point, in a comparison of whole hours."""
_GRACE = 60_000
READ_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading broken Parquet raises."""


def look_at_adopted(run: RunOnDisk, facts: RunFacts, footer_of_0: pq.FileMetaData | None) -> None:
    """Reads all parts and notes what they say and what is wrong with them.

    Args:
        footer_of_0: of part 0, if it was read before.
    """
    found = Attributes()
    names: set[tuple[str, str]] = set()
    for number in run.numbers:
        try:
            footer = footer_of_0 if number == 0 else None
            facts.rows += _read_part(run, number, footer, found, names, facts.reasons)
        except READ_ERRORS as error:
            facts.reasons.append(unreadable(number, error))
    facts.reasons += _identity(run, facts, names)
    facts.system, facts.time_max = found.system, found.time_max
    facts.attributes, facts.claims = found.counts(), found.claims
    facts.reasons += _values(found)
    facts.reasons += _steps(found)
    facts.reasons += _times(found)
    paths = sorted({path for claim in found.claims for path in claim.column("file").to_pylist()})
    seen = look_at_files(facts.files_root, paths)
    facts.files, facts.files_missing = len(paths), len(seen.missing)
    facts.directories = seen.directories
    facts.reasons += seen.reasons(len(paths))


def unreadable(number: int, error: Exception) -> Reason:
    return because("part_unreadable", f"part {number} cannot be read ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _read_part(
    run: RunOnDisk,
    number: int,
    footer: pq.FileMetaData | None,
    found: Attributes,
    names: set[tuple[str, str]],
    reasons: list[Reason],
) -> int:
    """Adds the rows of a part; returns how many it has.

    Raises:
        READ_ERRORS: the part cannot be read, or not to its end.
    """
    part = run.part(number)
    with arrow_file(part) as source:
        footer = footer or pq.read_metadata(source)
        if difference := schema_difference(footer.schema.to_arrow_schema()):
            reasons.append(because("other_schema", f"part {number}: {difference}"))
            return 0
        file = pq.ParquetFile(
            source,
            metadata=footer,
            read_dictionary=list(KEY_COLUMNS),
            pre_buffer=isinstance(part, StorePath),
            buffer_size=_BUFFER,
        )
        for group in range(file.metadata.num_row_groups):
            columns = _columns(file.metadata.row_group(group))
            batches = file.iter_batches(BATCH_ROWS, [group], columns, use_threads=False)
            for batch in batches:
                names.update(_owners(batch))
                found.add(batch)
        return int(file.metadata.num_rows)


def _columns(group: pq.RowGroupMetaData) -> list[str]:
    """What to read of a row group: of rows of one type only that type's value column."""
    at = next(i for i in range(group.num_columns) if _column_name(group, i) == "attribute_type")
    said = group.column(at).statistics
    if said is None or not said.has_min_max or said.min != said.max or said.null_count:
        return _ALL
    value = VALUE_COLUMN.get(said.min)
    return [*KEY_COLUMNS[:2], *_ALWAYS, value] if value else _ALL


def _column_name(group: pq.RowGroupMetaData, index: int) -> str:
    return str(group.column(index).path_in_schema)


def _owners(batch: pa.RecordBatch) -> Iterator[tuple[str, str]]:
    """(project, run) of the rows; a batch has one of each unless something is wrong."""
    projects, runs = (_distinct(batch.column(name)) for name in KEY_COLUMNS[:2])
    yield from ((str(project), str(run)) for project in projects for run in runs)


def _distinct(column: pa.DictionaryArray) -> list[str | None]:
    if len(column.dictionary) == 1 and not column.null_count:
        return [column.dictionary[0].as_py()]
    distinct: list[str | None] = pc.unique(column).to_pylist()
    return distinct


def _identity(run: RunOnDisk, facts: RunFacts, names: set[tuple[str, str]]) -> Iterator[Reason]:
    """Whose rows these are; sets the id of the run when its rows say it."""
    if not names:
        if not facts.reasons:
            yield because("no_rows", f"{len(run.numbers)} part(s) without a row")
        return
    ids = sorted({run_id for _, run_id in names})
    named = [run_id for run_id in ids if run.is_named_as(run_id)]
    facts.named = None if named else facts.key
    facts.key = replace(facts.key, run=(named or ids)[0])
    if len(named) != len(ids):
        others = some([run_id for run_id in ids if run_id not in named])
        yield because("foreign_part", f"parts named {run.stem!r} hold rows of run(s) {others}")
    if strange := sorted({project for project, _ in names} - {facts.key.project}):
        yield because("foreign_part", f"its rows are of project(s) {some(strange)}")


def _values(found: Attributes) -> Iterator[Reason]:
    """Points without a value, rounded integers; parameters without one are `evidence`'s."""
    missing = found.rows - found.valued
    of_numbers = (missing > 0) & found.of_types("float_series")
    if nan := [(path, int(missing[i])) for path, _, i in found.where(of_numbers)]:
        text = f"{len(nan)} series have points without a value: {counted(nan)}"
        yield because("nan_became_null", text)
    series = found.of_types("string_series", "histogram_series", "file_series")
    known = found.of_types(*VALUE_COLUMN)
    of_others = (missing > 0) & (series | ~known)
    if none := [(path, int(missing[i])) for path, _, i in found.where(of_others)]:
        text = f"{len(none)} attributes have rows without a value: {counted(none)}"
        yield because("rows_without_value", text)
    if found.rounded:
        text = f"{len(found.rounded)} integers may have lost their last bits: "
        shown = [f"{path!r} = {value}" for path, value in found.rounded[:5]]
        text += listed(shown, len(found.rounded))
        yield because("integer_rounded", text)


def _steps(found: Attributes) -> Iterator[Reason]:
    """Order and repetition of the steps of each series; repetition of parameters.

    Series of files have no order: neptune-exporter writes them as their downloads end.
    """
    unordered = (found.backward > 0) & ~found.of_types("file_series")
    if back := [(path, int(found.backward[i])) for path, _, i in found.where(unordered)]:
        text = f"steps of {len(back)} series go backward: {counted(back)}"
        yield because("unordered_rows", text)
    again = found.repeated.copy()
    once = found.of_types(*PARAMETER_TYPES, "file", "artifact", "file_set")
    again[once] = found.rows[once] - 1
    if twice := [(path, int(again[i])) for path, _, i in found.where(again > 0)]:
        text = f"rows of {len(twice)} attributes have the step of another one: {counted(twice)}"
        yield because("duplicate_rows", text)


def _times(found: Attributes) -> Iterator[Reason]:
    """Points that begin whole hours from the run's creation, where that cannot be as it was.

    neptune-exporter takes the 2.x client's local times for UTC: west of Greenwich points are then
    older than their run, east of it they are newer than its last change.
    """
    created, changed = (
        found.system.get(f"sys/{name}") for name in ("creation_time", "modification_time")
    )
    first, last = found.time_min, found.time_max
    if not isinstance(created, int) or first is None or last is None:
        return
    hours, after = divmod(first - created + 5_000, _HOUR)
    if not hours or abs(hours) > _MOST_HOURS or after > _START_UP:
        return
    changed = changed if isinstance(changed, int) else None
    too_late = changed is not None and last > changed + _GRACE
    fits = changed is None or last - hours * _HOUR <= changed + _GRACE
    if fits and (hours < 0 or too_late):
        side = "before" if hours < 0 else "after"
        text = f"its points begin {abs(hours)} h {side} sys/creation_time"
        yield because(
            "times_shifted", f"{text} and fit between it and the last change without that"
        )
