"""`migration/status`: how far the whole migration is, in one place.

Every job writes it anew when one of its stages ends, well or not, by a hook on its steps: an asset
downstream would be skipped just when something failed. It can be materialized by hand as well. What
it says comes from Dagster's records and is as cheap as those are (`status_records`).
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from migration_pipeline.archive.summary.words import size
from migration_pipeline.defs import partitions, records
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.defs.status_records import stages_of
from migration_pipeline.errors import MigrationError
from migration_pipeline.status import picture
from migration_pipeline.status.figures import (
    ARCHIVE,
    REASONS_KEPT,
    Stage,
    Status,
    counted,
    duration,
    headline,
    in_order,
    sums,
)
from migration_pipeline.status.page import PAGE_NAME, write_page
from migration_pipeline.targets.registry import target_names

KEY = dg.AssetKey(["migration", "status"])
OWNERS = ["team:migration"]
STARTED_BY = "migration/started_by"
"""Tag of Dagster runs that another one started, which writes the status when all are done."""
TABLE_ROWS = 500
_FORMAT = 2
"""Of what one status leaves for the next."""
_SHARE, _PAUSE = 50, 10.0
"""Between two that are written in the middle of something: so many times as long as the last one
took, and at least so many seconds."""
BASED_ON = (
    "From Dagster's records of runs (neptune/run, <target>/run) and the events of each project's "
    "last Dagster runs. Neither source nor targets were asked: a job asks them, and records what "
    "it finds."
)


def write_status(
    instance: dg.DagsterInstance, folder: Path, moment: str
) -> tuple[dict[str, Any], MigrationError | None]:
    """Reads the records, writes the page, and returns the metadata of `migration/status`.

    Args:
        moment: what had just happened.

    Returns:
        The error instead of the page where the page could not be written.
    """
    started = time.time()
    last = _last(instance)
    before: Any = last.metadata["figures"].value if last and "figures" in last.metadata else {}
    remembered = before.get("projects", {}) if before.get("format") == _FORMAT else {}
    stages, seen = stages_of(instance, target_names(), remembered, started)
    as_of = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
    status = Status(tuple(in_order(stages)), as_of.replace("+00:00", "Z"), BASED_ON, moment)
    drawing, page, error = picture.svg(status.stages), None, None
    try:
        page = write_page(status, folder)
    except MigrationError as refused:
        error = refused
    metadata = {
        "how far": dg.MetadataValue.md(headline(status).replace("\n", "  \n")),
        **({"picture": dg.MetadataValue.md(picture.as_image(drawing))} if drawing else {}),
        **_tables(status.stages),
        **_figures(status.stages),
        "as of": dg.MetadataValue.timestamp(started),
        "moment": moment,
        "based on": BASED_ON,
        PAGE_NAME: dg.MetadataValue.path(str(page)) if page else str(error),
        "seconds": time.time() - started,
        "figures": dg.MetadataValue.json({"format": _FORMAT, "projects": seen}),
    }
    return metadata, error


@dg.asset(
    key=KEY,
    deps=[records.EXPORTED, *(records.loaded(name) for name in target_names())],
    description="How far the migration is: for each project, in the archive and at each target, "
    "runs there, verified, failed with reasons, points and bytes, rate and time left. Every job "
    f"writes it, and {PAGE_NAME} into MIGRATION_REPORT_PATH for people without Dagster. Made of "
    "records alone, so it is cheap to make anew.",
    group_name="migration",
    owners=OWNERS,
    kinds={"neptune"},
)
def status(
    context: dg.AssetExecutionContext, archive: ArchiveResource
) -> dg.MaterializeResult[None]:
    folder = Path(archive.report_path).absolute()
    with _one_at_a_time(folder):
        metadata, error = write_status(context.instance, folder, "asked for by hand")
    if error:
        context.log.warning(str(error))
    return dg.MaterializeResult(metadata=metadata)


def _after_step(
    context: dg.HookContext, events: Sequence[dg.DagsterEvent]
) -> dg.HookExecutionResult:
    """One that ended in the middle of something writes only now and then.

    One hook for both ends: each hook of a step is an event in the log, whether it did anything.
    """
    failed = any(event.is_step_failure for event in events)
    due = failed or any(event.is_step_success for event in events)
    if due and not (_in_between(context, failed) and _is_fresh(context.instance)):
        _write_after(context, "failed" if failed else "ended")
    return dg.HookExecutionResult(hook_name=_HOOK, is_skipped=not due)


_HOOK = "status_after_step"
HOOKS = {
    dg.HookDefinition(name=_HOOK, hook_fn=_after_step, required_resource_keys={"archive"}),
}
"""For the steps of every job."""


def _in_between(context: dg.HookContext, failed: bool) -> bool:
    """More follows that will write it: steps of this stage, or the job that started this run."""
    if not failed and ("_chunk" in context.step_key or ".plan_" in context.step_key):
        return True
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and STARTED_BY in run.tags


def _write_after(context: dg.HookContext, what: str) -> None:
    if not context.instance.get_dynamic_partitions(str(partitions.projects.name)):
        return  # nothing began: no project is known, and no folder is made to say so
    archive: ArchiveResource = context.resources.archive
    moment = f"{context.step_key} {what} in Dagster run {context.run_id[:8]}"
    materialize(context.instance, archive.report_path, moment, context.log)


def materialize(
    instance: dg.DagsterInstance, report_path: str, moment: str, log: dg.DagsterLogManager
) -> None:
    """Writes the page and records `migration/status`; a page that cannot be written is a warning:
    whatever was migrated is migrated."""
    folder = Path(report_path).absolute()
    with _one_at_a_time(folder):
        metadata, error = write_status(instance, folder, moment)
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata=metadata))
        _fresh_until[instance] = _until(metadata["as of"].value, metadata["seconds"])
    if error:
        log.warning(f"the status could not be written: {error}")


def _last(instance: dg.DagsterInstance) -> dg.AssetMaterialization | None:
    entry = instance.get_latest_materialization_event(KEY)
    return entry.asset_materialization if entry else None


_fresh_until: WeakKeyDictionary[dg.DagsterInstance, float] = WeakKeyDictionary()
"""As far as this process knows: most steps need not fetch a status that names all projects."""


def _is_fresh(instance: dg.DagsterInstance) -> bool:
    """Whether this process or another one wrote it a moment ago."""
    if time.time() < _fresh_until.get(instance, 0.0):
        return True
    last = _last(instance)
    if last is None or "as of" not in last.metadata:
        return False
    taken, at = last.metadata["seconds"].value, last.metadata["as of"].value
    assert isinstance(taken, float)
    assert isinstance(at, float)
    _fresh_until[instance] = _until(at, taken)
    return time.time() < _fresh_until[instance]


def _until(at: float, taken: float) -> float:
    return at + max(_PAUSE, _SHARE * taken)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Jobs that end at the same time write one after another, so that the last one has seen all.

    The folder itself is locked. One that cannot be made or locked is no reason not to go on.
    """
    descriptor = None
    try:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _figures(stages: Sequence[Stage]) -> dict[str, int]:
    """Plain numbers, which the page draws over time."""
    figures: dict[str, int] = {}
    for place in dict.fromkeys(stage.place for stage in stages):
        of = sums([stage for stage in stages if stage.place == place])
        verb = "exported" if place == ARCHIVE else f"loaded into {place}"
        figures |= {f"runs {verb}": of["there"], f"points {verb}": of["points"]}
        if place != ARCHIVE:
            figures[f"runs verified at {place}"] = of["verified"]
    figures["runs failed"] = sum(stage.failed for stage in stages)
    figures["runs damaged"] = sum(stage.damaged for stage in stages)
    figures["stages not done"] = sum(stage.state != "done" for stage in stages)
    return figures


