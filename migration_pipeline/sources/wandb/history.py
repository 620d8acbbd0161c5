"""Rows of W&B's history, or of its system metrics, into points.

A row is a JSON object: `_step`, `_timestamp` and whatever was logged, nested as it was logged.
Numbers, and the words that stand for NaN and infinities (JSON has none), are float series; text is
a string series; histograms are histogram series; media and tables name a file of the run, which
becomes a file series; lists and other objects are JSON text.

A key whose values are of several kinds keeps its path for the kind that came first; the others get
`<path>/as_<kind>`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.schema import (
    MICROS,
    float_series_batch,
    make_batch,
    without_times,
)
from migration_pipeline.errors import StepOutOfRangeError
from migration_pipeline.sources.reading import Item, Remark, Selected
from migration_pipeline.sources.source import Rows, RunRef, Selection
from migration_pipeline.sources.wandb.names import Paths, monitored

Row = dict[str, Any]
WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How W&B writes what JSON cannot."""
_KIND_NAMES = {
    "float_series": "number",
    "string_series": "text",
    "histogram_series": "histogram",
    "file_series": "file",
}
_STEPS_END = 9_200_000_000_000
_NO_TIME = -(2**63)

LARGE = (
    "{count} integers beyond 2**53 are the nearest doubles in their series, and exact as text in "
    "`<series>/exact`: {list}"
)
BOOLEANS = "booleans in history are 1 and 0: {list}"
NULLS = "{count} values of history were null and have no point: {list}"
KINDS = "values of another kind than the first one of their key: {list}"
RENAMED = "keys that would meet others have a digest behind their name: {list}"
MILLISECONDS = "times of points are kept to the millisecond"
STEPLESS = "{count} rows of history had no step and have that of the row before"


@dataclass(frozen=True)
class Medium:
    """A file of the run that a row names: the path of its attribute, step in millionths, ms."""

    attribute: str
    name: str
    step: int
    timestamp: int | None


@dataclass
class _Page:
    """Points that wait to become batches."""

    paths: list[str] = field(default_factory=list)
    micros: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    media: list[Medium] = field(default_factory=list)


