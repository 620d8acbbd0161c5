"""Float series as they are drawn: whole when short, else thinned so that no peak is lost.

The range of a long series' steps is cut into equal spans; of each, the points with the lowest and
the highest value stay, and the first and the last of all. Nothing is averaged. A value that no axis
can show (NaN, an infinity, beyond ±`LARGEST`, none at all) is counted, and leaves a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from migration_pipeline.archive.summary.aggregates import Aggregates
from migration_pipeline.archive.summary.reading import PARTS, insert

ALL_POINTS = 400_000
"""Of all curves of a page together, so that it stays below about 12 MB."""
MOST_POINTS, FEWEST_POINTS = 2000, 40
"""Of one curve."""
LARGEST = 1e300

Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

_POINTS = f"""
SELECT part, attribute_path AS path, step::DOUBLE AS step, float_value AS raw,
    CASE WHEN abs(float_value) < {LARGEST} THEN float_value END AS value
FROM {PARTS} WHERE attribute_type = 'float_series' AND step IS NOT NULL
    AND attribute_path IN ({{paths}})
"""
_SERIES = """
CREATE OR REPLACE TEMP TABLE chosen AS
SELECT part, path, run, metric, points, least::DOUBLE AS least, most::DOUBLE AS most
FROM series JOIN metrics USING (path) JOIN parts USING (run)
"""
_WHOLE = """
SELECT run, metric, step, raw FROM ({points}) JOIN chosen USING (part, path)
WHERE points <= $limit
"""
_THINNED = """
SELECT run, metric, count(*) AS points, count(value) AS drawable, min(step) AS step,
    arg_min(step, value) AS low_step, min(value) AS low,
    arg_max(step, value) AS high_step, max(value) AS high,
    min(least) AS least, min(raw) FILTER (step = least) AS first,
    min(most) AS most, max(raw) FILTER (step = most) AS last
FROM ({points}) JOIN chosen USING (part, path) WHERE points > $limit
GROUP BY run, metric,
    least(coalesce(floor((step - least) / nullif(most - least, 0) * $spans), 0), $spans - 1)
