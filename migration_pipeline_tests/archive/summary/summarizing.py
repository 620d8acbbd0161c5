"""Shortcuts of these tests: everything that a summary says of one project, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.summary.aggregates import aggregate
from migration_pipeline.archive.summary.curves import Curve, Curves, draw
from migration_pipeline.archive.summary.figures import ProjectFigures, RunFigures
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import KEY, Row, fill


@dataclass(frozen=True)
class Summed:
    figures: ProjectFigures
    runs: dict[str, RunFigures]
    """By `str(key)`."""
    series: list[tuple[str, int, int]]

    @property
    def problems(self) -> list[tuple[str, str]]:
        return [(problem.where, problem.what) for problem in self.figures.problems]


def summed(archive: Archive, project: str = KEY.project) -> Summed:
    with aggregate(archive, project) as sums:
        runs = {str(run.key): run for run in sums.runs()}
        return Summed(sums.figures(), runs, list(sums.float_series()))


def drawn(archive: Archive, metrics: Sequence[str], project: str = KEY.project) -> Curves:
    with aggregate(archive, project) as sums:
        return draw(sums, metrics)


def write_parts(archive: Archive, key: RunKey, *parts: list[Row]) -> None:
    """One run, each list of rows in a part of its own."""
    with pytest.MonkeyPatch.context() as patch, RunWriter(archive, key, "test") as writer:
        patch.setattr(writer_module, "PART_BYTES", 1)
        for rows in parts:
            fill(writer, rows)
            writer.flush()
        writer.commit()


def only(curves: Curves) -> Curve:
    (curve,) = curves.curves
    return curve
