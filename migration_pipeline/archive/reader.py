"""Reads parts as record batches of bounded size.

The text columns that repeat on every row come as dictionaries, so a part is never held as millions
of equal strings. A part whose columns are not the archive's is refused by name: guessing at another
layout would carry the guess over to the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import GENERATION_KEY
from migration_pipeline.archive.schema import (
    BATCH_SCHEMA,
    KEY_COLUMNS,
    SCHEMA,
    in_memory_form,
)
from migration_pipeline.archive.store_files import parquet_batches, parquet_file
from migration_pipeline.errors import DamagedPartError

BATCH_ROWS = 65_536


def read_parts(
    parts: Sequence[Location],
    *,
    columns: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
    generation: str = "",
) -> Iterator[pa.RecordBatch]:
    """Batches of `BATCH_SCHEMA` (or of `columns`, in that order), part by part.

    Args:
        generation: what all parts must carry; empty: anything.

    Raises:
        DamagedPartError: a part is not Parquet, is cut off, has other columns, or is of another
            export than the first one.
    """
    wanted = list(columns) if columns is not None else BATCH_SCHEMA.names
    read = wanted if types is None or "attribute_type" in wanted else [*wanted, "attribute_type"]
    schema = pa.schema([BATCH_SCHEMA.field(name) for name in wanted])
    for part in parts:
        with _open(part, generation) as file:
            try:
                for batch in parquet_batches(file, part, batch_rows, read):
                    if types is not None:
                        kinds = batch.column(batch.schema.get_field_index("attribute_type"))
                        batch = batch.filter(pc.is_in(kinds.cast(pa.string()), pa.array(types)))
                    if batch.num_rows:
                        yield in_memory_form(batch.select(wanted), schema)
            except (pa.ArrowException, OSError) as error:
                raise DamagedPartError(str(part), f"its rows cannot be read ({error})") from error


def read_first_value(part: Location, column: str) -> object:
    """The first value of a column, without reading the rest."""
    for batch in read_parts([part], columns=[column], batch_rows=1):
        return batch.column(0)[0].as_py()
    raise DamagedPartError(str(part), "it has no rows")


def _open(part: Location, generation: str) -> pq.ParquetFile:
    try:
        file = parquet_file(part, read_dictionary=list(KEY_COLUMNS))
    except KeyError as error:  # of a column that was to be read as a dictionary
        raise DamagedPartError(str(part), f"it has no column {_named(error)!r}") from error
    except (pa.ArrowException, OSError) as error:
        raise DamagedPartError(str(part), f"it is not a Parquet file ({error})") from error
    reason = schema_difference(file.schema_arrow)
    if generation and (file.metadata.metadata or {}).get(GENERATION_KEY) != generation.encode():
        reason = "it is of another export of the run than part 0"
    if reason:
        file.close()
        raise DamagedPartError(str(part), reason)
    return file


def _named(error: KeyError) -> str:
    (name,) = error.args
    return name.decode() if isinstance(name, bytes) else str(name)


def schema_difference(schema: pa.Schema) -> str:
    """What is not the archive's in the schema of a part; empty: nothing."""
    for field in SCHEMA:
        index = schema.get_field_index(field.name)
        if index < 0:
            return f"it has no column {field.name!r}"
        found = schema.field(index).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        if not found.equals(field.type):
            return f"column {field.name!r} is {found}, not {field.type}"
    return ""
