"""The archive's columns and attribute types.

`SCHEMA` is what stands in a Parquet file, equal to neptune-exporter's, so that either tool reads
what the other wrote. `BATCH_SCHEMA` is the same in memory, with the four text columns that repeat
on every row as dictionaries: a batch of a million points then holds each path once, and neither
hashing nor comparing has to touch a string a million times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

STEP_TYPE = pa.decimal128(18, 6)
TIME_TYPE = pa.timestamp("ms", tz="UTC")
MICROS = 1_000_000
"""Steps are whole numbers of millionths."""

_VALUE_FIELDS = [
    pa.field("step", STEP_TYPE),
    pa.field("timestamp", TIME_TYPE),
    pa.field("int_value", pa.int64()),
    pa.field("float_value", pa.float64()),
    pa.field("string_value", pa.string()),
    pa.field("bool_value", pa.bool_()),
    pa.field("datetime_value", TIME_TYPE),
    pa.field("string_set_value", pa.list_(pa.field("element", pa.string()))),
    pa.field("file_value", pa.struct([pa.field("path", pa.string())])),
    pa.field(
        "histogram_value",
        pa.struct(
            [
                pa.field("type", pa.string()),
                pa.field("edges", pa.list_(pa.field("element", pa.float64()))),
                pa.field("values", pa.list_(pa.field("element", pa.float64()))),
            ]
        ),
    ),
]
KEY_COLUMNS = ("project_id", "run_id", "attribute_path", "attribute_type")
SCHEMA = pa.schema([pa.field(name, pa.string()) for name in KEY_COLUMNS] + _VALUE_FIELDS)
BATCH_SCHEMA = pa.schema(
    [pa.field(name, pa.dictionary(pa.int32(), pa.string())) for name in KEY_COLUMNS] + _VALUE_FIELDS
)

VALUE_COLUMN = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
    "float_series": "float_value",
    "string_series": "string_value",
    "histogram_series": "histogram_value",
    "file": "file_value",
    "file_series": "file_value",
    "artifact": "file_value",
    "file_set": "file_value",
}
"""Attribute type → the one column that holds its value."""

SERIES_TYPES = frozenset(t for t in VALUE_COLUMN if t.endswith("_series"))
FILE_TYPES = frozenset(t for t, column in VALUE_COLUMN.items() if column == "file_value")
PARAMETER_TYPES = frozenset(VALUE_COLUMN) - SERIES_TYPES - FILE_TYPES


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    """A dictionary column of `rows` times the same text."""
    indices = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], type=pa.string()))


def without_times(batch: pa.RecordBatch, where: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The batch with no time where the mask is true."""
    if not where.any():
        return batch
    at = batch.schema.get_field_index("timestamp")
    times = batch.column(at)
    masked = pa.array(np.asarray(times.cast(pa.int64())), type=pa.int64(), mask=where)
    return batch.set_column(at, batch.schema.field(at), masked.cast(times.type))


def steps_from_micros(
    micros: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """int64 millionths → decimal(18,6), exactly. `mask` is true where there is no step."""
    wide = np.empty((len(micros), 2), dtype=np.int64)
    wide[:, 0] = micros
    wide[:, 1] = micros >> 63
    validity = None if mask is None or not mask.any() else pa.array(~mask).buffers()[1]
    return pa.Array.from_buffers(STEP_TYPE, len(micros), [validity, pa.py_buffer(wide)])


def micros_from_steps(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """decimal(18,6) → int64 millionths and a mask that is true where there is no step."""
    mask = np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), dtype=bool)
    data = column.buffers()[1]
    if data is None:
        return np.zeros(len(column), dtype=np.int64), mask
    wide = np.frombuffer(data, dtype=np.int64).reshape(-1, 2)
    micros = wide[column.offset : column.offset + len(column), 0].copy()
    micros[mask] = 0
    return micros, mask


