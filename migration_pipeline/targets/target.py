"""What a target is: a tracker that runs go to.

What a tracker can hold is data (`mapping.terms.Capabilities`), read by the mapping, the planner,
the verifier and the README alike. What it does is the `Target` protocol. Loading is made safe by
the target itself: a run is found by an identity that we chose, and the mark of completion is the
last write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.keys import renames
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import (
    Capabilities,
    Content,
    Holds,
    Loss,
    ProjectMapping,
    Rate,
    RunFacts,
)

__all__ = [
    "Capabilities",
    "Content",
    "Holds",
    "Kin",
    "LoadReport",
    "LoadState",
    "Loss",
    "Meter",
    "ProjectMapping",
    "Rate",
    "RunFacts",
    "Target",
    "TargetRun",
]


class LoadState(StrEnum):
    """What a target says of a run."""

    ABSENT = "absent"
    PARTIAL = "partial"
    """Begun and not finished, or finished from other content or with another mapping."""
    COMPLETE = "complete"


@dataclass
class LoadReport:
    """What was done for one run."""

    key: RunKey
    attributes: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    renames: dict[str, str] = field(default_factory=dict)
    id: str = ""
    """The target's own."""
    url: str = ""

    @classmethod
    def of(
        cls,
        scan: RunScan,
        names: Mapping[tuple[str, str], str],
        losses: list[Loss],
        bytes: int,
        id: str = "",
    ) -> LoadReport:
        """What was sent of a run: all but the files beyond the user's cap.

        Args:
            names: (path, type) of parameters and series → name at the target.
            bytes: of files.
        """
        rows = scan.attributes.items()
        return cls(
            scan.key,
            attributes=len(rows),
            points=sum(n for (_, kind), n in rows if kind.endswith("_series")),
            files=sum(row.path is not None for row in scan.files) - sum(scan.left_out.values()),
            bytes=bytes,
            losses=losses,
            renames=renames(names),
            id=id,
        )


@dataclass(frozen=True)
class TargetRun:
    """One run as the target lists it.

    Args:
        state: partial unless its mark of completion is there.
        digest: of the archived content that it was loaded from, as the mark says.
        fingerprint: of the parts that it was loaded from, as the mark says (`Content`).
        step_decimals: how many decimals the finest step of its float series has.
        step_multiplier: as the mark says.
        damaged: it was loaded as far as it could be read, and is marked so.
        verified: whether a read-back of that content found no difference.
        ids: the target's own ids, the one that counts first; more than one is a duplicate.
        parent: what it was forked from, as the archive says it: a run id or a sys/id.
        sys_id: Neptune's short id, such as ABC-12.
    """

    state: LoadState
    digest: str = ""
    fingerprint: str = ""
    step_decimals: int = 0
    step_multiplier: int = 1
    damaged: bool = False
    verified: bool = False
    ids: tuple[str, ...] = ()
    parent: str = ""
    sys_id: str = ""
    url: str = ""


@dataclass(frozen=True)
class Kin:
    """Ids at the target: of the run that one was forked from, and of those forked from it."""

    parent: str = ""
    children: tuple[str, ...] = ()


class Meter(Protocol):
    """Takes counts of what was sent (`progress.Progress` is one)."""

    def add(self, points: int = 0, size: int = 0) -> None: ...


class Target(Protocol):
    """Where runs go. Instances may be used by several threads for different runs."""

    name: str
    capabilities: Capabilities

    @property
    def address(self) -> str:
        """Where it is, as messages may show it: never with credentials."""
        ...

    def check(self) -> None:
        """Raises if it is unreachable, refuses the credentials, or is of an untested version."""
        ...

    def has_store(self) -> bool:
        """False where asking for runs would make a store: a database without tables. Makes none.

        Raises:
            TargetUnavailableError, TargetRefusedError: it cannot be told.
        """
        ...

    def runs(self, project: str, mapping: ProjectMapping) -> Mapping[RunKey, TargetRun]:
        """All runs of a project that were ever begun, in as few requests as the API allows.

        An error of the API is an error, never "absent".
        """
        ...

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        """One run, by the identity that we chose, never by its display name."""
        ...

    def load(
        self,
        scan: RunScan,
        mapping: ProjectMapping,
        kin: Kin,
        meter: Meter | None = None,
    ) -> LoadReport:
        """Sends a run, replacing or resuming a partial one; the completion mark is the last write.

        Args:
            scan: the run and what was learnt of it by reading it once (`mapping.scan`); its
                content's digest goes into the mark.
            mapping: decisions for the project.
            kin: the target's ids of its parent and of its children, as far as they are there.
            meter: is told of points and bytes as they are sent.

        Raises:
            TargetRefusedError, TargetUnavailableError: the run stays partial.
        """
        ...

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The run in the archive's terms, `BATCH_SCHEMA`; files are downloaded below `into`.

        Original names, exact steps, times and values, taken from what the target shows its users;
        only what it cannot hold comes from what was kept beside. `file_value.path` is relative to
        `into`, and a file may be deleted once the batch that names it was taken.

        Args:
            attributes: only these, to look closer at a difference.
        """
        ...

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        """Name, dates, status and tags as the target shows them."""
        ...

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        """What `facts` should say for a run with these: cut and defaulted as the target needs."""
        ...

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        """Notes the verdict of a read-back beside the completion mark."""
        ...

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Removes all that was sent of a run, where the vendor allows it."""
        ...
