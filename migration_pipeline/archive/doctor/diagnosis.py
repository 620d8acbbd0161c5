"""What the doctor says: a grade for each run, the reasons for it, and what belongs to no run.

A reason is either proof (the archive contradicts itself, its manifest or the record of a failure)
or a suspicion (what usually means loss, and may have an innocent cause). Only proof makes a run
damaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.location import Location

Grade = Literal["complete", "plausible", "suspect", "damaged"]
GRADES: tuple[Grade, ...] = get_args(Grade)
"""From best to worst.

- complete: a manifest says what was written, and the digests of rows and files hold.
- plausible: nothing wrong was found, but nothing proves that it is whole.
- suspect: the reasons say why something is probably missing or changed.
- damaged: at least one of the reasons is proof.
"""


@dataclass(frozen=True)
class Reason:
    """Why a run has its grade.

    Args:
        code: stable name of the rule, for programs.
        text: what was found where, one sentence without a full stop.
        proof: whether nothing innocent explains it.
    """

    code: str
    text: str
    proof: bool


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says of one run.

    Args:
        reasons: what the grade follows from; none for complete and plausible.
        notes: what else is worth knowing and changes no grade, a sentence each.
    """

    key: RunKey
    grade: Grade
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectFinding:
    """What was found in a project that belongs to no run; it changes no run's grade."""

    project: str
    code: str
    text: str


@dataclass(frozen=True)
class ProjectDiagnosis:
    """All runs of a project, of every kind; and what belongs to none of them.

    A run that cannot be loaded at all is among them: one whose part 0 is missing or unreadable is
    damaged and has the id that can still be known, else the stem of its parts.
    """

    project: str
    runs: tuple[Diagnosis, ...] = ()
    findings: tuple[ProjectFinding, ...] = ()
    rows: int = 0
    """That the parts' footers announce."""
    seconds: float = field(default=0.0, compare=False)

    def grades(self) -> dict[Grade, int]:
        """Grade → number of runs, all four grades."""
        counts = Counter(run.grade for run in self.runs)
        return {grade: counts[grade] for grade in GRADES}


@dataclass(frozen=True)
class ArchiveDiagnosis:
    """The examined projects of an archive, and what belongs to none of them.

    Args:
        thorough: digests of manifests were recomputed.
        errors_files: neptune-exporter's, that were read.
        findings: of folders and errors files; those of a project are its own.
    """

    data: Location
    files: Location
    thorough: bool
    errors_files: tuple[Location, ...]
    examined_at: datetime
    projects: tuple[ProjectDiagnosis, ...]
    findings: tuple[ProjectFinding, ...] = ()

    def grades(self) -> dict[Grade, int]:
        """Grade → number of runs, all four grades."""
        each = [project.grades() for project in self.projects]
        return {grade: sum(counts[grade] for counts in each) for grade in GRADES}

    def all_findings(self) -> tuple[ProjectFinding, ...]:
        return self.findings + tuple(f for project in self.projects for f in project.findings)


def grade_of(reasons: Iterable[Reason], proven_whole: bool) -> Grade:
    """The grade that follows from reasons.

    Args:
        proven_whole: a manifest is there and all its digests were recomputed and hold.
    """
    proofs = [reason.proof for reason in reasons]
    if any(proofs):
        return "damaged"
    if proofs:
        return "suspect"
    return "complete" if proven_whole else "plausible"
