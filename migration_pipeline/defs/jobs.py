"""`migrate_project` (one partition) and `migrate` (everything that is new): the cron line.

`migrate` starts a `migrate_project` for each project, in this process, as a Dagster run of its own:
the page then shows each project's run with its partition, and one project's failure does not stop
the others.
"""

import atexit
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field
from sqlalchemy.exc import OperationalError

from migration_pipeline.defs import (
    console,
    execution,
    export,
    liveness,
    load,
    partitions,
    records,
    settings,
    status,
)
from migration_pipeline.defs.checks import (
    HELD,
    LEFT_OUT,
    LEFT_OUT_COUNT,
    LEFT_OUT_REMEDY,
    LOADED_DAMAGED,
)
from migration_pipeline.defs.config import ExportConfig
from migration_pipeline.defs.examined import GRADED
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.load import LoadConfig
from migration_pipeline.defs.resources import ArchiveResource, SourceResource, target_resource
from migration_pipeline.errors import MigrationError, StorageUnavailableError
from migration_pipeline.progress import still
from migration_pipeline.sources.projects import (
    EXCLUDE_VARIABLE,
    INCLUDE_VARIABLE,
    NAMES_VARIABLE,
    ProjectChoice,
    find_projects,
)
from migration_pipeline.targets.registry import check_targets, target_names

TARGETS_VARIABLE = "MIGRATION_TARGETS"
PROJECT_JOB = "migrate_project"
NAMED = 20
"""Damaged runs that the last line names."""


def checked_targets(targets: Sequence[str]) -> list[str]:
    """
    Raises:
        UnknownNameError: one is not registered.
    """
    check_targets(targets)
    return list(targets)


class MigrateConfig(ExportConfig):
    """Which projects, where to, and what of them."""

    projects: list[str] = Field(
        default=settings.names(NAMES_VARIABLE),
        description=f"{NAMES_VARIABLE}: workspace/project names; empty: all that the source lists.",
    )
    include_projects: str = Field(
        default=settings.text(INCLUDE_VARIABLE),
        description=f"{INCLUDE_VARIABLE}: one regular expression, searched in workspace/project: "
        "only projects in which it is found.",
    )
    exclude_projects: str = Field(
        default=settings.text(EXCLUDE_VARIABLE),
        description=f"{EXCLUDE_VARIABLE}: the same: not projects in which it is found.",
    )
    targets: list[str] = Field(
        default=settings.names(TARGETS_VARIABLE),
        description=f"{TARGETS_VARIABLE}: names of targets; empty: export only.",
    )
    executor: str = Field(
        default=execution.chosen(),
        description=f"{execution.VARIABLE}: where the steps of each project's run work: "
        f"{', '.join(execution.NAMES)}.",
    )
    load: LoadConfig = Field(default=LoadConfig(), description="For every target.")

    def choice(self) -> ProjectChoice:
        return ProjectChoice(self.projects, self.include_projects, self.exclude_projects)

    def ops(self) -> dict[str, Any]:
        """Run config of `migrate_project` below `ops`."""
        selection = self.model_dump(include=set(ExportConfig.model_fields))
        ops = {export.KEY.to_python_identifier(): {"config": selection}}
        for name in self.targets:
            identifier = load.asset_key(name).to_python_identifier()
            ops[identifier] = {"config": self.load.model_dump()}
        return ops

    def run_config(self, of_migrate: Mapping[str, Any]) -> dict[str, Any]:
        """Run config of `migrate_project`, from that of `migrate`."""
        wanted = {"archive", "source", *self.targets}
        resources = of_migrate.get("resources", {})
        return {
            "ops": self.ops(),
            "execution": {"config": {self.executor: {}}},
            "resources": {k: v for k, v in resources.items() if k in wanted},
            "loggers": of_migrate.get("loggers", console.CONFIG),
        }


@dg.op(
    name="migrate_projects",
    required_resource_keys={"archive", "source", *target_names()},
    description="Finds the projects and runs `migrate_project` for each.",
    out=dg.Out(dg.Nothing),
)
def migrate_projects(context: dg.OpExecutionContext, config: MigrateConfig) -> None:
    with last_words("migrate"):
        # A start without a config uses the job's, which the run does not repeat.
        given: Any = context.run_config or context.job_def.run_config or {}
        run_config = config.run_config(given)
        source, archive = context.resources.source, context.resources.archive
        outcomes = migrate_all(context, source, archive, config, run_config)
        say_last(f"migrate: {summary(outcomes)}")
        context.add_output_metadata({"summary": summary(outcomes)})
    raise_for_failed(outcomes)


