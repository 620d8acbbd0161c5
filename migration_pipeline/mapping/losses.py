"""What a target cannot hold of a run, by name, decided before the load.

Where the target takes files, the exact values are kept there beside the run, so a read-back gives
all of the archive again; `Loss.kept` says where. What is kept nowhere is what a verifier may leave
out of its findings, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from migration_pipeline.archive.schema import FILE_TYPES
from migration_pipeline.mapping.scan import RunScan, SeriesScan
from migration_pipeline.mapping.sidecar import MIGRATION, POINTS, WHOLE_SERIES
from migration_pipeline.mapping.terms import Capabilities, Loss
from migration_pipeline.mapping.texts import text_beside


def series_losses(scan: RunScan) -> list[Loss]:
    """Losses of the float series, and of all that the target has no place for; those of single
    parameters show while they are sent (`parameters`)."""
    can = scan.capabilities
    if can.verbatim:
        return []
    return [
        Loss(path, reason, count, _kept(can, reason, series))
        for path, series in sorted(scan.series.items())
        for reason, count in _reasons(can, series)
        if count
    ] + [*_without_a_place(scan), *_left_out(scan), *_lines_beside(scan)]


def _lines_beside(scan: RunScan) -> Iterator[Loss]:
    for (path, reason), count in sorted(scan.text_beside.items()):
        yield Loss(path, reason, count, text_beside(path))


def _left_out(scan: RunScan) -> Iterator[Loss]:
    for path, count in sorted(scan.left_out.items()):
        yield Loss(path, f"beyond {scan.capabilities.files_per_run:,} files", count)


def _without_a_place(scan: RunScan) -> Iterator[Loss]:
    can = scan.capabilities
    holds = {"string_series": can.string_series, "histogram_series": can.histogram_series}
    holds |= dict.fromkeys(FILE_TYPES, can.files)
    for path, kind in scan.of_types([kind for kind, how in holds.items() if how == "no"]):
        yield Loss(path, f"no {kind.replace('_', ' ')} there", scan.attributes[path, kind])


def _reasons(can: Capabilities, series: SeriesScan) -> Iterator[tuple[str, int]]:
    yield "without step", series.without_step
    yield "without value", series.without_value
    if can.integer_steps:
        yield "step is not whole", series.rounded
    if can.step_range is not None:
        yield "step out of range", series.out_of_range
    if can.steps_shown_every > 1:
        yield f"not a multiple of {can.steps_shown_every} as step", series.unshown
    if can.double_steps:
        yield "step has too many digits", series.rounded
    if can.monotonic_steps:
        yield "step does not grow", series.late
    if can.point_times == "required":
        yield WITHOUT_TIME, series.without_time
    if can.point_times == "dropped":
        yield "time", series.rows - series.without_time
    if can.earliest_time_ms is not None:
        late = can.latest_time_ms is not None
        yield "time out of range" if late else "time too early", series.early
    if not can.nan:
        yield "NaN", series.not_a_number
    if not can.infinity:
        yield "infinity", series.infinite
    if not can.negative_zero:
        yield "negative zero", series.negative_zero
    if not can.repeated_points:
        yield "repeated point", series.repeats
    if (most := can.points_kept_per_series) is not None:
        yield f"{SAMPLED} to {most:,} points", max(series.rows - series.repeats - most, 0)


WITHOUT_TIME, SAMPLED = "without time", "sampled"


def _kept(can: Capabilities, reason: str, series: SeriesScan) -> str:
    if can.files == "no":
        return ""
    if can.beside:
        return can.beside
    if reason.startswith(SAMPLED):
        return WHOLE_SERIES
    return MIGRATION if reason == WITHOUT_TIME and series.timeless else POINTS