def _tables(stages: Sequence[Stage]) -> dict[str, dg.MetadataValue]:
    rows: list[dict[str, str | int | float]] = [
        {
            "project": stage.project,
            "place": stage.place,
            "state": stage.state,
            "runs there": stage.there,
            "of": stage.total,
            "verified": "" if stage.verified is None else str(stage.verified),
            "failed": stage.failed,
            "damaged": stage.damaged,
            "points": counted(stage, f"{stage.points:,}"),
            "bytes of files": counted(stage, size(stage.bytes)),
            "points/s": "" if stage.rate is None else f"{stage.rate:,.0f}",
            "time left": duration(stage.seconds_left),
        }
        for stage in stages
    ]
    reasons: list[dict[str, str | int | float]] = [
        {"project": stage.project, "place": stage.place, "where": where, "what": what}
        for stage in stages
        for where, what in stage.reasons
    ]
    titles = {
        "projects": rows,
        f"what failed or is damaged (up to {REASONS_KEPT} a project)": reasons,
    }
    return {
        title if len(table) <= TABLE_ROWS else f"{title} (first {TABLE_ROWS} of {len(table)})": (
            dg.MetadataValue.table([dg.TableRecord(row) for row in table[:TABLE_ROWS]])
        )
        for title, table in titles.items()
        if table
    }
