"""Figures as Markdown, with names shown as they are, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from migration_pipeline.archive.archive import KIND_PLURALS, kind_in_words
from migration_pipeline.archive.summary import as_json, words
from migration_pipeline.archive.summary.figures import ProjectFigures
from migration_pipeline.archive.summary.listing import Problem

_PROBLEMS_SHOWN = 20


def kinds_in_words(kinds: dict[str, int]) -> str:
    """`12 runs, 1 model`."""
    named = {KIND_PLURALS[kind]: kinds.get(kind, 0) for kind in KIND_PLURALS}
    return ", ".join(f"{n:,} {name if n != 1 else name.removesuffix('s')}"
                     for name, n in named.items() if n) or "nothing"  # fmt: skip


def project_lines(figures: ProjectFigures, page: str) -> list[str]:
    """One project; `page` is the name of its HTML page, which lies beside."""
    facts = {
        "holds": kinds_in_words(figures.kinds),
        "written by another tool": f"{figures.adopted:,}",
        "nothing of it can be read": f"{figures.unreadable:,}",
        "attributes": f"{figures.attributes:,}",
        "rows": f"{figures.rows:,}, of them {figures.points:,} points of series",
        "steps": _steps_in_words(figures),
        "times of points": words.between(*as_json.times(figures.times).values()),
        "created": words.between(*as_json.times(figures.created).values()),
        "Parquet": f"{words.size(figures.parquet_bytes)} in {figures.parts:,} parts",
        "files": f"{words.size(figures.file_bytes)} in {figures.files:,} files; "
        f"{figures.missing_files:,} named ones are not there",
    }
    return [
        f"\n## {words.markdown(figures.project)}\n",
        f"[Runs and curves]({quote(page)})\n",
        *_table(["", ""], facts.items()),
        "",
        *_table(["type", "attributes", "rows", "least step", "most step"], _type_rows(figures)),
        "\nBiggest:\n",
        *_table(["run", "kind", "Parquet", "files", "rows"], _biggest_rows(figures)),
        *problem_lines(figures.problems),
    ]


def _steps_in_words(figures: ProjectFigures) -> str:
    steps = figures.steps
    distinct = "very many" if steps.distinct is None else f"{steps.distinct:,}"
    span = words.between(*as_json.steps(steps.range).values())
    return f"{span}; {distinct} different ones in {steps.rows:,} rows"


def _type_rows(figures: ProjectFigures) -> list[tuple[str, ...]]:
    return [
        (t.type, f"{t.attributes:,}", f"{t.rows:,}",
         words.step(t.steps.least) or "", words.step(t.steps.most) or "")
        for t in figures.types
    ]  # fmt: skip


def _biggest_rows(figures: ProjectFigures) -> list[tuple[str, ...]]:
    return [
        (
            run.key.run,
            kind_in_words(run.key.kind),
            words.size(run.parquet_bytes),
            words.size(run.file_bytes),
            f"{run.rows:,}",
        )
        for run in figures.biggest
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [" | ".join(map(words.markdown, row)) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {c} |" for c in cells)]


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """The first of them; none when there are none."""
    if not problems:
        return []
    shown = problems[:_PROBLEMS_SHOWN]
    rest = f"; the first {len(shown)}, all are in summary.json" if problems[len(shown) :] else ""
    lines = [f"- {words.markdown(p.where)}: {words.markdown(p.what)}" for p in shown]
    return [f"\n{len(problems)} problem(s){rest}:\n", *lines, ""]