def default_config(targets: Sequence[str]) -> dict[str, Any]:
    """The run config that a start without one gets, written out so that the launchpad shows it."""
    resources = {"archive": ArchiveResource(), "source": SourceResource()}
    resources |= {name: target_resource(name) for name in targets}
    return {
        "loggers": console.CONFIG,
        "resources": {name: {"config": r.model_dump()} for name, r in resources.items()},
    }


def migrate_project(targets: Sequence[str]) -> Any:
    """The asset job over the export and the loads into these targets, checks included."""
    loads = [load.asset_key(name) for name in checked_targets(targets)]
    into = f", loads it into {', '.join(targets)}" if targets else ""
    return dg.define_asset_job(
        PROJECT_JOB,
        selection=dg.AssetSelection.assets(export.KEY, *loads),
        executor_def=execution.executor,
        config={
            **default_config(targets),
            "execution": {"config": {execution.chosen(): {}}},
            "ops": MigrateConfig(targets=list(targets)).ops(),
        },
        description=f"Exports one project{into}, and checks each. {TARGETS_VARIABLE} names the "
        "targets.",
        owners=OWNERS,
    )


@dg.job(
    executor_def=dg.in_process_executor,
    hooks=status.HOOKS,
    config={
        **default_config(target_names()),
        "ops": {"migrate_projects": {"config": MigrateConfig().model_dump()}},
    },
    description="Discovers projects, exports, loads and verifies what is new. The cron line: "
    "`dagster job execute -m migration_pipeline.definitions -j migrate`. Exits non-zero when "
    "anything failed.",
    owners=OWNERS,
)
def migrate() -> None:
    migrate_projects()


@dataclass
class Outcome:
    """What became of one project.

    Args:
        exported, checks: figures by name, of the export and of each target's check.
        loads: target → figures of its load.
    """

    project: str
    run_id: str
    success: bool
    seconds: float = 0.0
    exported: Mapping[str, Any] = field(default_factory=dict)
    loads: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def migrate_all(
    context: dg.OpExecutionContext,
    source: SourceResource,
    archive: ArchiveResource,
    config: MigrateConfig,
    run_config: Mapping[str, Any],
) -> list[Outcome]:
    """Runs `migrate_project` for each project; nothing is begun unless all names are known.

    Raises:
        UnknownNameError, UnknownProjectError, MissingSettingError, InvalidRegexError: before any
            work.
    """
    targets = checked_targets(config.targets)
    context.instance.add_run_tags(context.run_id, {liveness.TAG: liveness.this_process()})
    if dead := liveness.close_dead_runs(context.instance):
        context.log.info(f"{dead} run(s) of an earlier start had died; they are closed now")
    choice, selection = config.choice(), config.selection()
    with still(context.log.info, "listing the source's projects"):
        projects = find_projects(source.open(archive), choice, selection)
    keys = [partitions.project_partition(project) for project in projects]
    records.add_partitions(context.instance, partitions.projects, keys)
    context.log.info(f"{len(projects)} project(s): {', '.join(projects[:20])}")
    return [
        run_project(context.instance, project, targets, run_config, context.run_id)
        for project in projects
    ]


def run_project(
    instance: dg.DagsterInstance,
    project: str,
    targets: Sequence[str],
    run_config: Mapping[str, Any],
    parent_run: str,
) -> Outcome:
    """One `migrate_project` as a Dagster run of its own, in this process."""
    job = dg.build_reconstructable_job(
        "migration_pipeline.definitions", "project_job", reconstructable_args=(list(targets),)
    )
    tags = {
        "dagster/partition": partitions.project_partition(project),
        status.STARTED_BY: parent_run,
        liveness.TAG: liveness.this_process(),
    }
    started = time.monotonic()
    result = dg.execute_job(
        job, instance=instance, run_config=run_config, tags=tags, raise_on_error=False
    )
    outcome = Outcome(project, result.run_id, result.success, time.monotonic() - started)
    for event in result.all_events:
        _take(event, outcome)
        if event.is_job_failure and _was_interrupted(event):
            raise KeyboardInterrupt  # it stopped one project's run; it meant all
    if not result.success and not outcome.errors:
        outcome.errors.append(f"Dagster run {result.run_id} failed; the page shows why")
    return outcome


