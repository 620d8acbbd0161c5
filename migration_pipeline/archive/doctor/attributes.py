"""What the rows of one run amount to, attribute by attribute, added up batch by batch.

All counting is done on whole columns: rows are sorted by attribute (stably, so their order within
an attribute stays), and each attribute is then one stretch of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline.archive.schema import (
    FILE_TYPES,
    PARAMETER_TYPES,
    VALUE_COLUMN,
    micros_from_steps,
)

Ints = npt.NDArray[np.int64]
NO_STEP = np.iinfo(np.int64).min
"""Stands for "no step seen yet" in `Attributes.step_max`."""
_EXACT = 2**53
SCHEMA_OF_COUNTS = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("type", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("valued", pa.int64()),
        pa.field("step_max", pa.int64()),
    ]
)
SCHEMA_OF_CLAIMS = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("attribute", pa.string()),
        pa.field("step", pa.int64()),
    ]
)
"""Files that rows name; steps in millionths."""


@dataclass
class Attributes:
    """Counts of all attributes of a run; the arrays have an entry an attribute."""

    names: dict[tuple[str, str], int] = field(default_factory=dict)
    """(path, type) → index into the arrays."""
    rows: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    valued: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows that have the value of their type."""
    step_max: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    step_last: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    backward: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """How often a step is less than the one before."""
    repeated: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """How often a step is that of another row: all of them while steps do not go backward."""
    time_min: int | None = None
    time_max: int | None = None
    """Of all points, in ms since 1970."""
    system: dict[str, Any] = field(default_factory=dict)
    """sys/… → value, of those that are no series and have one; datetimes in ms since 1970."""
    rounded: list[tuple[str, int]] = field(default_factory=list)
    """Integers beyond 2**53 that are exactly a double."""
    claims: list[pa.RecordBatch] = field(default_factory=list)
    """Of `SCHEMA_OF_CLAIMS`: the files that rows name."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds a batch of the archive's columns; value columns without any value may lack."""
        batch = _without_padding(batch)
        if not batch.num_rows:
            return
        self._note_times(batch)
        paths, types = (_dictionary(batch.column(n)) for n in ("attribute_path", "attribute_type"))
        codes = _codes(paths, types)
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(ordered)) + 1))
        stretches = _names(ordered[starts], paths, types)
        at = self._indices(stretches)
        counts = np.diff(np.append(starts, len(order)))
        self.rows[at] += counts
        valued = _has_value(batch, {kind for _, kind in stretches})
        self.valued[at] += np.add.reduceat(valued[order].astype(np.int64), starts)
        self._add_steps(batch, order, starts, counts, at)
        kinds = {kind for _, kind in stretches}
        if kinds & PARAMETER_TYPES:
            self._add_parameters(batch, kinds)
        if kinds & FILE_TYPES:
            self._add_claims(batch)

    def counts(self) -> pa.RecordBatch:
        """All attributes as `SCHEMA_OF_COUNTS`; a step that never was is null."""
        return pa.RecordBatch.from_arrays(
            [
                pa.array([path for path, _ in self.names], pa.string()),
                pa.array([kind for _, kind in self.names], pa.string()),
                pa.array(self.rows),
                pa.array(self.valued),
                pa.array(self.step_max, mask=self.step_max == NO_STEP),
            ],
            schema=SCHEMA_OF_COUNTS,
        )

    def where(self, condition: npt.NDArray[np.bool_]) -> Iterator[tuple[str, str, int]]:
        """(path, type, index) of the attributes for which an array of them is true."""
        names = list(self.names)
        for index in np.flatnonzero(condition):
            yield (*names[int(index)], int(index))

    def of_types(self, *types: str) -> npt.NDArray[np.bool_]:
        return np.array([kind in types for _, kind in self.names], dtype=bool)

    def _indices(self, names: list[tuple[str, str]]) -> npt.NDArray[np.intp]:
        at = np.array([self.names.setdefault(n, len(self.names)) for n in names], dtype=np.intp)
        if (new := len(self.names) - len(self.rows)) > 0:
            for name in ("rows", "valued", "backward", "repeated"):
                setattr(self, name, np.append(getattr(self, name), np.zeros(new, np.int64)))
            for name in ("step_max", "step_last"):
                setattr(self, name, np.append(getattr(self, name), np.full(new, NO_STEP)))
        return at

    def _add_steps(
        self,
        batch: pa.RecordBatch,
        order: npt.NDArray[np.intp],
        starts: npt.NDArray[np.intp],
        counts: Ints,
        at: npt.NDArray[np.intp],
    ) -> None:
        column = batch.column("step")
        if column.null_count == len(column):
            return
        steps, none = micros_from_steps(column)
        steps[none] = NO_STEP
        steps = steps[order]
        before = np.empty_like(steps)
        before[1:] = steps[:-1]
        before[starts] = self.step_last[at]
        have = (steps != NO_STEP) & (before != NO_STEP)
        backward, same = have & (steps < before), have & (steps == before)
        if backward.any():
            same = _repeated(np.repeat(np.arange(len(starts)), counts), steps)
        self.backward[at] += np.add.reduceat(backward.astype(np.int64), starts)
        self.repeated[at] += np.add.reduceat(same.astype(np.int64), starts)
        self.step_max[at] = np.maximum(self.step_max[at], np.maximum.reduceat(steps, starts))
        self.step_last[at] = steps[np.append(starts[1:], len(steps)) - 1]

    def _note_times(self, batch: pa.RecordBatch) -> None:
        column = batch.column("timestamp")
        if column.null_count == len(column):
            return
        bounds = pc.min_max(column.cast(pa.int64())).as_py()
        low, high = bounds["min"], bounds["max"]
        self.time_min = low if self.time_min is None else min(low, self.time_min)
        self.time_max = high if self.time_max is None else max(high, self.time_max)

    def _add_parameters(self, batch: pa.RecordBatch, kinds: set[str]) -> None:
        types = batch.column("attribute_type").cast(pa.string())
        rows = batch.filter(pc.is_in(types, pa.array(sorted(PARAMETER_TYPES))))
        paths = rows.column("attribute_path").to_pylist()
        own = rows.column("attribute_type").to_pylist()
        if "int" in kinds:
            for i, value in enumerate(rows.column("int_value").to_pylist()):
                if value is not None and abs(value) > _EXACT and int(float(value)) == value:
                    self.rounded.append((paths[i], value))
        for i, path in enumerate(paths):
            if path is not None and path.startswith("sys/"):
                value = rows.column(VALUE_COLUMN[own[i]])[i]
                if value.is_valid:  # years beyond 9999 are no datetimes of Python's
                    self.system[path] = value.value if own[i] == "datetime" else value.as_py()

    def _add_claims(self, batch: pa.RecordBatch) -> None:
        paths = pc.struct_field(batch.column("file_value"), "path")
        micros, none = micros_from_steps(batch.column("step"))
        claims = pa.RecordBatch.from_arrays(
            [
                paths,
                batch.column("attribute_path").cast(pa.string()),
                pa.array(micros, mask=none),
            ],
            schema=SCHEMA_OF_CLAIMS,
        )
        self.claims.append(claims.filter(pc.is_valid(paths)))


