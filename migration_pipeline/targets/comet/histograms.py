"""Histograms as Comet draws them: for looking, while the exact ones lie beside.

Comet's have bins of their own, each a tenth wider than the one before, so a bin of the archive
counts there where its middle is. Edges, densities and what is not finite only the exact ones have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from migration_pipeline.archive.schema import MICROS
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.steps import step_micros

TYPE = "histogram3d"
"""comet_ml/constants.py ASSET_TYPE_HISTOGRAM_3D"""
SHOWN = 100
"""Of a series, evenly: each is a request."""
_COUNTS = 1000
"""Into which the densities of a histogram are divided."""


def shown(file: Path, rows: int, multiplier: int, empty: Any) -> Iterator[tuple[int, Any]]:
    """(step, JSON as Comet has it) of some of the histograms of a series.

    Args:
        file: the exact ones, as `mapping.sidecar` writes them.
        rows: of the file.
        multiplier: of the steps.
        empty: a `comet_ml.data_structure.Histogram`.
    """
    every = -(-rows // SHOWN)
    for number, line in enumerate(sidecar.read_lines(file)):
        if number % every or line["step"] is None or line.get("edges") is None:
            continue
        counts = _counts(line["type"], line["edges"], line["values"])
        if not counts:
            continue
        empty.clear()
        for middle, count in counts:
            empty.counts[empty.get_bin_index(middle)] += count
        drawn = empty.to_json()
        drawn["index_values"] = [[int(i), int(n)] for i, n in drawn["index_values"]]
        yield scaled(step_micros(line["step"]), multiplier), drawn


def scaled(micros: int, multiplier: int) -> int:
    """A step as those of metrics are, rounded down where they are coarser."""
    return micros * multiplier // MICROS


def _counts(
    kind: str, edges: Sequence[float | str], values: Sequence[float | str]
) -> list[tuple[float, int]]:
    """(middle of a bin, how many are in it); nothing where that is no histogram to be drawn."""
    ends, held = [float(e) for e in edges], [float(v) for v in values]
    if len(ends) != len(held) + 1 or not all(map(math.isfinite, [*ends, *held])):
        return []
    if kind == "DENSITY":
        held = [v * (high - low) for v, low, high in zip(held, ends[:-1], ends[1:], strict=True)]
        if not (total := sum(held)) or not math.isfinite(total):
            return []
        held = [v / total * _COUNTS for v in held]
    middles = [low + (high - low) / 2 for low, high in pairwise(ends)]
    return [(m, round(n)) for m, n in zip(middles, held, strict=True) if round(n) > 0]
