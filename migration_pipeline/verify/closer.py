"""Looks closer at one attribute that differs, to name its first differing point.

Only done for attributes whose sums differ, and only up to a size that can be held; beyond it the
sums alone must do.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import ArchivedRun
from migration_pipeline.archive.digest import FileInfo, digest_file, segments
from migration_pipeline.archive.schema import VALUE_COLUMN, micros_from_steps
from migration_pipeline.mapping.steps import step_text

Attribute = tuple[str, str]
Point = tuple[int | None, int | None, str]
"""Step in millionths, time in ms, the value as text."""
MOST = 500_000
"""Points of one attribute that are held."""


def difference(
    run: ArchivedRun, attribute: Attribute, returned: Iterable[pa.RecordBatch], files: Path
) -> str:
    """A clause about the first point (by step, then time) that is not on both sides.

    Empty when the attribute is too large to be held.
    """
    known = {f.path: FileInfo(f.size, f.digest) for f in run.manifest.files} if run.manifest else {}
    there = _points(
        run.batches(types=(attribute[1],)),
        attribute,
        lambda path: known.get(path) or run.file_info(path),
    )
    here = _points(returned, attribute, lambda path: digest_file(files / path))
    if there is None or here is None:
        return ""
    return describe(there - here, here - there)


def describe(lost: Counter[Point], extra: Counter[Point]) -> str:
    """What became of the first point that was lost; else which one came in addition."""
    order = sorted(lost, key=_order)
    if not order:
        return f"in addition {_say(min(extra, key=_order))}" if extra else ""
    first = order[0]
    same_step = sorted((p for p in extra if p[0] == first[0]), key=_order)
    if same_step:
        other = same_step[0]
        if other[2] != first[2]:
            return f"at {_step(first)} it is {other[2]}, not {first[2]}"
        return f"at {_step(first)} the time is {other[1]} ms, not {first[1]} ms"
    moved = sorted((p for p in extra if p[1:] == first[1:]), key=_order)
    if moved:
        return f"{_say(first)} is at {_step(moved[0])}"
    return f"{_say(first)} is missing"


def _points(
    batches: Iterable[pa.RecordBatch], attribute: Attribute, info: Callable[[str], FileInfo]
) -> Counter[Point] | None:
    counted: Counter[Point] = Counter()
    for batch in batches:
        for named, rows in segments(batch):
            if named == attribute:
                at = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
                counted.update(_rows(batch.take(pa.array(at)), attribute[1], info))
        if counted.total() > MOST:
            return None
    return counted


def _rows(batch: pa.RecordBatch, kind: str, info: Callable[[str], FileInfo]) -> Iterator[Point]:
    micros, no_step = micros_from_steps(batch.column("step"))
    times = batch.column("timestamp").cast(pa.int64()).to_pylist()
    for i, value in enumerate(batch.column(VALUE_COLUMN[kind]).to_pylist()):
        if isinstance(value, dict) and "path" in value:
            found = info(value["path"])
            shown = f"a file of {found.size:,} bytes with digest {found.digest[:12]}"
        else:
            shown = _short(repr(value)) if value is not None else "nothing"
        yield None if no_step[i] else int(micros[i]), times[i], shown


def _short(text: str) -> str:
    """Long values by their ends and length, so that they still differ where they do."""
    if len(text) <= 120:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{text[:60]}…{text[-20:]} ({len(text):,} characters, digest {digest})"


def _order(point: Point) -> tuple[bool, int, bool, int, str]:
    step, time, value = point
    return (step is None, step or 0, time is None, time or 0, value)


def _step(point: Point) -> str:
    return "its value" if point[0] is None else f"step {step_text(point[0])}"


def _say(point: Point) -> str:
    return point[2] if point[0] is None else f"{point[2]} at step {step_text(point[0])}"
