"""The picture of some curves: a small PNG whatever the values and names are."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.defs.picture import MAX_RUNS, MAX_SERIES, draw, some_curves


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "data", tmp_path / "files")


def write(archive: Archive, run: str, series: dict[str, list[float]]) -> None:
    key = RunKey("ws/p", run)
    with RunWriter(archive, key, "fake") as writer:
        for path, values in series.items():
            points = len(values)
            # Downwards: a source need not give points in order.
            steps = np.arange(points, dtype=np.int64)[::-1].copy() * 500_000
            writer.write(
                float_series_batch(
                    "ws/p",
                    run,
                    pa.array([path] * points).dictionary_encode(),
                    steps,
                    np.zeros(points, dtype=np.int64),
                    np.array(values, dtype=np.float64),
                )
            )
        writer.commit()


def test_few_series_of_few_runs_in_order_and_thinned_out(archive: Archive) -> None:
    for number in range(MAX_RUNS + 2):
        write(archive, f"run-{number}", {f"m/{i}": [0.5] * 2000 for i in range(MAX_SERIES + 3)})
    curves = some_curves(list(archive.runs("ws/p").values()))
    assert len(curves) == MAX_SERIES
    for lines in curves.values():
        assert len(lines) == MAX_RUNS
        for _, steps, values in lines:
            assert len(steps) == len(values) <= 500
            assert (np.diff(steps) > 0).all()


def test_a_png_comes_out_whatever_the_values_and_names_are(archive: Archive) -> None:
    nan, inf = float("nan"), float("inf")
    write(
        archive,
        "odd",
        {
            "loss $\\frac{": [nan, inf, -inf, 1e308, -1e308, 5e-324],
            "学習/損失\n" * 40: [1.0],
            "all missing": [nan, nan],
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = draw(some_curves(list(archive.runs("ws/p").values())))
    prefix = "![curves](data:image/png;base64,"
    png = base64.b64decode(text.removeprefix(prefix).removesuffix(")"))
    assert png.startswith(b"\x89PNG")
    assert len(png) < 100_000


def test_no_series_no_picture(archive: Archive) -> None:
    write(archive, "empty", {})
    assert draw(some_curves(list(archive.runs("ws/p").values()))) == ""
