"""The job `doctor`, and the check that no run of a project in the archive is damaged.

The job reads everything, digests included, and writes reports. That runs are damaged is what it was
asked to find out: it then ends with success and says so, and the check is what fails. The check
goes with each export, so it takes manifests at their word unless told otherwise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from migration_pipeline.archive.doctor.diagnosis import (
    ArchiveDiagnosis,
    Diagnosis,
    Grade,
    ProjectFinding,
)
from migration_pipeline.archive.doctor.examine import examine, examine_archive
from migration_pipeline.archive.doctor.repair import RepairReport, repair, repair_directory
from migration_pipeline.archive.doctor.report import write_reports
from migration_pipeline.defs import console, export, partitions, settings, status
from migration_pipeline.defs.checks import findings_table
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.jobs import last_words, say_last
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.progress import speaking, still
from migration_pipeline.sources.projects import NAMES_VARIABLE

NOT_DAMAGED = "not_damaged"
RUNS_KEPT = 100


class DoctorConfig(dg.Config):
    """What is examined, and how closely."""

    projects: list[str] = Field(
        default=settings.names(NAMES_VARIABLE),
        description=f"{NAMES_VARIABLE}: workspace/project names; empty: all in the archive.",
    )
    thorough: bool = Field(
        default=True,
        description="Recompute the digests of rows and files that manifests announce; without it "
        "no run is called complete. Runs without a manifest are read wholly in any case.",
    )
    repair_to: str = Field(
        default="",
        description="A new directory, to which the archive is written with the order of rows and "
        "equal rows repaired; empty: nothing is written but reports.",
    )


class CheckConfig(dg.Config):
    """The check of one project."""

    thorough: bool = Field(
        default=False, description="Recompute the digests of rows and files of manifests."
    )


@dg.op(
    name="examine_archive",
    description="Grades every run of the archive and writes the reports.",
    out=dg.Out(dg.Nothing),
)
def examine_runs(
    context: dg.OpExecutionContext, config: DoctorConfig, archive: ArchiveResource
) -> None:
    with last_words("doctor"):
        opened, to = archive.open(), None
        if config.repair_to:
            to = repair_directory(config.repair_to, opened)

        doing = "looking for projects"

        def progress(project: str, done: int, runs: int) -> None:
            nonlocal doing
            doing = f"{project}: {done} of {runs} runs examined"
            if done == runs:
                context.log.info(doing)

        with speaking(context.log.info, lambda: doing):
            found = examine_archive(
                opened,
                config.projects,
                thorough=config.thorough,
                errors=archive.errors(),
                progress=progress,
            )
        with still(context.log.info, "repairing and writing reports"):
            repairs = [repair(opened, project, to) for project in found.projects] if to else []
            paths = write_reports(found, Path(archive.report_path).absolute(), repairs)
        context.add_output_metadata(
            {
                **grades_metadata(found.grades(), _runs(found), found.all_findings()),
                **_repair_metadata(repairs),
                "thorough": found.thorough,
                **{path.name: dg.MetadataValue.path(str(path)) for path in paths},
            }
        )
        say_last(f"doctor: {summary(found, repairs)}; see {paths[1]}")


@dg.job(
    executor_def=dg.in_process_executor,
    hooks=status.HOOKS,
    config={
        "loggers": console.CONFIG,
        "resources": {"archive": {"config": ArchiveResource().model_dump()}},
        "ops": {"examine_archive": {"config": DoctorConfig().model_dump()}},
    },
    description="Grades every run of the archive: complete, plausible, suspect (with reasons) or "
    "damaged (with proof). Writes doctor.json and doctor.md; repairs into a new directory when "
    "asked to.",
    owners=OWNERS,
)
def doctor() -> None:
    examine_runs()


@dg.asset_check(
    asset=export.KEY,
    name=NOT_DAMAGED,
    partitions_def=partitions.projects,
    description="No run is damaged: nothing contradicts its manifest, the rest of the archive, or "
    "what neptune-exporter recorded of failures. Runs that are only suspect are counted.",
)
def not_damaged(
    context: dg.AssetCheckExecutionContext, config: CheckConfig, archive: ArchiveResource
) -> dg.AssetCheckResult:
    opened = archive.open()
    project = partitions.project_of(context.partition_key)
    with still(context.log.info, f"{project}: examining its runs"):
        found = examine(opened, project, thorough=config.thorough, errors=archive.errors())
    return dg.AssetCheckResult(
        passed=not found.grades()["damaged"],
        metadata=grades_metadata(found.grades(), found.runs, found.findings),
    )


def grades_metadata(
    grades: Mapping[Grade, int], runs: Sequence[Diagnosis], findings: Sequence[ProjectFinding]
) -> dict[str, Any]:
    """Figures, and tables of damaged and suspect runs and of findings, each cut to the first."""
    bad = [run for grade in ("damaged", "suspect") for run in runs if run.grade == grade]
    rows = [
        dg.TableRecord(
            {
                "run": str(run.key),
                "grade": run.grade,
                "reasons": "; ".join(
                    f"{reason.text} (proof)" if reason.proof else reason.text
                    for reason in run.reasons
                ),
            }
        )
        for run in bad[:RUNS_KEPT]
    ]
    listed = [(one.project or "archive", one.text) for one in findings]
    return {
        **{f"runs {grade}": number for grade, number in grades.items()},
        **_table("damaged and suspect runs", rows, len(bad)),
        **findings_table(listed[:RUNS_KEPT], len(listed)),
    }


def summary(found: ArchiveDiagnosis, repairs: Sequence[RepairReport]) -> str:
    """One line: how many runs of each grade, and what was repaired."""
    counts = ", ".join(f"{number} {grade}" for grade, number in found.grades().items())
    runs = sum(len(project.runs) for project in found.projects)
    said = f"{runs} runs of {len(found.projects)} project(s): {counts}"
    if repairs:
        written = sum(len(report.repaired) for report in repairs)
        left_out = sum(len(report.left_out) for report in repairs)
        said += f"; {written} repaired, {left_out} left out in {repairs[0].data.parent}"
    return said


def _runs(found: ArchiveDiagnosis) -> list[Diagnosis]:
    return [run for project in found.projects for run in project.runs]


def _repair_metadata(repairs: Sequence[RepairReport]) -> dict[str, Any]:
    rows = [
        dg.TableRecord(
            {"run": str(one.key), "rows now": one.rows, "equal rows removed": one.removed}
        )
        for report in repairs
        for one in report.repaired
    ][:RUNS_KEPT]
    return _table("repaired runs", rows, sum(len(report.repaired) for report in repairs))


def _table(title: str, rows: Sequence[dg.TableRecord], of: int) -> dict[str, dg.MetadataValue]:
    """A table that says how many of all it shows; nothing when there are none."""
    shown = "" if len(rows) == of else f", first {len(rows)} of {of}"
    return {f"{title} (table{shown})": dg.MetadataValue.table(list(rows))} if rows else {}
