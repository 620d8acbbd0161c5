"""Writes the summary: `summary.json`, `summary.md` and an HTML page for each project.

`summary.json` holds `projects`, each with its figures and a list of its runs, then `totals`. Steps
are strings of decimals (a double would round them), times ISO 8601 in UTC, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from migration_pipeline import __version__
from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.report_file import report_file
from migration_pipeline.archive.summary import as_json, as_markdown, words
from migration_pipeline.archive.summary.aggregates import Aggregates, aggregate
from migration_pipeline.archive.summary.curves import draw
from migration_pipeline.archive.summary.figures import ProjectFigures, RunFigures
from migration_pipeline.archive.summary.listing import Problem
from migration_pipeline.archive.summary.metrics import Metrics, choose
from migration_pipeline.archive.summary.page import write_page

JSON_NAME, MARKDOWN_NAME = "summary.json", "summary.md"
_TOTALS = ("runs", "rows", "points", "parquet_bytes", "files", "missing_files", "file_bytes")


@dataclass(frozen=True)
class ProjectReport:
    """What was written of one project, and where its page lies."""

    figures: ProjectFigures
    metrics: Metrics
    page: Path


def page_name(project: str) -> str:
    return f"summary-{layout.name_on_disk(project)}.html"


def write_reports(
    archive: Archive,
    projects: Sequence[str],
    problems: Sequence[Problem],
    metrics: Sequence[str],
    folder: Path,
    done: Callable[[ProjectReport], None],
) -> list[ProjectReport]:
    """Summarizes projects, one after another.

    Args:
        problems: what belongs to none of them.
        metrics: as `metrics.choose` takes them.
        folder: where reports go; made if it is not there.
        done: called when a project's page is written.

    Raises:
        ReportNotWritableError: before anything is read where that can be known.
        InvalidRegexError: one of the metrics is none.
    """
    written = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    about = {
        "format": 1,
        "written_at": written,
        "written_by": f"migration_pipeline {__version__}",
        "data_path": str(archive.data),
        "files_path": str(archive.files),
    }
    reports: list[ProjectReport] = []
    with ExitStack() as stack:
        data = stack.enter_context(report_file(folder / JSON_NAME))
        text = stack.enter_context(report_file(folder / MARKDOWN_NAME))
        data.write(f'{as_json.dump(about)[:-1]}, "projects": [')
        text.write(f"# Summary of {words.markdown(str(archive.data))}\n\n{written}\n")
        text.writelines(f"{line}\n" for line in as_markdown.problem_lines(problems))
        for project in projects:
            with aggregate(archive, project) as sums:
                report = _write_page(sums, metrics, folder, about)
                data.write("," if reports else "")
                _write_json(data, report, sums.runs())
            lines = as_markdown.project_lines(report.figures, report.page.name)
            text.writelines(f"{line}\n" for line in lines)
            reports.append(report)
            done(report)
        totals = {name: sum(getattr(r.figures, name) for r in reports) for name in _TOTALS}
        data.write(f'\n], "problems": {as_json.dump([vars(p) for p in problems])}')
        data.write(f', "totals": {as_json.dump({"projects": len(reports), **totals})}}}\n')
    return reports


def _write_page(
    sums: Aggregates, metrics: Sequence[str], folder: Path, about: dict[str, Any]
) -> ProjectReport:
    chosen = choose(sums.float_series(), metrics)
    curves = draw(sums, chosen.paths)
    report = ProjectReport(sums.figures(), chosen, folder / page_name(sums.project))
    with report_file(report.page) as file:
        write_page(file, about | _project(report), sums.runs(), curves)
    return report


def _write_json(file: TextIO, report: ProjectReport, runs: Iterable[RunFigures]) -> None:
    file.write(f'\n{as_json.dump(_project(report))[:-1]}, "runs": [')
    for number, run in enumerate(runs):
        file.write(f"{',' if number else ''}\n{as_json.dump(as_json.run(run))}")
    file.write("]}")


def _project(report: ProjectReport) -> dict[str, Any]:
    return as_json.project(report.figures, report.metrics) | {"page": report.page.name}
