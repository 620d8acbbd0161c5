"""What runs by itself once it is turned on: discovery of projects, and a nightly `migrate`."""

import dagster as dg

from migration_pipeline.defs import partitions, settings
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.jobs import migrate
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline.sources.projects import (
    EXCLUDE_VARIABLE,
    INCLUDE_VARIABLE,
    NAMES_VARIABLE,
    ProjectChoice,
)


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
    choice = ProjectChoice(
        settings.names(NAMES_VARIABLE),
        settings.text(INCLUDE_VARIABLE),
        settings.text(EXCLUDE_VARIABLE),
    )
    found = choice.of(source.open(archive).list_projects())
    known = set(context.instance.get_dynamic_partitions(str(partitions.projects.name)))
    new = [key for p in found if (key := partitions.project_partition(p)) not in known]
    if not new:
        return dg.SkipReason(f"none of the source's {len(found)} projects is new")
    return dg.SensorResult(dynamic_partitions_requests=[partitions.projects.build_add_request(new)])


nightly = dg.ScheduleDefinition(
    name="migrate_nightly",
    job=migrate,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Exports, loads and verifies what is new, every night at 03:00 UTC.",
    owners=OWNERS,
)
