"""An archive that is taken as it is: its runs are examined and recorded with their grades.

The grades stand in the records, so that the page shows them run by run; whoever loads looks for
himself (`targets.damage`).
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.diagnosis import GRADES, Diagnosis
from migration_pipeline.defs import records, summarised
from migration_pipeline.defs.checks import (
    FINDINGS_KEPT,
    WHOLE,
    Examination,
    examine,
    findings_table,
)
from migration_pipeline.progress import speaking
from migration_pipeline.sources.archive.source import ArchiveSource

GRADED = {grade: f"runs {grade}" for grade in GRADES}
"""Grade → name of the figure that counts its runs."""
TAKEN_REMEDY = (
    "Restore what is named from a backup. A load leaves damaged runs out and fails, or does what "
    "MIGRATION_LOAD_DAMAGED says."
)


def take(
    context: dg.OpExecutionContext, source: ArchiveSource, archive: Archive, project: str
) -> dict[str, Any]:
    """Grades all runs of a project and records those whose record does not say so yet; or all in
    one record (`summarised`).

    Returns:
        Plain data: figures of the grades, the number of new records, the first damaged runs with
        what is wrong with them.
    """
    done = total = 0

    def progress(examined: int, of: int) -> None:
        nonlocal done, total
        done, total = examined, of

    with speaking(context.log.info, lambda: f"{project}: examined {done} of {total} runs"):
        found = source.examine(project, progress)
    grades = {GRADED[grade]: count for grade, count in found.grades().items()}
    said = ", ".join(f"{count} {grade}" for grade, count in found.grades().items())
    if summarised.each(context.instance, project, len(found.runs)):
        new = records.record_grades(context, archive, found)
    else:
        there = summarised.of_archive(examine(archive, project))
        new = summarised.record(context, records.EXPORTED, project, there, grades)
    context.log.info(f"{project}: examined {len(found.runs)} runs: {said}; {new} records are new")
    for finding in found.findings[:5]:
        context.log.warning(f"{project}: {finding.text}")
    damaged = [(str(run.key), why(run)) for run in found.runs if run.grade == "damaged"]
    return {"grades": grades, "new": new, "damaged": damaged[:FINDINGS_KEPT]}


def why(run: Diagnosis) -> str:
    """What proves that a run is damaged, in one clause."""
    return "; ".join(reason.text for reason in run.reasons if reason.proof)


def taken_result(
    asset: dg.AssetKey, found: Examination, taken: dict[str, Any]
) -> dg.AssetCheckResult:
    """Of the check whether the archive is whole, where no export could bring anything again.

    A warning: what is whole can be loaded, and a load decides about damaged runs one by one.
    """
    damaged = taken["grades"][GRADED["damaged"]]
    return dg.AssetCheckResult(
        check_name=WHOLE,
        asset_key=asset,
        passed=not damaged,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "runs": found.runs,
            **taken["grades"],
            **({"remedy": TAKEN_REMEDY} if damaged else {}),
            **findings_table(taken["damaged"], damaged),
        },
    )
