"""`neptune/export`: source → archive, one project a partition; `neptune/run`: one record a run.

A graph, so that a project of any size is retried and spread piece by piece: plan what is due, do it
in chunks, look at the result. A chunk records what arrived, whatever else of it failed; the project
itself counts as exported only when every chunk did its part.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.defs import export_figures as figures
from migration_pipeline.defs import guards, partitions, records, status, summarised
from migration_pipeline.defs import status_records as shown
from migration_pipeline.defs.checks import (
    FINDINGS_KEPT,
    WHOLE,
    WHOLE_REMEDY,
    examine,
    findings_table,
    whole_result,
    whole_spec,
)
from migration_pipeline.defs.config import ExportConfig
from migration_pipeline.defs.examined import take, taken_result
from migration_pipeline.defs.export_chunks import Listed, chunked, from_plain, to_plain
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline.errors import (
    ConfigError,
    MigrationError,
    RunsFailedError,
    Terminal,
    UnknownPartitionError,
)
from migration_pipeline.progress import still
from migration_pipeline.sources.archive.source import ArchiveSource
from migration_pipeline.sources.export import ExportPlan, export_runs, plan_export
from migration_pipeline.sources.source import Selection

KEY = dg.AssetKey(["neptune", "export"])
SOURCE = dg.AssetKey(["neptune", "source"])
GROUP, OWNERS, KINDS = "archive", status.OWNERS, {"neptune", "parquet"}
POOL = "neptune_source"
OUTLIVED = "records of runs that are not in the archive any more"
MAX_RETRIES = 2
"""Of a chunk, for what may pass by itself; each request was by then repeated for minutes."""

Payload = dict[str, Any]
"""What goes from step to step: plain data, so that any executor can carry it."""
RECORDED = "each run recorded"
"""Name of that decision of a plan in what it hands to other steps."""


@dg.op(
    ins={"listed": dg.In(dg.Nothing)},
    out={"due": dg.DynamicOut(dict), "planned": dg.Out(dict)},
    pool=POOL,
    description="Lists the project at the source and compares it with the archive.",
)
def plan_runs(
    context: dg.OpExecutionContext,
    config: ExportConfig,
    source: SourceResource,
    archive: ArchiveResource,
) -> Iterator[dg.DynamicOutput[Payload] | dg.Output[Payload]]:
    project, there = known_project(context), archive.open()
    opened = source.open(archive)
    if isinstance(opened, ArchiveSource):
        taken = _taken(context, opened, there, project, config.selection())
        runs = sum(taken["taken"]["grades"].values())
        yield dg.Output(taken, "planned", metadata={shown.TOTAL: runs, shown.DUE: 0})
        return
    with retried(context), still(context.log.info, f"{project}: listing its runs"):
        found = plan_export(opened, there, project, config.selection())
    total = there.count(project) + len(found.due) - len(found.changed)
    if each := summarised.each(context.instance, project, total):
        late = _record_missing(
            context, there, project, [*found.present, *found.changed, *found.adopted]
        )
    else:
        late = 0
        summarised.record_archive(context, there, project)
    changed = set(found.changed)
    chunks = chunked(found.due, config.chunk_size)
    context.log.info(_intention(found, len(chunks)))
    if late:
        context.log.info(f"{project}: {late} runs that were there had no record; now they have")
    for number, runs in enumerate(chunks):
        payload = {
            "project": project,
            "config": config.model_dump(),
            "runs": [to_plain(run) for run in runs],
            "new": sum(run.key not in changed for run in runs),
            RECORDED: each,
            guards.CODE: guards.THIS_CODE,
        }
        yield dg.DynamicOutput(payload, mapping_key=f"c{number:05}", output_name="due")
    counts = {
        "exported now": len(found.due) - len(found.changed),
        "exported again": len(found.changed),
        "unchanged": len(found.present),
        "adopted": len(found.adopted),
    }
    total = len(found.due) + len(found.present) + len(found.adopted)
    context.log_event(observation(context.partition_key, total))
    said = {shown.TOTAL: total, shown.DUE: len(found.due)}
    yield dg.Output(_planned(project, counts, each), "planned", metadata=said)


@dg.op(
    pool=POOL,
    description="Exports some runs; one that fails does not stop the others. "
    "Repeated, it exports those that are missing.",
)
def export_chunk(
    context: dg.OpExecutionContext,
    due: dict[str, Any],
    source: SourceResource,
    archive: ArchiveResource,
) -> Payload:
    with guards.begun(context, due):
        return _export(context, due, source, archive)


def _export(
    context: dg.OpExecutionContext, due: Payload, source: SourceResource, archive: ArchiveResource
) -> Payload:
    project, opened = due["project"], archive.open()
    selection = ExportConfig(**due["config"]).selection()
    runs = [from_plain(project, run) for run in due["runs"]]
    keys = [run.key for run in runs]
    with retried(context), _recording(context, opened, project, keys, due[RECORDED]):
        missing = plan_export(Listed(runs), opened, project, selection).due
        report = export_runs(source.open(archive), opened, missing, selection, context.log.info)
        raise_failures("export", project, report.failures)
    exported = [m for m in records.readable_manifests(opened, project, keys).values() if m]
    context.add_output_metadata(
        {
            shown.DONE: len(exported),
            shown.NEW: due["new"],
            shown.POINTS: sum(m.points for m in exported),
            shown.BYTES: sum(m.bytes for m in exported),
        }
    )
    return {
        "points": sum(m.points for m in exported),
        "bytes": sum(m.bytes for m in exported),
        "seconds": report.seconds,
    }


@dg.op(
    out={"result": dg.Out(dg.Nothing), WHOLE: dg.Out(dg.Nothing)},
    description="Looks at what lies in the archive now.",
)
def finish_export(
    context: dg.OpExecutionContext,
    planned: dict[str, Any],
    chunks: list[dict[str, Any]],
    archive: ArchiveResource,
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    guards.begin(context, planned)
    opened, project = archive.open(), planned["project"]
    with still(context.log.info, f"{project}: looking at what lies in the archive"):
        found = examine(opened, project)
        curves = figures.curves(context, KEY, opened, found, drawn_anew=bool(chunks))
        outlived = records.without_runs(context.instance, opened, project, found.runs)
    for partition in outlived[:5]:
        context.log.warning(
            f"{partition} has a record, is not in the archive any more, and the source did not "
            "give it again: restore its parts and files from a backup if you need it"
        )
    yield dg.Output(
        None,
        "result",
        metadata={
            **figures.totals(found),
            **planned["counts"],
            **({OUTLIVED: outlived[:FINDINGS_KEPT]} if outlived else {}),
            **figures.rates(chunks),
            **figures.runs_table(found),
            **curves,
        },
    )
    if not planned[RECORDED]:
        summarised.record(context, records.EXPORTED, project, summarised.of_archive(found))
    if planned["taken"] is not None:
        yield taken_result(KEY, found, planned["taken"])
        return
    for where, what in found.findings[:5]:
        context.log.error(f"{where}: {what}. {WHOLE_REMEDY}")
    yield whole_result(KEY, found)


@dg.config_mapping
def export_config(val: ExportConfig) -> Mapping[str, Any]:
    """The launchpad shows the selection at the asset, not at a step inside it."""
    return {"plan_runs": {"config": val.model_dump()}}


WHOLE_SPEC = whole_spec(KEY)


@dg.graph_asset(
    key=KEY,
    ins={"listed": dg.AssetIn(key=SOURCE, dagster_type=dg.Nothing)},
    description="A project in the archive: Parquet parts and files, a manifest in each run's part "
    "0. Repeating it exports what is new, changed or missing.",
    config=export_config,
    partitions_def=partitions.projects,
    group_name=GROUP,
    owners=OWNERS,
    kinds=KINDS,
    tags={"source": "neptune"},
    check_specs=[WHOLE_SPEC],
    hooks=status.HOOKS,
)
def export(listed: Any) -> Mapping[str, Any]:
    due, planned = plan_runs(listed)
    result, whole = finish_export(planned, due.map(export_chunk).collect())
    return {"result": result, WHOLE_SPEC.get_python_identifier(): whole}


source_record = dg.AssetSpec(
    SOURCE,
    description="A project where it comes from, as it was last listed: by an export, or by the "
    "sensor `follow_source` when something was new.",
    partitions_def=partitions.projects,
    group_name="source",
    owners=OWNERS,
    kinds={"neptune"},
)
run_records = dg.AssetSpec(
    records.EXPORTED,
    deps=[dg.AssetDep(KEY, partition_mapping=dg.AllPartitionMapping())],
    description="One record for each exported run, written when its part 0 is there.",
    partitions_def=partitions.runs,
    group_name=GROUP,
    owners=OWNERS,
    kinds=KINDS,
)


def observation(partition: str, runs: int) -> dg.AssetObservation:
    """That a project was listed at the source."""
    return dg.AssetObservation(SOURCE, partition=partition, metadata={"runs": runs})


def _taken(
    context: dg.OpExecutionContext,
    source: ArchiveSource,
    archive: Archive,
    project: str,
    selection: Selection,
) -> Payload:
    """Instead of an export, where the archive itself is the source: nothing is to be exported."""
    source.check(selection)
    context.log.info(f"{project}: the source is the archive, so nothing is to be exported")
    found = take(context, source, archive, project)
    counts = {"exported now": 0, "exported again": 0, **found["grades"]}
    return _planned(project, counts, taken=found)


def _planned(
    project: str, counts: Payload, each: bool = True, taken: Payload | None = None
) -> Payload:
    said = {RECORDED: each, guards.CODE: guards.THIS_CODE}
    return {"project": project, "counts": counts, "taken": taken, **said}


def _intention(found: ExportPlan, steps: int) -> str:
    if not found.due and not found.present and not found.adopted:
        return f"{found.project}: no run is selected"
    if not found.due:
        return f"{found.project}: all {len(found.present) + len(found.adopted)} runs are exported"
    changed = f", {len(found.changed)} of them because they changed" if found.changed else ""
    return (
        f"{found.project}: exporting {len(found.due)} runs{changed}, in {steps} step(s); "
        f"{len(found.present) + len(found.adopted)} are exported already"
    )


def known_project(context: dg.OpExecutionContext) -> str:
    """The project of this run's partition; refuses before any work.

    Raises:
        ConfigError: the run has no partition.
        UnknownPartitionError: it is not one of the known projects.
        BusyProjectError: another run is at work on it.
    """
    if not context.has_partition_key:
        raise ConfigError(
            f"job {context.job_name} was started without a project",
            "Choose a partition in the launchpad, or give --partition workspace/project; the job "
            "`migrate` does all projects.",
        )
    partition = context.partition_key
    name = str(partitions.projects.name)
    if not context.instance.has_dynamic_partition(name, partition):
        raise UnknownPartitionError(partition, context.instance.get_dynamic_partitions(name))
    project = partitions.project_of(partition)
    guards.refuse_second(context, project)
    return project


def raise_failures(
    action: str, place: str, failures: Sequence[tuple[RunKey, MigrationError]]
) -> None:
    """Fails the step when runs failed: after all others were done, and naming each.

    Raises:
        dg.Failure: `allow_retries` when one of the errors may pass by itself.
    """
    if failures:
        named = [(str(key), str(error)) for key, error in failures]
        error = RunsFailedError(action, place, named)
        may_pass = any(not isinstance(failure, Terminal) for _, failure in failures)
        raise dg.Failure(
            str(error), metadata=findings_table(named, len(named)), allow_retries=may_pass
        ) from error


@contextmanager
def retried(context: dg.OpExecutionContext) -> Iterator[None]:
    """Asks for another attempt at the step unless the error is terminal.

    Not a `RetryPolicy`: that would also repeat a step that someone stopped with Ctrl-C.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Terminal) or not getattr(error, "allow_retries", True):
            raise
        wait = 2 * 4**context.retry_number
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error


