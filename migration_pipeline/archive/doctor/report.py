"""The doctor's reports: `doctor.json` for programs, `doctor.md` for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from migration_pipeline.archive.doctor.diagnosis import (
    GRADES,
    ArchiveDiagnosis,
    Diagnosis,
    ProjectDiagnosis,
    ProjectFinding,
)
from migration_pipeline.archive.doctor.repair import RepairReport
from migration_pipeline.archive.doctor.rules import FINDINGS, RULES
from migration_pipeline.archive.report_file import report_file

JSON_NAME, MARKDOWN_NAME = "doctor.json", "doctor.md"
RUNS_SHOWN = 200
"""Runs of a grade and project that the Markdown lists; the JSON has all."""
_GRADES_IN_WORDS = {
    "complete": "a manifest says what was written, and the digests of rows and files hold",
    "plausible": "nothing wrong was found, but nothing proves that it is whole",
    "suspect": "something is probably missing or changed",
    "damaged": "something is missing or changed: the archive or its record of errors proves it",
}


def write_reports(
    found: ArchiveDiagnosis, folder: Path, repairs: Sequence[RepairReport] = ()
) -> tuple[Path, Path]:
    """Writes both reports; returns their paths.

    Raises:
        ReportNotWritableError: the folder cannot be written to.
    """
    paths = folder / JSON_NAME, folder / MARKDOWN_NAME
    with report_file(paths[0]) as file:
        json.dump(as_plain(found, repairs), file, ensure_ascii=False, indent=1)
        file.write("\n")
    with report_file(paths[1]) as file:
        file.writelines(f"{line}\n" for line in as_markdown(found, repairs))
    return paths


def as_plain(found: ArchiveDiagnosis, repairs: Sequence[RepairReport] = ()) -> dict[str, Any]:
    """What `doctor.json` holds."""
    return {
        "format": 1,
        "examined_at": found.examined_at.isoformat(),
        "data": str(found.data),
        "files": str(found.files),
        "thorough": found.thorough,
        "errors_files": [str(path) for path in found.errors_files],
        "grades": found.grades(),
        "projects": [
            {
                "project": project.project,
                "runs": len(project.runs),
                "rows": project.rows,
                "grades": project.grades(),
                "seconds": round(project.seconds, 3),
            }
            for project in found.projects
        ],
        "runs": [_run(run) for project in found.projects for run in project.runs],
        "findings": [
            {"project": one.project, "code": one.code, "text": one.text}
            for one in found.all_findings()
        ],
        "repairs": [_repair(report) for report in repairs],
    }


def _run(run: Diagnosis) -> dict[str, Any]:
    return {
        "project": run.key.project,
        "run": run.key.run,
        "kind": run.key.kind,
        "grade": run.grade,
        "reasons": [{"code": r.code, "text": r.text, "proof": r.proof} for r in run.reasons],
        "notes": list(run.notes),
    }


def _repair(report: RepairReport) -> dict[str, Any]:
    return {
        "project": report.project,
        "data": str(report.data),
        "files": str(report.files),
        "repaired": [
            {"run": r.key.run, "kind": r.key.kind, "rows": r.rows, "rows_removed": r.removed}
            for r in report.repaired
        ],
        "carried": report.carried,
        "left_out": [
            {"run": key.run, "kind": key.kind, "reason": reason} for key, reason in report.left_out
        ],
    }


def as_markdown(found: ArchiveDiagnosis, repairs: Sequence[RepairReport] = ()) -> Iterator[str]:
    """The lines of `doctor.md`."""
    yield "# What the doctor found"
    yield ""
    places = f"{cell(str(found.data))} and {cell(str(found.files))}"
    yield f"Archive {places}, examined at {found.examined_at.isoformat()}."
    if not found.thorough:
        yield "Digests were not recomputed, so no run is called complete."
    for path in found.errors_files:
        yield f"Errors file read: {cell(str(path))}."
    yield from ("", "| grade | runs | meaning |", "|---|---|---|")
    for grade, runs in found.grades().items():
        yield f"| {grade} | {runs} | {_GRADES_IN_WORDS[grade]} |"
    yield from _findings("Of no project here", found.findings)
    for project in found.projects:
        yield from _project(project)
    yield from _meanings(found)
    for report in repairs:
        yield from _repair_in_words(report)


def _project(found: ProjectDiagnosis) -> Iterator[str]:
    counts = ", ".join(f"{runs} {grade}" for grade, runs in found.grades().items() if runs)
    yield from ("", f"## {cell(found.project)}", "", f"{counts or 'no run'}; {found.rows:,} rows.")
    yield from _findings("What belongs to no run", found.findings)
    for grade in reversed(GRADES):
        runs = [run for run in found.runs if run.grade == grade]
        if not runs or (grade in ("complete", "plausible") and not any(r.notes for r in runs)):
            continue
        shown = [run for run in runs if run.reasons or run.notes][:RUNS_SHOWN]
        title = f"### {grade}" + (
            f", {len(shown)} of {len(runs)}" if len(shown) < len(runs) else ""
        )
        yield from ("", title, "", "| run | kind | why |", "|---|---|---|")
        for run in shown:
            proof = {True: "**proof** ", False: ""}
            said = [f"{proof[r.proof]}`{r.code}` {cell(r.text)}" for r in run.reasons]
            said += [cell(note) for note in run.notes]
            yield f"| {cell(run.key.run)} | {run.key.kind} | {'<br>'.join(said)} |"


def _findings(title: str, findings: Sequence[ProjectFinding]) -> Iterator[str]:
    if findings:
        yield from ("", f"### {title}", "")
        yield from (f"- `{one.code}` {cell(one.text)}." for one in findings)


def _meanings(found: ArchiveDiagnosis) -> Iterator[str]:
    """What the codes that occur stand for, and how many runs have each."""
    runs = (run for project in found.projects for run in project.runs)
    counts = Counter(code for run in runs for code in {reason.code for reason in run.reasons})
    if counts:
        yield from ("", "## Reasons", "", "| code | runs | proof | meaning |", "|---|---|---|---|")
        for code, rule in RULES.items():
            if counts[code]:
                proof = "yes" if rule.proof else "no"
                yield f"| `{code}` | {counts[code]} | {proof} | {cell(rule.meaning)} |"
    codes = {one.code for one in found.all_findings()}
    if codes:
        yield from ("", "## Findings", "", "| code | meaning |", "|---|---|")
        yield from (f"| `{c}` | {cell(text)} |" for c, text in FINDINGS.items() if c in codes)


def _repair_in_words(report: RepairReport) -> Iterator[str]:
    yield from ("", f"## Repaired: {cell(report.project)}", "")
    yield f"Into {cell(str(report.data))} and {cell(str(report.files))}. "
    yield f"{len(report.repaired)} run(s) were rewritten, {report.carried} carried over as they "
    yield f"are, {len(report.left_out)} left out. The original is untouched."
    if report.repaired:
        yield from ("", "| run | kind | rows now | equal rows removed |", "|---|---|---|---|")
        for one in report.repaired[:RUNS_SHOWN]:
            yield f"| {cell(one.key.run)} | {one.key.kind} | {one.rows} | {one.removed} |"
    if report.left_out:
        yield from ("", "| left out | kind | why |", "|---|---|---|")
        for key, reason in report.left_out[:RUNS_SHOWN]:
            yield f"| {cell(key.run)} | {key.kind} | {cell(reason)} |"


def cell(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    for character in "\\`*_[]<>|#~":
        text = text.replace(character, f"\\{character}")
    text = text.replace("&", "&amp;")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
