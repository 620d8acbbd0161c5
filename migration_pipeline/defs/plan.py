"""`plan`: what a load would do, before anything is sent: figures, losses, renames, times.

It only reads: the archive, and what a target that is configured and answers says of its runs.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from migration_pipeline.defs import settings, status
from migration_pipeline.defs.checks import DAMAGED_VARIABLE
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.jobs import TARGETS_VARIABLE, default_config, last_words, say_last
from migration_pipeline.defs.load import LoadConfig
from migration_pipeline.defs.load_figures import TABLE_ROWS
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.errors import ConfigError
from migration_pipeline.sources.archive.source import ArchiveSource
from migration_pipeline.sources.projects import NAMES_VARIABLE, ProjectChoice, find_projects
from migration_pipeline.sources.source import Selection
from migration_pipeline.targets.damage import Handling
from migration_pipeline.targets.forecast_sums import ProjectForecast
from migration_pipeline.targets.forecasting import Candidate, forecast_project
from migration_pipeline.targets.plan_report import write_plan
from migration_pipeline.targets.plan_tables import TABLES, target_rows
from migration_pipeline.targets.registry import capabilities_of, check_targets, target_names


class PlanConfig(dg.Config):
    """Which projects, and for which targets."""

    projects: list[str] = Field(
        default=settings.names(NAMES_VARIABLE),
        description=f"{NAMES_VARIABLE}: workspace/project names; empty: all that the archive "
        "holds.",
    )
    targets: list[str] = Field(
        default=settings.names(TARGETS_VARIABLE),
        description=f"{TARGETS_VARIABLE}: names of targets; empty: all of them: "
        f"{', '.join(target_names())}.",
    )
    load: LoadConfig = Field(
        default=LoadConfig(), description="How the load would be done, for every target."
    )


@dg.op(
    name="plan_load",
    required_resource_keys={"archive", *target_names()},
    description="Counts what a load would send, and what each target would not hold of it.",
    out=dg.Out(dg.Nothing),
)
def plan_op(context: dg.OpExecutionContext, config: PlanConfig) -> None:
    with last_words("plan"):
        resource: ArchiveResource = context.resources.archive
        archive, errors = resource.open(), resource.errors()
        candidates = [_candidate(context, name) for name in _checked(config.targets)]
        source, choice = ArchiveSource(archive), ProjectChoice(config.projects)
        plans = []
        for project in find_projects(source, choice, Selection()):
            context.log.info(f"{project}: planning for {', '.join(c.name for c in candidates)}")
            plans.append(
                forecast_project(
                    archive,
                    project,
                    candidates,
                    config.load.settings(),
                    context.log.info,
                    handling=config.load.damaged,
                    errors=errors,
                )
            )
        written = write_plan(Path(resource.report_path).absolute(), plans, str(archive.data))
        context.add_output_metadata(_metadata(plans, written))
        say_last(_said(plans, written, config.load.damaged))


def _checked(names: Sequence[str]) -> list[str]:
    """
    Raises:
        UnknownNameError: one is not registered.
    """
    check_targets(names)
    return list(dict.fromkeys(names)) or target_names()


def _candidate(context: dg.OpExecutionContext, name: str) -> Candidate:
    """A target that is not configured is planned for without being asked."""
    try:
        target = getattr(context.resources, name).open()
    except ConfigError as error:
        return Candidate(name, capabilities_of(name), unasked=str(error))
    return Candidate(name, target.capabilities, target)


def _metadata(
    plans: Sequence[ProjectForecast], written: Sequence[Path]
) -> dict[str, dg.MetadataValue]:
    """The whole plan to be read, where its files are, and its tables."""
    text = next(path for path in written if path.suffix == ".md").read_text(encoding="utf-8")
    files = {path.name: dg.MetadataValue.path(str(path)) for path in written}
    return {"plan": dg.MetadataValue.md(text), **files, **dict(_tables(plans))}


def _tables(plans: Sequence[ProjectForecast]) -> Iterator[tuple[str, dg.MetadataValue]]:
    for title, rows in TABLES.items():
        left = rows(plans)
        shown = [dg.TableRecord(row) for row in itertools.islice(left, TABLE_ROWS)]
        if more := sum(1 for _ in left):
            title = f"{title} (the first {len(shown)} of {len(shown) + more})"
        if shown:
            yield title, dg.MetadataValue.table(shown)


_FATES: dict[Handling, str] = {
    "fail": f"a load leaves them out and then fails, unless {DAMAGED_VARIABLE} decides",
    "leave out": "a load leaves them out",
    "load": "a load takes what can be read of them and marks it",
}


def _said(plans: Sequence[ProjectForecast], written: Sequence[Path], handling: Handling) -> str:
    """What a person in a terminal wants to know first."""
    runs = sum(plan.kinds.total() for plan in plans)
    lines = [f"plan: {runs:,} runs of {len(plans)} project(s); nothing was sent"]
    for row in target_rows(plans):
        lines.append(
            f"  {row['project']} into {row['target']}: {row['runs to load']:,} runs to load, "
            f"{row['points']:,} points, {row['files']:,} files; complete there: "
            f"{row['complete there']}; {row['values not held as they are']:,} values not held as "
            f"they are, {row['renamed']:,} renames, step multiplier {row['step multiplier']:,}; "
            f"estimated time: {row['estimated time']}"
        )
    for plan in plans:
        lines += [
            f"  {plan.project}: {there.name} was not asked what is there: {there.unasked}"
            for there in plan.targets
            if not there.asked
        ]
        if plan.damaged:
            run, what = plan.damaged[0]
            lines.append(
                f"  {plan.project}: {len(plan.damaged):,} damaged runs; {_FATES[handling]}. The "
                f"first: {run}: {what}"
            )
    return "\n".join([*lines, f"  all of it: {', '.join(map(str, written))}"])


def _default_config() -> dict[str, Any]:
    """The config of a start without one; a plan needs no source."""
    found = default_config(target_names())
    of_plan = {name: given for name, given in found["resources"].items() if name != "source"}
    ops = {"plan_load": {"config": PlanConfig().model_dump()}}
    return {**found, "resources": of_plan, "ops": ops}


@dg.job(
    name="plan",
    executor_def=dg.in_process_executor,
    hooks=status.HOOKS,
    config=_default_config(),
    description="Says what a load of the archive would do at each target, before anything is sent: "
    "losses and renames by name, step multipliers, requests, estimated times, what is there "
    "already. Writes plan.json and plan.md into MIGRATION_REPORT_PATH.",
    owners=OWNERS,
)
def plan() -> None:
    plan_op()