def _without_padding(batch: pa.RecordBatch) -> pa.RecordBatch:
    """neptune-exporter pads series of files with rows that have neither a file nor a time.

    There is one for each step of any other such series; they stand for nothing.
    """
    if "file_value" not in batch.schema.names or batch.column("timestamp").null_count == 0:
        return batch
    own = pc.equal(batch.column("attribute_type").cast(pa.string()), "file_series")
    if not pc.any(own).as_py():
        return batch
    no_file = pc.is_null(pc.struct_field(batch.column("file_value"), "path"))
    padding = pc.and_(own, pc.and_(no_file, pc.is_null(batch.column("timestamp"))))
    return batch.filter(pc.invert(pc.fill_null(padding, False)))


def _codes(paths: pa.DictionaryArray, types: pa.DictionaryArray) -> npt.NDArray[Any]:
    """A number for the attribute of each row.

    16 bits where they suffice: numpy then sorts in linear time.
    """
    width = len(types.dictionary)
    small = len(paths.dictionary) * width <= np.iinfo(np.int16).max
    kind: Any = np.int16 if small else np.int64
    codes: npt.NDArray[Any] = np.asarray(paths.indices).astype(kind)
    codes *= kind(width)
    codes += np.asarray(types.indices).astype(kind)
    return codes


def _names(
    codes: npt.NDArray[Any], paths: pa.DictionaryArray, types: pa.DictionaryArray
) -> list[tuple[str, str]]:
    """What numbers of `_codes` stand for."""
    own_paths, own_types = np.divmod(codes, len(types.dictionary))
    return list(
        zip(
            paths.dictionary.take(pa.array(own_paths)).to_pylist(),
            types.dictionary.take(pa.array(own_types)).to_pylist(),
            strict=True,
        )
    )


def _dictionary(column: pa.Array) -> pa.DictionaryArray:
    if column.null_count:
        column = column.cast(pa.string()).fill_null("")
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _has_value(batch: pa.RecordBatch, kinds: set[str]) -> npt.NDArray[np.bool_]:
    """Which rows have the value of their type."""
    if len(kinds) == 1:
        return _valid(batch, next(iter(kinds)))
    types = _dictionary(batch.column("attribute_type"))
    own = np.asarray(types.indices)
    valued = np.zeros(batch.num_rows, dtype=bool)
    for code, kind in enumerate(types.dictionary.to_pylist()):
        if kind in kinds:
            rows = own == code
            valued[rows] = _valid(batch, kind)[rows]
    return valued


def _valid(batch: pa.RecordBatch, kind: str) -> npt.NDArray[np.bool_]:
    name = VALUE_COLUMN.get(kind)
    if name is None or name not in batch.schema.names:
        return np.zeros(batch.num_rows, dtype=bool)
    column = batch.column(name)
    if name == "file_value":
        column = pc.struct_field(column, "path")
    return np.asarray(column.is_valid())


def _repeated(groups: npt.NDArray[np.intp], steps: Ints) -> npt.NDArray[np.bool_]:
    """Which rows have the step of another row of their group, one of each set left out."""
    order = np.lexsort((steps, groups))
    same = np.zeros(len(steps), dtype=bool)
    same[order[1:]] = (
        (np.diff(steps[order]) == 0) & (np.diff(groups[order]) == 0) & (steps[order[1:]] != NO_STEP)
    )
    return same
