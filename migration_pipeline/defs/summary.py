"""`summary`: what the archive holds, as tables here, as JSON and Markdown, and a page a project.

It reads the archive only. What cannot be read of it is named and does not fail the job: whether
something is damaged is the doctor's question.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import dagster as dg
from pydantic import Field

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.summary import words
from migration_pipeline.archive.summary.as_markdown import kinds_in_words
from migration_pipeline.archive.summary.listing import Problem, projects_on_disk
from migration_pipeline.archive.summary.report import (
    JSON_NAME,
    MARKDOWN_NAME,
    ProjectReport,
    write_reports,
)
from migration_pipeline.defs import console, settings, status
from migration_pipeline.defs.checks import FINDINGS_KEPT, findings_table
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.jobs import last_words, say_last
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.errors import UnknownNameError
from migration_pipeline.progress import still
from migration_pipeline.sources.projects import NAMES_VARIABLE

TABLE_ROWS = 500
Rows = Iterable[dict[str, str | int]]


class SummaryConfig(dg.Config):
    """What is summarized, and which curves are drawn."""

    projects: list[str] = Field(
        default=settings.names(NAMES_VARIABLE),
        description=f"{NAMES_VARIABLE}: workspace/project names; empty: all that the archive "
        "holds.",
    )
    metrics: list[str] = Field(
        default=[],
        description="Float series to draw: names, or regular expressions that are searched in "
        "names. Empty: a few that most runs have, by a rule of thumb.",
    )


@dg.op(
    name="summarize_archive",
    description="Counts what the archive holds and writes the reports and pages.",
    out=dg.Out(dg.Nothing),
)
def summarize(
    context: dg.OpExecutionContext, config: SummaryConfig, archive: ArchiveResource
) -> None:
    with last_words("summary"):
        opened, folder = archive.open(), Path(archive.report_path).absolute()
        projects, problems = _projects(opened, config.projects)

        def done(report: ProjectReport) -> None:
            context.log.info(f"{report.figures.project}: {_in_words(report)}")
            if report.metrics.unmatched:
                unmatched = ", ".join(report.metrics.unmatched)
                context.log.warning(
                    f"{report.figures.project}: no float series matches {unmatched}"
                )

        with still(context.log.info, f"summing up {len(projects)} project(s)"):
            reports = write_reports(opened, projects, problems, config.metrics, folder, done)
        context.add_output_metadata(_metadata(reports, problems, folder))
        say_last(f"summary: {said(reports, problems)}; see {folder / MARKDOWN_NAME}")


@dg.job(
    name="summary",
    executor_def=dg.in_process_executor,
    hooks=status.HOOKS,
    config={
        "loggers": console.CONFIG,
        "resources": {"archive": {"config": ArchiveResource().model_dump()}},
        "ops": {"summarize_archive": {"config": SummaryConfig().model_dump()}},
    },
    description="Says what the archive holds: projects, runs, attribute types, steps, bytes, "
    "times, biggest runs. Writes summary.json, summary.md and, for each project, an HTML page with "
    "its runs and curves, which opens from disk, into MIGRATION_REPORT_PATH.",
    owners=OWNERS,
)
def summary() -> None:
    summarize()


def _projects(archive: Archive, names: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """
    Raises:
        NotAnArchiveError: there is nothing in it.
        UnknownNameError: a project is not in the archive.
    """
    there, problems = projects_on_disk(archive)
    for name in names:
        if name not in there:
            raise UnknownNameError("project in the archive", name, there, NAMES_VARIABLE)
    return list(dict.fromkeys(names)) or there, problems


def _in_words(report: ProjectReport) -> str:
    figures = report.figures
    problems = f", {len(figures.problems)} problem(s)" if figures.problems else ""
    return (
        f"{kinds_in_words(figures.kinds)}, {figures.rows:,} rows, "
        f"{words.size(figures.bytes)}{problems}"
    )


def said(reports: Sequence[ProjectReport], problems: Sequence[Problem]) -> str:
    """One line: how much there is, and what could not be read."""
    runs = sum(report.figures.runs for report in reports)
    rows = sum(report.figures.rows for report in reports)
    size = words.size(sum(report.figures.bytes for report in reports))
    named = [*problems, *(p for report in reports for p in report.figures.problems)]
    line = f"{runs:,} runs of {len(reports)} project(s), {rows:,} rows, {size}"
    if named:
        line += f"; {len(named)} problem(s), such as {named[0].where}: {named[0].what}"
    return line


def _metadata(
    reports: Sequence[ProjectReport], problems: Sequence[Problem], folder: Path
) -> dict[str, dg.MetadataValue]:
    named = [(p.where, p.what) for p in problems]
    named += [(p.where, p.what) for report in reports for p in report.figures.problems]
    return {
        **_table("projects", _project_rows(reports)),
        **_table("attribute types", _type_rows(reports)),
        **_table("biggest runs", _biggest_rows(reports)),
        **findings_table(named[:FINDINGS_KEPT], len(named)),
        **{name: dg.MetadataValue.path(str(folder / name)) for name in (JSON_NAME, MARKDOWN_NAME)},
        **{f"page of {r.figures.project}": dg.MetadataValue.path(str(r.page)) for r in reports},
    }


def _table(title: str, rows: Rows) -> dict[str, dg.MetadataValue]:
    """A table that says when it does not show all."""
    left = iter(rows)
    shown = [dg.TableRecord(row) for row in islice(left, TABLE_ROWS)]
    if more := sum(1 for _ in left):
        title = f"{title} (the first {len(shown)} of {len(shown) + more})"
    return {title: dg.MetadataValue.table(shown)} if shown else {}


def _project_rows(reports: Sequence[ProjectReport]) -> Rows:
    for figures in (report.figures for report in reports):
        yield {
            "project": figures.project,
            "holds": kinds_in_words(figures.kinds),
            "by another tool": figures.adopted,
            "unreadable": figures.unreadable,
            "attributes": figures.attributes,
            "rows": figures.rows,
            "points": figures.points,
            "least step": words.step(figures.steps.range.least) or "",
            "most step": words.step(figures.steps.range.most) or "",
            "first point": words.time(figures.times.least) or "",
            "last point": words.time(figures.times.most) or "",
            "parquet bytes": figures.parquet_bytes,
            "files": figures.files,
            "file bytes": figures.file_bytes,
            "files not there": figures.missing_files,
        }


def _type_rows(reports: Sequence[ProjectReport]) -> Rows:
    for figures in (report.figures for report in reports):
        for one in figures.types:
            yield {
                "project": figures.project,
                "type": one.type,
                "attributes": one.attributes,
                "rows": one.rows,
                "least step": words.step(one.steps.least) or "",
                "most step": words.step(one.steps.most) or "",
            }


def _biggest_rows(reports: Sequence[ProjectReport]) -> Rows:
    for run in (run for report in reports for run in report.figures.biggest):
        yield {
            "run": str(run.key),
            "name": run.name,
            "rows": run.rows,
            "parquet bytes": run.parquet_bytes,
            "file bytes": run.file_bytes,
        }
