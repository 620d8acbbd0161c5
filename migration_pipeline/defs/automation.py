"""What runs by itself once it is turned on: discovery of projects, a nightly `migrate`, and the
sensor that migrates a project whenever its runs are new or changed."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile

import dagster as dg

from migration_pipeline.defs import export, partitions, settings
from migration_pipeline.defs.config import ExportConfig
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.jobs import PROJECT_JOB, TARGETS_VARIABLE, migrate
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline.errors import MigrationError
from migration_pipeline.sources.projects import (
    EXCLUDE_VARIABLE,
    INCLUDE_VARIABLE,
    NAMES_VARIABLE,
    ProjectChoice,
)
from migration_pipeline.sources.source import RunRef

FOLLOWING_SECONDS = 30.0
"""Spent on listing projects in one evaluation; Dagster stops one after 60. The rest comes next."""
AGAIN_SECONDS, AGAIN_AT_MOST = 3600, 24 * 3600
"""After a failure, twice as long after each further one: what fails for good waits for a person,
and a day is soon enough to see whether one came."""
_FAILURES = 6
"""In a row that are counted; after as many the longest wait is reached."""
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_RETRIES = {"dagster/max_retries": "2"}
"""Of a Dagster run whose process died; `dagster.yaml` turns such retries on."""


@dg.sensor(
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Adds the source's projects as partitions, so that they can be chosen on the page. "
    f"{NAMES_VARIABLE}, {INCLUDE_VARIABLE} and {EXCLUDE_VARIABLE} limit it. A project that is "
    "gone at the source stays a partition.",
    owners=OWNERS,
)
def discover_projects(
    context: dg.SensorEvaluationContext, source: SourceResource, archive: ArchiveResource
) -> dg.SensorResult | dg.SkipReason:
    found = _choice().of(source.open(archive).list_projects())
    known = set(context.instance.get_dynamic_partitions(str(partitions.projects.name)))
    new = [key for p in found if (key := partitions.project_partition(p)) not in known]
    if not new:
        return dg.SkipReason(f"none of the source's {len(found)} projects is new")
    return dg.SensorResult(dynamic_partitions_requests=[partitions.projects.build_add_request(new)])


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    job_name=PROJECT_JOB,
    description="Lists the runs of every project at the source and starts `migrate_project` for "
    "each project with new or changed runs; new projects become partitions. What is loaded is what "
    f"{TARGETS_VARIABLE} names. A project that a Dagster run is at work on waits; one whose run "
    "failed is tried again after an hour, then two, four, and so on up to a day; at once when its "
    "runs change.",
    owners=OWNERS,
)
def follow_source(
    context: dg.SensorEvaluationContext, source: SourceResource, archive: ArchiveResource
) -> dg.SensorResult:
    opened = source.open(archive)
    projects = sorted(_choice().of(opened.list_projects()))
    seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    turn = seen.pop("", "")
    busy = _busy(context.instance)
    requests: list[dg.RunRequest] = []
    observed: list[dg.AssetObservation] = []
    until, begun = time.monotonic() + FOLLOWING_SECONDS, False
    for project in _from(projects, turn):
        turn = project
        if begun and time.monotonic() > until:
            break
        begun, key = True, partitions.project_partition(project)
        if key in busy:
            continue
        try:
            runs = opened.list_runs(project, ExportConfig().selection())
        except MigrationError as error:  # the others are followed all the same
            context.log.error(f"{project} cannot be listed: {error}")
            continue
        state, failed = _state(runs), _failed_before(context.instance, key)
        if seen.get(key) != state or failed:
            seen[key] = state
            observed.append(export.observation(key, len(runs)))
            run_key = f"{key} {state} {failed}".strip()
            requests.append(dg.RunRequest(run_key=run_key, partition_key=key, tags=_RETRIES))
    else:
        turn = ""
    known = set(context.instance.get_dynamic_partitions(str(partitions.projects.name)))
    added = [str(r.partition_key) for r in requests if r.partition_key not in known]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[partitions.projects.build_add_request(added)] if added else [],
        asset_events=observed,
        cursor=json.dumps({**seen, "": turn}),
        skip_reason=None if requests else f"none of {len(projects)} project(s) is new or changed",
    )


def _choice() -> ProjectChoice:
    return ProjectChoice(
        settings.names(NAMES_VARIABLE),
        settings.text(INCLUDE_VARIABLE),
        settings.text(EXCLUDE_VARIABLE),
    )


def _from(projects: Sequence[str], turn: str) -> Iterator[str]:
    """All of them, beginning with the one that an evaluation before did not reach."""
    yield from (project for project in projects if project >= turn)
    yield from (project for project in projects if project < turn)


def _state(runs: Sequence[RunRef]) -> str:
    """Differs when a run is new, gone or changed."""
    digest = hashlib.blake2b(digest_size=16)
    for run in sorted(runs, key=lambda run: str(run.key)):
        digest.update(f"{run.key}\0{run.modified}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _busy(instance: dg.DagsterInstance) -> set[str]:
    """Partitions that an unfinished Dagster run is at work on."""
    unfinished = dg.RunsFilter(statuses=_UNFINISHED)
    return {run.tags.get("dagster/partition", "") for run in instance.get_runs(unfinished)}


def _failed_before(instance: dg.DagsterInstance, partition: str) -> str:
    """Id of the partition's last Dagster run if that failed long enough ago to try again."""
    of_project = dg.RunsFilter(job_name=PROJECT_JOB, tags={"dagster/partition": partition})
    last = instance.get_run_records(of_project, limit=_FAILURES)
    failed = list(
        takewhile(lambda one: one.dagster_run.status == dg.DagsterRunStatus.FAILURE, last)
    )
    if not failed:
        return ""
    wait = min(AGAIN_SECONDS * 2 ** (len(failed) - 1), AGAIN_AT_MOST)
    long_ago = time.time() - (failed[0].end_time or 0) > wait
    return failed[0].dagster_run.run_id if long_ago else ""


nightly = dg.ScheduleDefinition(
    name="migrate_nightly",
    job=migrate,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Exports, loads and verifies what is new, every night at 03:00 UTC.",
    owners=OWNERS,
)
