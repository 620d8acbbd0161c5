"""`adopt`: an archive that another tool wrote, or that lies here from before, becomes ours to see.

Nothing in its directories is moved or written. Its projects become partitions, its runs records
with their grades, so that backfills, lineage and loads work on it as on an export of our own.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from migration_pipeline.archive.archive import Archive
from migration_pipeline.defs import console, export, partitions, records, settings, status
from migration_pipeline.defs.checks import examine, findings_table
from migration_pipeline.defs.doctor import NOT_DAMAGED
from migration_pipeline.defs.examined import GRADED, take
from migration_pipeline.defs.export import OWNERS, Payload
from migration_pipeline.defs.export_figures import totals
from migration_pipeline.defs.jobs import last_words, say_last
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.progress import still
from migration_pipeline.sources.archive.source import ArchiveSource
from migration_pipeline.sources.projects import NAMES_VARIABLE, ProjectChoice, find_projects
from migration_pipeline.sources.source import Selection

NAMED = 20
"""Damaged runs that the last lines name."""


class AdoptConfig(dg.Config):
    """Which of the archive's projects."""

    projects: list[str] = Field(
        default=settings.names(NAMES_VARIABLE),
        description=f"{NAMES_VARIABLE}: workspace/project names; empty: all that the archive "
        "holds.",
    )


@dg.op(description="Examines the archive's projects and records their runs.")
def adopt_projects(
    context: dg.OpExecutionContext, config: AdoptConfig, archive: ArchiveResource
) -> None:
    with last_words("adopt"):
        there = archive.open()
        source = ArchiveSource(there, archive.errors())
        with still(context.log.info, "looking for the archive's projects"):
            projects = find_projects(source, ProjectChoice(config.projects), Selection())
        keys = [partitions.project_partition(project) for project in projects]
        records.add_partitions(context.instance, partitions.projects, keys)
        taken = [adopt_project(context, source, there, project) for project in projects]
        checks = [check(project, found) for project, found in zip(projects, taken, strict=True)]
        for one in sorted(checks, key=lambda one: not one.passed):  # the page shows the last one
            context.log_event(one)  # type: ignore[arg-type]  # it takes more than it declares
        said = summary(projects, taken)
        say_last(f"adopt: {said}")
    damaged = [run for found in taken for run in found["damaged"]]
    count = sum(found["grades"][GRADED["damaged"]] for found in taken)
    context.add_output_metadata({"summary": said, **findings_table(damaged, count)})


def adopt_project(
    context: dg.OpExecutionContext, source: ArchiveSource, archive: Archive, project: str
) -> Payload:
    """Records a project's runs and, when that told anything new, the project itself.

    `neptune/export` gets a materialization, so that a load of the project misses nothing upstream.
    """
    taken = take(context, source, archive, project)
    partition = partitions.project_partition(project)
    if taken["new"] or partition not in context.instance.get_materialized_partitions(export.KEY):
        with still(context.log.info, f"{project}: counting what it holds"):
            held = totals(examine(archive, project))
        metadata: dict[str, Any] = {
            **held,
            "adopted from": str(archive.data),
            **_figures(taken),
        }
        context.log_event(
            dg.AssetMaterialization(export.KEY, partition=partition, metadata=metadata)
        )
    return taken


def check(project: str, taken: Payload) -> dg.AssetCheckEvaluation:
    """The grades as those of the check, so that the page has them before anything is loaded."""
    return dg.AssetCheckEvaluation(
        export.KEY,
        NOT_DAMAGED,
        passed=not taken["grades"][GRADED["damaged"]],
        metadata=_figures(taken),
        partition=partitions.project_partition(project),
    )


def _figures(taken: Payload) -> dict[str, Any]:
    damaged = taken["grades"][GRADED["damaged"]]
    return {**taken["grades"], **findings_table(taken["damaged"], damaged)}


def summary(projects: Sequence[str], taken: Sequence[Payload]) -> str:
    """One line that says what was found and recorded, and a line for each of the first damaged."""
    grades = {figure: sum(found["grades"][figure] for found in taken) for figure in GRADED.values()}
    new = sum(found["new"] for found in taken)
    said = ", ".join(f"{count} {figure.removeprefix('runs ')}" for figure, count in grades.items())
    recorded = f"{new} records written" if new else "all of that was recorded before"
    lines = [
        f"{len(projects)} project(s) with {sum(grades.values())} runs ({said}); {recorded}",
        *(f"  damaged: {run}: {what}" for found in taken for run, what in found["damaged"]),
    ]
    if len(lines) > NAMED + 1:
        rest = grades[GRADED["damaged"]] - NAMED
        lines = [*lines[: NAMED + 1], f"  and {rest} more; the job `doctor` names all"]
    return "\n".join(lines)


@dg.job(
    executor_def=dg.in_process_executor,
    hooks=status.HOOKS,
    config={
        "loggers": console.CONFIG,
        "resources": {"archive": {"config": ArchiveResource().model_dump()}},
        "ops": {"adopt_projects": {"config": AdoptConfig().model_dump()}},
    },
    description="Takes an archive that lies here already, such as neptune-exporter's, as it is: "
    "its projects become partitions, its runs records with the doctor's grades.",
    owners=OWNERS,
)
def adopt() -> None:
    adopt_projects()
