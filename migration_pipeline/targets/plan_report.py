"""`plan.json` and `plan.md`: a plan for programs and for people."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from migration_pipeline import __version__
from migration_pipeline.archive.manifest import now
from migration_pipeline.archive.report_file import report_file
from migration_pipeline.targets.forecast_sums import ProjectForecast, TargetForecast
from migration_pipeline.targets.plan_tables import TABLES, Row, plan_json

ROWS = 100
"""Of a table in `plan.md`."""
JSON, MARKDOWN = "plan.json", "plan.md"

_INTRODUCTION = """# Plan

Made {at} by migration_pipeline {version} from the archive {archive}. Nothing was sent to any
target. Times are estimates: what would be sent, at the rate that is named below; a network, a
target or a machine that is slower than that makes them longer, and reading back to verify comes on
top. Requests are counted for points, parameters and files; each run takes a handful besides.
"""


def write_plan(folder: Path, plans: Sequence[ProjectForecast], archive: str) -> list[Path]:
    """Writes both files; returns where they are.

    Raises:
        ReportNotWritableError: the directory does not take them.
    """
    at = now().isoformat()
    said = {"written_at": at, "written_by": f"migration_pipeline {__version__}", "archive": archive}
    with report_file(folder / JSON) as file:
        json.dump({**said, **plan_json(plans)}, file, ensure_ascii=False, indent=1)
    with report_file(folder / MARKDOWN) as file:
        file.write(_INTRODUCTION.format(at=at, version=__version__, archive=_cell(archive)))
        for title, rows in TABLES.items():
            _table(file, title, rows(plans))
        for line in _notes(plans):
            file.write(f"\n{line}\n")
    return [folder / JSON, folder / MARKDOWN]


def _table(file: TextIO, title: str, rows: Iterator[Row]) -> None:
    """A heading and a table, if there is a row."""
    shown = list(itertools.islice(rows, ROWS))
    if not shown:
        return
    more = sum(1 for _ in rows)
    columns = list(shown[0])
    file.write(f"\n## {title[0].upper()}{title[1:]}\n\n")
    file.write(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for row in shown:
        file.write(f"| {' | '.join(_cell(row[column]) for column in columns)} |\n")
    if more:
        file.write(f"\n{more:,} more are in {JSON}.\n")


def _cell(value: object) -> str:
    """A value in one line that Markdown shows as it is."""
    if isinstance(value, int):
        return f"{value:,}"
    text = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)


def _notes(plans: Sequence[ProjectForecast]) -> Iterator[str]:
    """What the tables do not say of themselves."""
    by_name: dict[str, TargetForecast] = {t.name: t for plan in plans for t in plan.targets}
    for name, there in sorted(by_name.items()):
        if there.capabilities.assumed:
            fields = ", ".join(there.capabilities.assumed).replace("_", " ")
            yield (
                f"Of {name}, no public source settles: {fields}. The cautious value was taken, so "
                "what is planned may lose less than it says."
            )