@contextmanager
def _recording(
    context: dg.OpExecutionContext,
    archive: Archive,
    project: str,
    keys: Sequence[RunKey],
    each: bool,
) -> Iterator[None]:
    """Records the runs that were written inside the block, however it ends.

    Runs that were there before without a record (their step died) are recorded too.

    Args:
        each: whether runs have records at all.
    """
    if not each:
        yield
        return
    before = records.readable_manifests(archive, project, keys)
    if before:
        _record_missing(context, archive, project, list(before))
    try:
        yield
    finally:
        after = records.readable_manifests(archive, project, keys)
        records.record(
            context,
            records.EXPORTED,
            [(k, records.of_manifest(m)) for k, m in after.items() if before.get(k) != m],
        )


def _record_missing(
    context: dg.OpExecutionContext, archive: Archive, project: str, keys: Sequence[RunKey]
) -> int:
    """Records runs that lie on disk and have no record; returns how many."""
    known = records.recorded(context.instance, records.EXPORTED, project) if keys else set()
    missing = [key for key in keys if partitions.run_partition(key) not in known]
    manifests = records.readable_manifests(archive, project, missing)
    return records.record(
        context,
        records.EXPORTED,
        [(key, records.of_manifest(manifest)) for key, manifest in manifests.items()],
    )
