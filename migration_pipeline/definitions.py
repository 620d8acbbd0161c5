"""The Dagster definitions; everything that they are made of lies in `defs/`."""

from collections.abc import Sequence

import dagster as dg

from migration_pipeline.defs import automation, execution, export, jobs, load, settings, status
from migration_pipeline.defs.adopt import adopt
from migration_pipeline.defs.console import console
from migration_pipeline.defs.demo import demo
from migration_pipeline.defs.doctor import doctor, not_damaged
from migration_pipeline.defs.plan import plan
from migration_pipeline.defs.resources import ArchiveResource, SourceResource, target_resource
from migration_pipeline.defs.summary import summary
from migration_pipeline.targets.registry import target_names


def definitions(targets: Sequence[str]) -> dg.Definitions:
    """Everything, with a job `migrate_project` that loads into these targets."""
    return dg.Definitions(
        assets=[
            export.export,
            export.source_record,
            export.run_records,
            status.status,
            *(load.load_asset(name) for name in target_names()),
            *(load.run_records(name) for name in target_names()),
        ],
        asset_checks=[not_damaged],
        jobs=[
            jobs.migrate,
            jobs.migrate_project(targets),
            adopt,
            doctor,
            plan,
            summary,
            demo,
        ],
        sensors=[automation.discover_projects, automation.follow_source],
        schedules=[automation.nightly],
        resources={
            "archive": ArchiveResource(),
            "source": SourceResource(),
            **{name: target_resource(name) for name in target_names()},
        },
        executor=execution.executor,
        loggers={"console": console},
    )


@settings.remembered
def project_job(targets: Sequence[str]) -> dg.JobDefinition:
    """`migrate_project` for these targets, whatever the environment says."""
    return definitions(targets).resolve_job_def(jobs.PROJECT_JOB)


defs = definitions(settings.names(jobs.TARGETS_VARIABLE))