def _take(event: dg.DagsterEvent, outcome: Outcome) -> None:
    """Keeps the figures and errors of one event of a project's run."""
    if event.is_step_materialization and event.asset_key:
        metadata = _figures(event.materialization.metadata)
        if event.asset_key == export.KEY:
            outcome.exported = metadata
        elif event.asset_key.path[-1] == "load":
            outcome.loads[event.asset_key.path[0]] = metadata
    elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if check.check_name == HELD:
            outcome.checks[check.asset_key.path[0]] = _figures(check.metadata)
    elif event.is_step_failure:
        failure = event.step_failure_data
        said = failure.user_failure_data and failure.user_failure_data.description
        outcome.errors.append(said or console.message_of(failure.error))
    elif event.is_job_failure and (said := console.our_message(event.job_failure_data.error)):
        outcome.errors.append(said)  # not of a step: there was nobody to do it


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    error = event.job_failure_data.error
    return error is not None and error.cls_name in (
        "DagsterExecutionInterruptedError",
        "KeyboardInterrupt",
    )


def _figures(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line that says what happened, and a line for each error."""
    if not outcomes:
        return "no project is selected; nothing was done"
    good = sum(o.success for o in outcomes)
    taken = all(GRADED["damaged"] in o.exported for o in outcomes)
    exported = sum(o.exported.get("exported now", 0) for o in outcomes)
    exported += sum(o.exported.get("exported again", 0) for o in outcomes)
    loaded = sum(int(figures["runs loaded now"]) for o in outcomes for figures in o.loads.values())
    verified = sum(c["runs compared now"] for o in outcomes for c in o.checks.values())
    said = f"{good} of {len(outcomes)} projects done"
    if good == len(outcomes) and not (exported or loaded or verified):
        said += "; nothing was to be done"
    else:
        nothing = "nothing to export, for the source is the archive"
        said += f"; {nothing if taken else f'{exported} runs exported'}, {loaded} loaded, "
        said += f"{verified} read back and compared"
        said += " with what the archive holds" if taken else ""
    said += f"{_grades(outcomes) if taken else ''}{_damaged(outcomes)}"
    named = [f"  {o.project}: {error}" for o in outcomes for error in o.errors]
    return "\n".join([said, *named])


def _grades(outcomes: Sequence[Outcome]) -> str:
    """What the doctor says of the runs of an archive that is the source."""
    counts = {grade: sum(o.exported[figure] for o in outcomes) for grade, figure in GRADED.items()}
    said = ", ".join(f"{count} {grade}" for grade, count in counts.items() if count)
    return f"; its runs are graded: {said} (the job `doctor` says why)"


def _damaged(outcomes: Sequence[Outcome]) -> str:
    """Which damaged runs were not loaded, what to do about it, and how many were loaded."""
    checks = [list(o.checks.values()) for o in outcomes if o.checks]
    count, marked = (
        sum(max(check[figure] for check in of_project) for of_project in checks)
        for figure in (LEFT_OUT_COUNT, LOADED_DAMAGED)
    )
    said = ""
    if marked:
        said = f"; {marked} run(s) are damaged, marked so, and there as far as they can be read"
    if not count:
        return said
    each = (
        name for of_project in checks for check in of_project for name in check.get(LEFT_OUT, ())
    )
    names = list(dict.fromkeys(each))
    more = f" and {count - NAMED} more" if count > NAMED else ""
    advice = "" if all(o.success for o in outcomes) else f". {LEFT_OUT_REMEDY}"
    return f"{said}; {count} damaged run(s) left out: {', '.join(names[:NAMED])}{more}{advice}"


def raise_for_failed(outcomes: Sequence[Outcome]) -> None:
    failed = [o.project for o in outcomes if not o.success]
    if failed:
        raise dg.Failure(
            f"{len(failed)} of {len(outcomes)} projects failed: {', '.join(failed)}. Start the "
            "same job again: it does only what is missing.",
            allow_retries=False,
        )


_last: list[str] = []


def say_last(text: str) -> None:
    """Prints a text when the process ends, below all else.

    Dagster shows what steps print through a `tail` that it ends without waiting for it, so the
    last lines of a run may never be seen.
    """
    if not _last:
        atexit.register(lambda: print("\n".join(_last), flush=True))
    _last.append(text)


@contextmanager
def last_words(job: str) -> Iterator[None]:
    """The last line also says why nothing could be done."""
    try:
        yield
    except MigrationError as error:
        say_last(f"{job}: failed before anything was done: {error}")
        raise
    except Exception as error:
        said = _storage_is_gone(error) or f"{type(error).__name__}: {error}"
        say_last(f"{job}: failed: {said}")
        raise
    except KeyboardInterrupt:
        say_last(f"{job}: interrupted; what is done stays, and the next start does the rest")
        raise


def _storage_is_gone(error: BaseException | None) -> StorageUnavailableError | None:
    """Whether the database's client said so, below whatever Dagster made of it."""
    while error is not None:
        if isinstance(error, OperationalError):
            return StorageUnavailableError(str(error.orig).strip().splitlines()[0])
        error = error.__cause__
    return None