class History:
    """The rows of one run, in their order.

    Args:
        run: whose.
        selection: which attributes.
    """

    def __init__(self, run: RunRef, selection: Selection) -> None:
        self._run, self._selection = run, selection
        self._paths = Paths()
        self._kinds: dict[str, str] = {}
        """Path → the kind of its first value."""
        self._wanted: dict[tuple[str, str], str | None] = {}
        self._others: list[str] = []
        self._page = _Page()
        self._last_step: float = 0
        self._large: Counter[str] = Counter()
        self._null: Counter[str] = Counter()
        self._booleans: set[str] = set()
        self._stepless = 0
        self.rows = 0

    def add(self, row: Row) -> None:
        """Takes a row of history.

        Raises:
            StepOutOfRangeError: its step is beyond what the archive holds.
        """
        step = row.get("_step")
        if not isinstance(step, int | float):
            self._stepless += bool(len(row))
            step = self._last_step
        if not abs(step) < _STEPS_END:
            raise StepOutOfRangeError(str(self._run.key), "_step", step)
        self._last_step = step
        self.rows += 1
        micros = step * MICROS if isinstance(step, int) else round(step * MICROS)
        time = milliseconds(row.get("_timestamp"))
        for key, value in row.items():
            if key not in ("_step", "_timestamp"):
                self._put((key,), value, micros, time)

    def add_system(self, row: Row) -> None:
        """Takes a row of system metrics; they have no steps, so it gets its place."""
        micros, time = self.rows * MICROS, milliseconds(row.get("_timestamp"))
        self.rows += 1
        for key, value in row.items():
            if key not in ("_step", "_timestamp", "_wandb"):
                self._put((monitored(key),), value, micros, time)

    def add_line(self, path: str, line: str, place: int, time: int | None) -> None:
        """Takes a line of a text log."""
        self._string(path, line, place * MICROS, time)

    def page(self) -> tuple[list[Item], list[Medium]]:
        """What came since the last call: batches, and the files that its rows name."""
        page, self._page = self._page, _Page()
        items: list[Item] = []
        key = self._run.key
        if page.values:
            batch = float_series_batch(
                key.project,
                key.run,
                pa.array(page.paths, type=pa.string()).dictionary_encode(),
                np.array(page.micros, dtype=np.int64),
                np.array(page.times, dtype=np.int64),
                np.array(page.values, dtype=np.float64),
            )
            timeless = np.array(page.times, dtype=np.int64) == _NO_TIME
            items.append(Rows(self._run, without_times(batch, timeless)))
        if page.others:
            items.append(Rows(self._run, make_batch(key.project, key.run, page.others)))
        return items, page.media

    def end(self) -> Iterator[Item]:
        """How many attributes there were, and what is to be noted of them."""
        run = self._run
        yield Selected(run, sum(path is not None for path in self._wanted.values()))
        for path, count in self._large.items():
            yield Remark(run, LARGE, path, count)
        for path, count in self._null.items():
            yield Remark(run, NULLS, path, count)
        for path in sorted(self._booleans):
            yield Remark(run, BOOLEANS, path)
        for path in self._others:
            yield Remark(run, KINDS, path)
        for path in self._paths.changed:
            yield Remark(run, RENAMED, path)
        if self._stepless:
            yield Remark(run, STEPLESS, count=self._stepless)
        if self.rows:
            yield Remark(run, MILLISECONDS)

    def _put(self, keys: tuple[str, ...], value: Any, micros: int, time: int | None) -> None:
        if isinstance(value, float | int) and not isinstance(value, bool):
            self._number(self._paths.of(keys), value, micros, time)
        elif isinstance(value, dict) and value and "_type" not in value:
            for key, inner in value.items():
                self._put((*keys, key), inner, micros, time)
        else:
            self._other(self._paths.of(keys), value, micros, time)

    def _number(self, path: str, value: float, micros: int, time: int | None) -> None:
        number = nearest(value)
        if isinstance(value, int) and number != value:
            self._string(self._paths.beside(path, "exact"), str(value), micros, time)
            self._large[path] += 1
        where = self._path(path, "float_series")
        if where is not None:
            page = self._page
            page.paths.append(where)
            page.micros.append(micros)
            page.times.append(_NO_TIME if time is None else time)
            page.values.append(number)

    def _other(self, path: str, value: Any, micros: int, time: int | None) -> None:
        if value is None:
            self._null[path] += 1
        elif isinstance(value, bool):
            self._booleans.add(path)
            self._number(path, int(value), micros, time)
        elif isinstance(value, str):
            if value in WORDS and self._kinds.get(path) != "string_series":
                self._number(path, WORDS[value], micros, time)
            else:
                self._string(path, value, micros, time)
        elif (histogram := histogram_of(value)) is not None:
            self._row(path, "histogram_series", histogram, micros, time)
        elif files := files_of(value):
            self._media(path, value, files, micros, time)
        else:
            self._string(path, as_text(value), micros, time)

    def _media(
        self, path: str, value: Row, files: list[str], micros: int, time: int | None
    ) -> None:
        """Its files are series, and all that is said of them is text beside."""
        self._string(self._paths.beside(path, "wandb"), as_text(value), micros, time)
        where = self._path(path, "file_series")
        if where is not None:
            for i, name in enumerate(files):
                attribute = where if len(files) == 1 else self._paths.beside(where, str(i))
                self._page.media.append(Medium(attribute, name, micros, time))

    def _string(self, path: str, value: str, micros: int, time: int | None) -> None:
        self._row(path, "string_series", value, micros, time)

    def _row(self, path: str, kind: str, value: Any, micros: int, time: int | None) -> None:
        where = self._path(path, kind)
        if where is not None:
            row = {"path": where, "type": kind, "value": value, "step": micros, "timestamp": time}
            self._page.others.append(row)

    def _path(self, path: str, kind: str) -> str | None:
        """Where values of this kind go; None: they are not selected."""
        if (path, kind) not in self._wanted:
            where = path
            if self._kinds.setdefault(path, kind) != kind:
                where = self._paths.beside(path, f"as_{_KIND_NAMES[kind]}")
                self._others.append(where)
            self._wanted[path, kind] = where if self._selection.wants(where, kind) else None
        return self._wanted[path, kind]


def nearest(value: float) -> float:
    """As a double; an integer beyond all doubles is an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def milliseconds(timestamp: Any) -> int | None:
    """Seconds since 1970, as W&B writes them, in whole milliseconds; None for what is no time."""
    if isinstance(timestamp, int | float) and math.isfinite(timestamp):
        return round(timestamp * 1000)
    return None


def as_text(value: Any) -> str:
    """JSON of what has no type of its own in the archive."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def histogram_of(value: Any) -> dict[str, Any] | None:
    """The archive's histogram of a `wandb.Histogram`; None: it is none that fits.

    `packedBins` is how the service gives evenly spaced edges back: least, width and number.
    """
    if not isinstance(value, dict) or value.get("_type") != "histogram":
        return None
    counts, edges = value.get("values"), value.get("bins")
    packed = value.get("packedBins")
    if isinstance(packed, dict) and edges is None:
        try:
            edges = [packed["min"] + i * packed["size"] for i in range(packed["count"] + 1)]
        except (KeyError, TypeError):
            return None
    if not isinstance(counts, list) or not isinstance(edges, list) or len(edges) != len(counts) + 1:
        return None
    numbers = [*map(_number_of, edges), *map(_number_of, counts)]
    if any(number is None for number in numbers):
        return None
    cut = len(edges)
    return {"type": "COUNTING", "edges": numbers[:cut], "values": numbers[cut:]}


def _number_of(value: Any) -> float | None:
    if isinstance(value, str):
        return WORDS.get(value)
    return nearest(value) if isinstance(value, int | float) else None


def files_of(value: Any) -> list[str]:
    """Names of the run's files that an object names: one, or those of `images/separated`."""
    if not isinstance(value, dict) or "_type" not in value:
        return []
    names = value.get("filenames") if "path" not in value else [value["path"]]
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        return []
    return names
