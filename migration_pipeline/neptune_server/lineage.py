"""Whose points a series of a forked run shows, and the merged series.

Established by the vendor's end-to-end tests: with lineage FULL a run shows its own points and
each ancestor's up to and including the fork step, clipped again by every fork on the way; with
NONE a run shows its own only, an experiment also those of its ancestors in the same experiment.
Nothing is renumbered. When child and ancestor both have a point at one step the child's is shown
(assumed).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .series import FloatSeries, ObjectSeries
from .store import Run
from .wire import FloatPoints


@dataclass(frozen=True, slots=True)
class Scope:
    """Which ancestors' points belong to a series: all (`full`), or those of one experiment."""

    full: bool
    experiment: bool


def owners(run: Run, scope: Scope) -> Iterator[tuple[Run, float]]:
    """Runs whose points are shown, child first, each with its highest step (inclusive)."""
    yield run, math.inf
    if not scope.full and not scope.experiment:
        return
    limit, seen, below = math.inf, {run.sys_id}, run
    while below.parent is not None and below.parent.sys_id not in seen:
        if below.fork_step is not None:
            limit = min(limit, below.fork_step)
        below = below.parent
        seen.add(below.sys_id)
        if scope.full or (run.experiment is not None and below.experiment == run.experiment):
            yield below, limit


def float_points(run: Run, path: str, scope: Scope, previews: bool) -> FloatPoints | None:
    """All points of a float series in the order of their steps; None when no run has it.

    Views of the stored arrays when only one run has points to show.
    """
    pieces = [
        piece
        for owner, limit in owners(run, scope)
        if (piece := _own_points(owner, path, limit, previews)) is not None
    ]
    if not pieces:
        return None
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = _below(piece, merged)
    return merged


@dataclass(frozen=True, slots=True)
class ObjectPoints:
    """Points of a string, histogram or file series in the order of their steps."""

    type: str
    steps: list[float]
    timestamps: list[int]
    values: list[Any]


def object_points(run: Run, path: str, scope: Scope) -> ObjectPoints | None:
    """All points of a string, histogram or file series; None when no run has it."""
    merged: ObjectPoints | None = None
    for owner, limit in owners(run, scope):
        found = owner.attributes.get(path)
        if found is None or not isinstance(found.value, ObjectSeries):
            continue
        series = found.value
        end = bisect.bisect_right(series.steps, limit)
        if merged is None:
            merged = ObjectPoints(
                found.type, series.steps[:end], series.timestamps[:end], series.values[:end]
            )
        elif merged.type == found.type:
            merged = _objects_below(series, end, merged)
    return merged


def _own_points(run: Run, path: str, limit: float, previews: bool) -> FloatPoints | None:
    found = run.attributes.get(path)
    if found is None or not isinstance(found.value, FloatSeries):
        return None
    series = found.value
    end = int(np.searchsorted(series.steps, limit, side="right"))
    points = FloatPoints(series.steps[:end], series.timestamps[:end], series.values[:end])
    ahead = sorted(step for step in series.previews if step <= limit) if previews else []
    if not ahead:
        return points
    times, values, completion = zip(*(series.previews[step] for step in ahead), strict=True)
    return _joined(
        points,
        FloatPoints(
            np.array(ahead),
            np.array(times, np.int64),
            np.array(values),
            np.ones(len(ahead), bool),
            np.array(completion, np.float32),
        ),
    )


def _below(ancestor: FloatPoints, child: FloatPoints) -> FloatPoints:
    """The ancestor's points where the child has none, and the child's."""
    if len(ancestor) and len(child) and ancestor.steps[-1] >= child.steps[0]:
        kept = ~np.isin(ancestor.steps, child.steps)
        merged = _joined(_chosen(ancestor, kept), child)
        return _chosen(merged, np.argsort(merged.steps, kind="stable"))
    return _joined(ancestor, child)


def _joined(first: FloatPoints, second: FloatPoints) -> FloatPoints:
    if not len(first) or not len(second):
        return second if not len(first) else first
    plain = first.previews is None and second.previews is None
    return FloatPoints(
        np.concatenate([first.steps, second.steps]),
        np.concatenate([first.timestamps, second.timestamps]),
        np.concatenate([first.values, second.values]),
        None if plain else np.concatenate([_previews(first), _previews(second)]),
        None if plain else np.concatenate([_completion(first), _completion(second)]),
    )


def _previews(points: FloatPoints) -> Any:
    return np.zeros(len(points), bool) if points.previews is None else points.previews


def _completion(points: FloatPoints) -> Any:
    ordinary = np.ones(len(points), np.float32)
    return ordinary if points.completion is None else points.completion


def _chosen(points: FloatPoints, chosen: Any) -> FloatPoints:
    return FloatPoints(
        points.steps[chosen],
        points.timestamps[chosen],
        points.values[chosen],
        None if points.previews is None else points.previews[chosen],
        None if points.completion is None else points.completion[chosen],
    )


def _objects_below(series: ObjectSeries, end: int, child: ObjectPoints) -> ObjectPoints:
    taken = set(child.steps)
    rows = [
        (series.steps[i], series.timestamps[i], series.values[i])
        for i in range(end)
        if series.steps[i] not in taken
    ]
    rows += zip(child.steps, child.timestamps, child.values, strict=True)
    rows.sort(key=lambda row: row[0])
    return ObjectPoints(
        child.type, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    )