def float_to_micros(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Steps as doubles (what the 3.x protocol sends) → the nearest millionth.

    The whole part is split off first: `steps * 1e6` alone rounds above 4.5e9.
    """
    whole = np.floor(steps)
    micros: npt.NDArray[np.int64] = whole.astype(np.int64)
    micros *= MICROS
    fractions = steps - whole
    if fractions.any():
        micros += np.rint(fractions * MICROS).astype(np.int64)
    return micros


def make_batch(project: str, run: str, rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """A batch from Python rows `{"path", "type", "value", "step"?, "timestamp"?}`.

    For parameters, text, histograms and files; float series have a faster way. `step` is int64
    millionths, `timestamp` int64 milliseconds since 1970 UTC, a datetime value likewise, a file
    value the path, a histogram value `{"type", "edges", "values"}`.
    """
    columns: dict[str, list[Any]] = {field.name: [None] * len(rows) for field in _VALUE_FIELDS}
    mask = np.ones(len(rows), dtype=bool)
    micros = np.zeros(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        column = VALUE_COLUMN[row["type"]]
        columns[column][i] = {"path": row["value"]} if column == "file_value" else row["value"]
        columns["timestamp"][i] = row.get("timestamp")
        if (step := row.get("step")) is not None:
            micros[i], mask[i] = step, False
    arrays = {field.name: pa.array(columns[field.name], type=field.type) for field in _VALUE_FIELDS}
    arrays["step"] = steps_from_micros(micros, mask)
    return pa.RecordBatch.from_arrays(
        [
            repeated(project, len(rows)),
            repeated(run, len(rows)),
            pa.array([r["path"] for r in rows], type=pa.string()).dictionary_encode(),
            pa.array([r["type"] for r in rows], type=pa.string()).dictionary_encode(),
            *(arrays[field.name] for field in _VALUE_FIELDS),
        ],
        schema=BATCH_SCHEMA,
    )


def in_memory_form(batch: pa.RecordBatch, schema: pa.Schema = BATCH_SCHEMA) -> pa.RecordBatch:
    """The batch with the types of `schema`, which has its columns in the same order."""
    if batch.schema.equals(schema):
        return batch
    return pa.RecordBatch.from_arrays(
        [
            column if column.type.equals(field.type) else _cast(column, field.type)
            for column, field in zip(batch.columns, schema, strict=True)
        ],
        schema=schema,
    )


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    return column.cast(kind)


_empty_columns: dict[str, pa.Array] = {}


def _nulls(field: pa.Field, rows: int) -> pa.Array:
    """A column without a value, cut from one that is kept: its zeros are not written anew."""
    column = _empty_columns.get(field.name)
    if column is None or len(column) < rows:
        column = _empty_columns[field.name] = pa.nulls(1 << (rows - 1).bit_length(), field.type)
    return column.slice(0, rows)


class FloatSeriesBuilder:
    """Float points of one run, written in place: steps, times and values of a known number.

    The arrays lie in Arrow's memory pool, which gives large blocks back to the system; the C
    library would keep them.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._buffers = [pa.allocate_buffer(width * rows) for width in (16, 8, 8)]
        steps, timestamps, values = self._buffers
        self._wide = np.frombuffer(steps, dtype=np.int64).reshape(-1, 2)
        self.timestamps = np.frombuffer(timestamps, dtype=np.int64)
        """ms since 1970 UTC."""
        self.values = np.frombuffer(values, dtype=np.float64)

    def set_micros(self, where: slice, micros: npt.NDArray[np.int64]) -> None:
        """Sets the steps, in millionths, of some rows."""
        self._wide[where, 0] = micros
        self._wide[where, 1] = micros >> 63

    def batch(self, project: str, run: str, paths: pa.DictionaryArray) -> pa.RecordBatch:
        """The batch; `paths` has an entry a row."""
        steps, timestamps, values = self._buffers
        given = {
            "step": pa.Array.from_buffers(STEP_TYPE, self.rows, [None, steps]),
            "timestamp": pa.Array.from_buffers(TIME_TYPE, self.rows, [None, timestamps]),
            "float_value": pa.Array.from_buffers(pa.float64(), self.rows, [None, values]),
        }
        return pa.RecordBatch.from_arrays(
            [
                repeated(project, self.rows),
                repeated(run, self.rows),
                paths,
                repeated("float_series", self.rows),
                *(
                    given[f.name] if f.name in given else _nulls(f, self.rows)
                    for f in _VALUE_FIELDS
                ),
            ],
            schema=BATCH_SCHEMA,
        )


def float_series_batch(
    project: str,
    run: str,
    paths: pa.DictionaryArray,
    micros: npt.NDArray[np.int64],
    timestamps: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> pa.RecordBatch:
    """A batch of float points; all four arrays have the same length, times in ms since 1970."""
    builder = FloatSeriesBuilder(len(micros))
    builder.set_micros(slice(None), micros)
    builder.timestamps[:] = timestamps
    builder.values[:] = values
    return builder.batch(project, run, paths)