"""


@dataclass(frozen=True)
class Curve:
    """One metric of one run.

    Args:
        run: place in the listing.
        metric: place among the chosen ones.
        points: of the series; `hidden` of them have a value that cannot be drawn.
        last: the value at the last step; None when there is none.
        steps, values: what is drawn, by step; a value of NaN is a gap.
    """

    run: int
    metric: int
    points: int
    hidden: int
    last: float | None
    steps: Floats
    values: Floats


@dataclass(frozen=True)
class Curves:
    """All that a page draws.

    Args:
        curves: by run, then metric.
        limit: a series with more points than this is thinned to at most as many.
        left_out: runs with float series of which no curve was made, because there are too many;
            they have fewer points than the others.
    """

    curves: tuple[Curve, ...]
    limit: int
    left_out: int


def draw(project: Aggregates, metrics: Sequence[str]) -> Curves:
    """Reads the chosen metrics of a project's runs once more, this time with their values."""
    if not metrics:
        return Curves((), MOST_POINTS, 0)
    project.connection.execute("CREATE OR REPLACE TEMP TABLE metrics (path VARCHAR, metric INT)")
    insert(project.connection, "metrics", path=list(metrics), metric=range(len(metrics)))
    runs, with_series, curves = _drawn_runs(project, len(metrics))
    limit = min(MOST_POINTS, max(FEWEST_POINTS, ALL_POINTS // max(1, curves) // 2 * 2))
    reader = _Reader(project.connection, metrics, limit)
    found = [curve for some in project.reader.each(runs, reader.read) for curve in some]
    found.sort(key=lambda curve: (curve.run, curve.metric))
    return Curves(tuple(found), limit, with_series - len(runs))


def _drawn_runs(project: Aggregates, metrics: int) -> tuple[list[int], int, int]:
    """The runs with the most points, as many as can be drawn; how many there are; their curves."""
    ask = project.connection.execute
    rows = ask(
        """SELECT run FROM totals WHERE type = 'float_series' ORDER BY "rows" DESC, run"""
    ).fetchall()
    runs = sorted(run for (run,) in rows[: ALL_POINTS // FEWEST_POINTS // metrics])
    curves = ask(
        """SELECT coalesce(sum(runs), 0)::BIGINT FROM paths JOIN metrics USING (path)
        WHERE type = 'float_series'"""
    ).fetchone()
    return runs, len(rows), min(curves[0], len(runs) * metrics)


class _Reader:
    """Makes the curves of some parts."""

    def __init__(self, connection: Any, metrics: Sequence[str], limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._names = {f"metric_{i}": path for i, path in enumerate(metrics)}
        self._points = _POINTS.format(paths=", ".join(f"${name}" for name in self._names))

    def read(self, files: list[str]) -> list[Curve]:
        ask = self._connection.execute
        ask(_SERIES)
        lengths = ask("SELECT coalesce(min(points), 0), coalesce(max(points), 0) FROM chosen")
        shortest, longest = lengths.fetchone()
        given: dict[str, Any] = {"files": files, **self._names, "limit": self._limit}
        curves = []
        if 0 < shortest <= self._limit:
            found = ask(_WHOLE.format(points=self._points), given).fetchnumpy()
            curves += [_whole(columns) for columns in _by_curve(found)]
        if longest > self._limit:
            given["spans"] = self._limit // 2 - 1
            found = ask(_THINNED.format(points=self._points), given).fetchnumpy()
            curves += [_thinned(columns) for columns in _by_curve(found)]
        return curves


def _by_curve(found: Columns) -> Iterator[Columns]:
    """The rows of each run and metric. NaN stands for null; `no X` says where that is so."""
    rows = np.lexsort((found["metric"], found["run"]))
    if not len(rows):
        return
    columns = {name: np.ma.filled(column, np.nan)[rows] for name, column in found.items()}
    columns |= {f"no {name}": np.ma.getmaskarray(column)[rows] for name, column in found.items()}
    run, metric = columns["run"], columns["metric"]
    starts = np.flatnonzero(np.diff(run, prepend=-1) | np.diff(metric, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield {name: column[start:end] for name, column in columns.items()}


def _whole(columns: Columns) -> Curve:
    """From a row a point."""
    steps, values = columns["step"], columns["raw"]
    last = values[(steps == steps.max()) & ~columns["no raw"]]
    shown = np.where(np.abs(values) < LARGEST, values, np.nan)
    order = np.lexsort((shown, steps))
    return Curve(
        run=int(columns["run"][0]),
        metric=int(columns["metric"][0]),
        points=len(values),
        hidden=int(np.isnan(shown).sum()),
        last=float(last.max()) if len(last) else None,
        steps=steps[order],
        values=shown[order],
    )


def _thinned(columns: Columns) -> Curve:
    """From a row a span."""
    empty = columns["drawable"] == 0
    first, last = (columns[name][~columns[f"no {name}"]] for name in ("first", "last"))
    steps = np.concatenate(
        [
            np.where(empty, columns["step"], columns["low_step"]),
            np.where(empty, columns["step"], columns["high_step"]),
            columns["least"][: len(first)],
            columns["most"][: len(last)],
        ]
    )
    values = np.concatenate([columns["low"], columns["high"], first, last])
    values = np.where(np.abs(values) < LARGEST, values, np.nan)
    order = np.lexsort((values, steps))
    steps, values, bits = steps[order], values[order], values[order].view(np.int64)
    new = np.ones(len(steps), dtype=bool)
    new[1:] = (steps[1:] != steps[:-1]) | (bits[1:] != bits[:-1])
    points = int(columns["points"].sum())
    return Curve(
        run=int(columns["run"][0]),
        metric=int(columns["metric"][0]),
        points=points,
        hidden=points - int(columns["drawable"].sum()),
        last=float(last[0]) if len(last) else None,
        steps=steps[new],
        values=values[new],
    )
