"""Compares an archived run with what a target gives back, value by value.

Both sides are reduced to order-free sums per attribute (`archive.digest.RunSums`): the archive's
rows and files here, the target's answer there. The read-back shares no code with what wrote it. An
attribute that differs is looked at once more, alone, so that the first differing point is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from migration_pipeline.archive.archive import RunKey

FindingKind = Literal["missing", "unexpected", "differing", "duplicate run", "state", "facts"]


@dataclass(frozen=True)
class Finding:
    """One difference between the archive and the target.

    Args:
        kind: `missing`, `unexpected` and `differing` concern an attribute.
        attribute: its path; empty when it concerns the run.
        what: a clause that says what differs, with the first differing point where known.
    """

    kind: FindingKind
    attribute: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.attribute!r}: {self.what}" if self.attribute else self.what


@dataclass
class Verdict:
    """What a comparison of one run found.

    Args:
        equal: attributes that are the same, bit by bit.
        differing: attributes that are on both sides and not the same.
        missing: attributes that only the archive has.
        unexpected: attributes that only the target has.
        explained: attributes that differ as far as a loss that the target announced beforehand
            explains it, and no further; they count neither as equal nor as differing.
        rows: compared values and points; files: compared files; bytes: of those files.
        findings: the first ones, named; their kinds are counted in full above.
    """

    key: RunKey
    equal: int = 0
    differing: int = 0
    missing: int = 0
    unexpected: int = 0
    explained: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def equal_to_archive(self) -> bool:
        return not self.findings
