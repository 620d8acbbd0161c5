"""Points of many series become rows of steps: all of them, once, whatever goes through the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from migration_pipeline.targets.trackio import merging
from migration_pipeline.targets.trackio.merging import Merger

Point = tuple[str, float, int, float]


def merged(merger: Merger) -> tuple[list[Point], int]:
    """All points in order, and the number of rows that they came in."""
    points: list[Point] = []
    rows = 0
    for stretch in merger.stretches():
        rows += len(stretch.steps)
        for i, name in enumerate(stretch.names):
            points += [
                (name, step, time, value)
                for step, time, value in zip(
                    stretch.steps.tolist(),
                    stretch.times.tolist(),
                    stretch.values[:, i].tolist(),
                    strict=True,
                )
            ]
    return sorted(points), rows


def fill(merger: Merger, series: int, points: int, block: int) -> list[Point]:
    """Every third series has own steps."""
    random, given = np.random.default_rng(series), []
    for number in range(series):
        steps = np.arange(points) * (1.5 if number % 3 == 2 else 1.0)
        times, values = (steps * 1000).astype(np.int64), random.random(points)
        for start in range(0, points, block):
            part = slice(start, start + block)
            merger.add(f"m{number}", steps[part], times[part], values[part])
        columns = (steps.tolist(), times.tolist(), values.tolist())
        given += [(f"m{number}", *row) for row in zip(*columns, strict=True)]
    return sorted(given)


@pytest.mark.parametrize("held", [10**9, 1000, 10])
@pytest.mark.parametrize("stretch", [10**9, 200])
def test_all_points_once(
    held: int, stretch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_HELD", held)
    monkeypatch.setattr(merging, "_STRETCH", stretch)
    merger = Merger(tmp_path / "spill")
    given = fill(merger, series=6, points=500, block=70)
    points, rows = merged(merger)
    assert points == given
    assert rows == 2 * 500, "the four series alike are rows together, and so are the other two"
    assert not (tmp_path / "spill").exists()


def test_nothing(tmp_path: Path) -> None:
    assert merged(Merger(tmp_path / "spill")) == ([], 0)
