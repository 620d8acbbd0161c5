"""`status.html`: how far the migration is, for people without Dagster.

One file without scripts and without anything from elsewhere, so it can be mailed, opened from a
share, or left open: it reloads itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from migration_pipeline.archive.report_file import report_file
from migration_pipeline.archive.summary.words import size
from migration_pipeline.status.figures import (
    Stage,
    Status,
    counted,
    duration,
    headline,
    in_order,
)
from migration_pipeline.status.picture import svg

PAGE_NAME = "status.html"
COLUMNS = (
    "project",
    "place",
    "state",
    "runs there",
    "of",
    "verified",
    "failed",
    "damaged",
    "points",
    "bytes of files",
    "points/s",
    "time left",
)
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta http-equiv="refresh" content="30">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Migration status</title>
<style>
body { font: 15px/1.5 system-ui, "Noto Sans", sans-serif; margin: 28px; color: #1c2128; }
.soft { color: #5b6572; font-size: 13px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 12px; border-bottom: 1px solid #dde1e6; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.failed td:nth-child(3), tr.stopped td:nth-child(3),
tr.damaged td:nth-child(3) { color: #b3261e; font-weight: 600; }
tr.done td:nth-child(3) { color: #1f8a4c; }
</style>
</head>
<body>
<h1>Migration status</h1>
<p>$headline</p>
<p class="soft">As of $as_of$moment. $based_on</p>
<div class="scroll">$picture</div>
<h2>Projects</h2>
<div class="scroll"><table id="stages"><thead><tr>$head</tr></thead><tbody>
$rows</tbody></table></div>
$reasons
</body>
</html>
""")


def write_page(status: Status, folder: Path) -> Path:
    """Writes the page into a folder, which is made if it is not there.

    Raises:
        ReportNotWritableError: the operating system refuses.
    """
    path = folder / PAGE_NAME
    with report_file(path) as file:
        file.write(
            _PAGE.substitute(
                headline="<br>".join(escape(line) for line in headline(status).splitlines()),
                as_of=escape(status.as_of),
                moment=f", {escape(status.moment)}" if status.moment else "",
                based_on=escape(status.based_on),
                picture=svg(status.stages),
                head="".join(f"<th{_class(n)}>{name}</th>" for n, name in enumerate(COLUMNS)),
                rows="".join(_row(stage) for stage in in_order(status.stages)),
                reasons="".join(_reasons(status.stages)),
            )
        )
    return path


def cells(stage: Stage) -> tuple[str, ...]:
    """What a table shows of a stage, in the order of `COLUMNS`."""
    return (
        stage.project,
        stage.place,
        stage.state,
        f"{stage.there:,}",
        f"{stage.total:,}",
        "" if stage.verified is None else f"{stage.verified:,}",
        f"{stage.failed:,}",
        f"{stage.damaged:,}",
        counted(stage, f"{stage.points:,}"),
        counted(stage, size(stage.bytes)),
        "" if stage.rate is None else f"{stage.rate:,.0f}",
        duration(stage.seconds_left),
    )


def _class(column: int) -> str:
    return ' class="number"' if column > 2 else ""


def _row(stage: Stage) -> str:
    found = "".join(f"<td{_class(n)}>{escape(cell)}</td>" for n, cell in enumerate(cells(stage)))
    return f'<tr class="{stage.state}">{found}</tr>\n'


def _reasons(stages: Sequence[Stage]) -> Iterator[str]:
    failed = [stage for stage in in_order(stages) if stage.reasons]
    if not failed:
        return
    yield '<h2>What failed or is damaged</h2>\n<div class="scroll"><table id="reasons"><tbody>\n'
    for stage in failed:
        for where, what in stage.reasons:
            place = f"{stage.project} · {stage.place}"
            yield f"<tr><td>{escape(place)}</td><td>{escape(where)}</td><td>{escape(what)}</td>"
            yield "</tr>\n"
    yield "</tbody></table></div>\n"
