"""Float series as they are drawn: whole when short, else thinned so that no peak is lost.

The range of a long series' steps is cut into equal spans; of each, the points with the lowest and
the highest value stay, and the first and the last of all. Nothing is averaged. A value that no axis
can show (NaN, an infinity, beyond ±`LARGEST`, none at all) is counted, and leaves a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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

_POINTS = f"""
SELECT part, attribute_path AS path, step::DOUBLE AS step, float_value AS raw,
    CASE WHEN abs(float_value) < {LARGEST} THEN float_value END AS value
FROM {PARTS} WHERE attribute_type = 'float_series' AND step IS NOT NULL
    AND attribute_path IN ({{paths}})
"""
_SPANS = """
CREATE OR REPLACE TEMP TABLE spans AS
WITH of_parts AS (
    SELECT part, path, count(*) AS points, count(*) - count(value) AS hidden,
        min(step) AS least, max(step) AS most, min({{'step': step, 'value': raw}}) AS first,
        max({{'step': step, 'value': raw}}) AS last
    FROM ({points}) GROUP BY ALL),
of_runs AS (
    SELECT run, path, sum(points)::BIGINT AS points, sum(hidden)::BIGINT AS hidden,
        min(least) AS least, max(most) AS most, min(first) AS first, max(last) AS last
    FROM of_parts JOIN parts USING (part) GROUP BY ALL)
SELECT part, path, run, metric, points, hidden, least, most, first, last
FROM of_runs JOIN metrics USING (path) JOIN parts USING (run)
"""
_CURVES = """
SELECT DISTINCT run, metric, points, hidden, first.step AS first_step, first.value AS first,
    last.step AS last_step, last.value AS last FROM spans
"""
_WHOLE = """
SELECT run, metric, step, value FROM ({points}) JOIN spans USING (part, path)
WHERE points <= $limit
"""
_THINNED = """
SELECT run, metric, min(step) AS step, arg_min(step, value) AS low_step, min(value) AS low,
    arg_max(step, value) AS high_step, max(value) AS high
FROM ({points}) JOIN spans USING (part, path) WHERE points > $limit
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


class _Series(NamedTuple):
    """A row of `_CURVES`."""

    run: int
    metric: int
    points: int
    hidden: int
    first_step: float
    first: float | None
    last_step: float
    last: float | None


class _Reader:
    """Makes the curves of some parts."""

    def __init__(self, connection: Any, metrics: Sequence[str], limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._names = {f"metric_{i}": path for i, path in enumerate(metrics)}
        self._points = _POINTS.format(paths=", ".join(f"${name}" for name in self._names))

    def read(self, files: list[str]) -> list[Curve]:
        given: dict[str, Any] = {"files": files, **self._names}
        ask = self._connection.execute
        ask(_SPANS.format(points=self._points), given)
        series = [_Series(*row) for row in ask(_CURVES).fetchall()]
        given["limit"] = self._limit
        drawn: dict[tuple[int, int], tuple[Floats, Floats]] = {}
        if any(one.points <= self._limit for one in series):
            found = ask(_WHOLE.format(points=self._points), given).fetchnumpy()
            drawn |= _by_curve(found, found["step"], found["value"])
        if any(one.points > self._limit for one in series):
            given["spans"] = self._limit // 2 - 1
            found = ask(_THINNED.format(points=self._points), given).fetchnumpy()
            low_high = np.ma.stack([found["low_step"], found["high_step"]])
            steps = np.where(np.ma.getmaskarray(low_high), found["step"], low_high.data)
            drawn |= _by_curve(found, steps, np.ma.stack([found["low"], found["high"]]))
        return [self._curve(one, *drawn[one.run, one.metric]) for one in series]

    def _curve(self, one: _Series, steps: Floats, values: Floats) -> Curve:
        if one.points > self._limit:
            steps = np.append(steps, [one.first_step, one.last_step])
            values = np.append(values, [_drawable(one.first), _drawable(one.last)])
            order = np.lexsort((values, steps))
            steps, values = steps[order], values[order]
            bits = values.view(np.int64)
            first = np.ones(len(steps), dtype=bool)
            first[1:] = (steps[1:] != steps[:-1]) | (bits[1:] != bits[:-1])
            steps, values = steps[first], values[first]
        return Curve(one.run, one.metric, one.points, one.hidden, one.last, steps, values)


def _drawable(value: float | None) -> float:
    return value if value is not None and abs(value) < LARGEST else np.nan


def _by_curve(
    found: dict[str, npt.NDArray[Any]], steps: npt.NDArray[Any], values: npt.NDArray[Any]
) -> dict[tuple[int, int], tuple[Floats, Floats]]:
    """(run, metric) → steps and values, by step.

    Args:
        found: has `run` and `metric` of each column of `steps` and `values`.
        values: masked where there is none that can be drawn.
    """
    values = np.ma.filled(values.astype(np.float64), np.nan).ravel()
    copies = len(values) // len(found["run"])
    run, metric = np.tile(found["run"], copies), np.tile(found["metric"], copies)
    order = np.lexsort((values, steps.ravel(), metric, run))
    run, metric, steps, values = run[order], metric[order], steps.ravel()[order], values[order]
    starts = np.flatnonzero(np.diff(run, prepend=-1) | np.diff(metric, prepend=-1))
    ends = [*starts[1:].tolist(), len(run)]
    return {
        (int(run[i]), int(metric[i])): (steps[i:j], values[i:j])
        for i, j in zip(starts.tolist(), ends, strict=True)
    }
