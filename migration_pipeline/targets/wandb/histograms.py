"""Histograms as W&B shows them, and what it does not show of them.

A cell of history holds edges and values of up to 512 bins (`wandb.Histogram.MAX_LENGTH`). Whether
they are counts or densities it does not hold, nor bins that are no numbers, so the exact points are
kept beside, a file a series; on the way back each of them counts only while W&B shows the same.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from json import dumps
from typing import Any

import numpy as np

from migration_pipeline.archive import layout
from migration_pipeline.archive.schema import float_to_micros
from migration_pipeline.mapping.steps import as_doubles
from migration_pipeline.targets.wandb.capabilities import MOST_BINS, STEP
from migration_pipeline.targets.wandb.rows import Row

Cell = dict[str, Any]


def kept_in(path: str) -> str:
    """The file of a run that holds the exact points of a histogram series."""
    return f"neptune/histograms/{layout.digest(path)}.jsonl"


def cell_of(value: dict[str, Any] | None) -> Cell | None:
    """What W&B gets for a histogram; None: it cannot show it."""
    if value is None or value["edges"] is None or value["values"] is None:
        return None
    bins, values = value["edges"], value["values"]
    if len(bins) != len(values) + 1 or not 1 <= len(values) <= MOST_BINS:
        return None
    if not all(number is not None and math.isfinite(number) for number in (*bins, *values)):
        return None
    # Without the sign of a zero.
    return {
        "_type": "histogram",
        "values": [number + 0.0 for number in values],
        "bins": [number + 0.0 for number in bins],
    }


def line_of(place: int, key: str, step: int, time: int, cell: Cell) -> str:
    """A row of history; step in millionths, time in ms."""
    row = {"_step": place, "_timestamp": time / 1000, STEP: step_number(step), key: cell}
    return dumps(row, ensure_ascii=False, separators=(",", ":"))


def step_number(micros: int) -> float:
    return float(as_doubles(np.array([micros], dtype=np.int64))[0])


def shown_in(row: Row, key: str) -> dict[str, Any] | None:
    """What a row shows of a histogram series, in the terms of `sidecar.histogram_line` but for the
    type, which W&B has none of; None: nothing."""
    cell = row.get(key)
    if not isinstance(cell, dict) or cell.get("_type") != "histogram":
        return None
    step = float_to_micros(np.array([row.get(STEP, 0.0)], dtype=np.float64))
    return {
        "step": int(step[0]),
        "timestamp": round(row.get("_timestamp", 0) * 1000),
        "edges": [float(number) for number in cell.get("bins", ())],
        "values": [float(number) for number in cell.get("values", ())],
    }


def digest(step: int, time: int, bins: list[float], values: list[float]) -> bytes:
    """16 bytes of what W&B shows of a point."""
    text = dumps([step, time, bins, values])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def merged(
    exact: Iterable[dict[str, Any]],
    shown: Counter[bytes],
    rows: Iterable[dict[str, Any]],
    time_for_none: int,
) -> Iterator[dict[str, Any]]:
    """The points of a series as rows for `make_batch`: the exact ones as far as W&B shows the same,
    then what it shows beyond them.

    Args:
        exact: as they were kept beside.
        shown: digests of what W&B shows; is used up.
        rows: the same, as `shown_in` says it, with path and type.
        time_for_none: stands for the time of points without one.
    """
    for row in exact:
        cell = cell_of(row["value"])
        if cell is not None and row["step"] is not None:
            time = time_for_none if row["timestamp"] is None else row["timestamp"]
            held = float_to_micros(np.array([step_number(row["step"])]))
            found = digest(int(held[0]), time, cell["bins"], cell["values"])
            if not shown[found]:
                continue
            shown[found] -= 1
        yield row
    for row in rows:
        found = digest(row["step"], row["timestamp"], row["edges"], row["values"])
        if shown[found]:
            shown[found] -= 1
            value = {"type": "COUNTING", "edges": row["edges"], "values": row["values"]}
            yield {**row, "value": value}
