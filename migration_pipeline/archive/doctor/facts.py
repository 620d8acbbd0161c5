"""What is known of one run after its parts were looked at, before runs are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.doctor.diagnosis import Diagnosis, Reason, grade_of
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import Manifest


@dataclass
class RunFacts:
    """One run, found by its parts.

    Args:
        files_root: what the files that its rows name are relative to.
        manifest: None: another tool wrote the run, or it cannot be read.
        proven: the manifest's digests were recomputed.
        rows: that the parts' footers announce.
        system: sys/… → value.
        attributes: counts for comparison with siblings; None for a run with a manifest.
        claims: the files that the run names.
    """

    key: RunKey
    files_root: Location
    named: RunKey | None = None
    """What the names of the parts say, where their rows are another run's."""
    manifest: Manifest | None = None
    proven: bool = False
    rows: int = 0
    written: float = 0.0
    """When the oldest part was modified, seconds since 1970."""
    system: dict[str, Any] = field(default_factory=dict)
    time_max: int | None = None
    attributes: pa.RecordBatch | None = None
    claims: list[pa.RecordBatch] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    """Of the files, those that are directories."""
    files: int = 0
    files_missing: int = 0
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sys_id(self) -> str | None:
        given = self.manifest.sys_id if self.manifest else self.system.get("sys/id")
        return str(given) if given is not None else None

    def diagnosis(self) -> Diagnosis:
        reasons = tuple(dict.fromkeys(self.reasons))
        return Diagnosis(self.key, grade_of(reasons, self.proven), reasons, tuple(self.notes))
