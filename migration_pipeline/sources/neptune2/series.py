"""Points of series, page by page, and the files of file series, one by one.

The next page begins after the points received, whatever was asked for, and a series ends at the
server's own count: a server that gives less than asked loses nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from migration_pipeline.archive.schema import (
    float_series_batch,
    make_batch,
    repeated,
)
from migration_pipeline.errors import IncompleteAnswerError
from migration_pipeline.sources.neptune2.attributes import number
from migration_pipeline.sources.neptune2.files import image
from migration_pipeline.sources.neptune2.reader import Reader, of_attribute
from migration_pipeline.sources.reading import Item, Remark, Task
from migration_pipeline.sources.source import Rows, RunRef
from migration_pipeline.sources.steps import to_micros

_IMAGES_PER_TASK = 20
"""At most; a short series is a task for each, so that all workers share it."""
_NO_POINTS = "{count} series have no points: {list}"
_INDEX_AS_STEP = (
    "{count} file series have the index of each file as its step, because 2.x does not give the "
    "step that it was logged at: {list}"
)
_PAGE = pa.schema(
    [
        ("totalItemCount", pa.int64()),
        (
            "values",
            pa.list_(
                pa.struct(
                    [
                        ("step", pa.float64()),
                        ("timestampMillis", pa.int64()),
                        ("value", pa.float64()),
                    ]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True)
class Points:
    """A page: how many points the series has, how many of them came, and those with a value."""

    total: int
    received: int
    batch: pa.RecordBatch


class _Series(Task):
    """A series of one run; `operation` is what gives its pages."""

    operation = ""

    def __init__(self, reader: Reader, run: RunRef, path: str) -> None:
        super().__init__([run])
        self._reader, self._run, self._path = reader, run, path
        self._offset = 0

    def advance(self) -> Iterator[Item]:
        content = self._reader.points(self._run, self._path, self.operation, self._offset)
        try:
            page = self._parsed(content)
        except (KeyError, TypeError, ValueError) as error:  # pa.ArrowInvalid is a ValueError
            raise IncompleteAnswerError(
                f"{self._place}: an answer of {len(content)} bytes cannot be read as points "
                f"({type(error).__name__}: {error})"
            ) from error
        if not page.received and self._offset < page.total:
            raise IncompleteAnswerError(
                f"{self._place}: the server counts {page.total} points and gives none after "
                f"{self._offset}"
            )
        self._offset += page.received
        if page.batch.num_rows:
            yield Rows(self._run, page.batch)
        if not page.total:
            yield Remark(self._run, _NO_POINTS, self._path)
        self.finished = self._offset >= page.total

    @property
    def _place(self) -> str:
        return f"{self._reader.place(self._run)}, series {self._path!r}"

    def _parsed(self, content: bytes) -> Points:
        raise NotImplementedError


class FloatSeries(_Series):
    """Parsed by Arrow, without a Python object a point."""

    operation = "getFloatSeriesValues"

    def _parsed(self, content: bytes) -> Points:
        try:
            total, points = _columns(content)
        except pa.ArrowInvalid:  # words for numbers, or no JSON at all
            return self._parsed_slowly(content)
        steps, times, values = (points.field(i) for i in range(3))
        if points.null_count or any(column.null_count for column in (steps, times, values)):
            return self._parsed_slowly(content)
        batch = self._batch(np.asarray(steps), np.asarray(times), np.asarray(values))
        return Points(total, len(points), batch)

    def _parsed_slowly(self, content: bytes) -> Points:
        page = json.loads(content)
        points = [
            (float(one["step"]), int(one["timestampMillis"]), value)
            for one in page["values"]
            if (value := number(one["value"])) is not None
        ]
        columns = zip(*points, strict=True) if points else ((), (), ())
        steps, times, values = columns
        batch = self._batch(
            np.array(steps, np.float64), np.array(times, np.int64), np.array(values, np.float64)
        )
        return Points(int(page["totalItemCount"]), len(page["values"]), batch)

    def _batch(self, steps: Any, times: Any, values: Any) -> pa.RecordBatch:
        key = self._run.key
        paths = repeated(self._path, len(steps))
        micros = to_micros(self._run, self._path, steps)
        return float_series_batch(key.project, key.run, paths, micros, times, values)


class StringSeries(_Series):
    """Text, a Python object a point."""

    operation = "getStringSeriesValues"

    def _parsed(self, content: bytes) -> Points:
        page = json.loads(content)
        points = [one for one in page["values"] if one["value"] is not None]
        steps = np.array([float(one["step"]) for one in points], np.float64)
        micros = to_micros(self._run, self._path, steps)
        rows = [
            {
                "path": self._path,
                "type": "string_series",
                "value": one["value"],
                "step": int(step),
                "timestamp": int(one["timestampMillis"]),
            }
            for one, step in zip(points, micros, strict=True)
        ]
        key = self._run.key
        batch = make_batch(key.project, key.run, rows)
        return Points(int(page["totalItemCount"]), len(page["values"]), batch)


def _columns(content: bytes) -> tuple[int, pa.StructArray]:
    table = pj.read_json(
        io.BytesIO(content),
        pj.ReadOptions(use_threads=False, block_size=len(content) + 1),
        pj.ParseOptions(_PAGE, newlines_in_values=True, unexpected_field_behavior="ignore"),
    )
    if table.num_rows != 1 or any(column.null_count for column in table.columns):
        raise pa.ArrowInvalid("it is not one object with a count and points")
    return table["totalItemCount"][0].as_py(), table["values"].combine_chunks().flatten()


class Images(Task):
    """A series of files: how many there are; then each by its index."""

    def __init__(self, reader: Reader, run: RunRef, path: str) -> None:
        super().__init__([run])
        self._reader, self._run, self._path = reader, run, path

    def advance(self) -> Iterator[Item]:
        reader, run = self._reader, self._run
        asked = of_attribute(run, self._path, offset=0, limit=1)
        answer = reader.client.json("getImageSeriesValues", reader.place(run), asked)
        try:
            total = int(answer["totalItemCount"])
        except (KeyError, TypeError, ValueError) as error:
            raise IncompleteAnswerError(
                f"{reader.place(run)}, series {self._path!r}: the answer has no count of files"
            ) from error
        yield Remark(run, _INDEX_AS_STEP if total else _NO_POINTS, self._path)
        size = max(1, min(_IMAGES_PER_TASK, total // _IMAGES_PER_TASK))
        for start in range(0, total, size):
            yield _SomeImages(reader, run, self._path, start, min(start + size, total))
        self.finished = True


class _SomeImages(Task):
    """The files of a series from one index to another."""

    def __init__(self, reader: Reader, run: RunRef, path: str, start: int, stop: int) -> None:
        super().__init__([run])
        self._reader, self._run, self._path = reader, run, path
        self._next, self._stop = start, stop

    def advance(self) -> Iterator[Item]:
        found = image(self._reader, self._run, self._path, self._next)
        self._next += 1
        self.finished = self._next == self._stop
        yield found
