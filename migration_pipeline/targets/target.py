"""What a target is: a tracker that runs go to.

What a tracker can hold is data (`Capabilities`), read by the mapping, the planner, the verifier and
the README alike. What it does is the `Target` protocol. Loading is made safe by the target itself:
a run is found by an identity that we chose, and the mark of completion is the last write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from migration_pipeline.archive.archive import ArchivedRun, RunKey

Holds = Literal["native", "file", "tag", "no"]
"""How a target holds something: as its own kind of thing, as a file, as a tag, or not."""


class Capabilities(BaseModel):
    """What a target can hold, and how much at a time. Every number names its source beside it."""

    model_config = ConfigDict(frozen=True)

    key_max_length: int
    """Characters of a metric's or parameter's name."""
    key_characters: str
    """The allowed characters, as the inside of a regular expression's class."""
    key_is_path: bool = True
    """Whether a name must be a normalised path (no `//`, `.`, `..`, leading or trailing `/`)."""
    integer_steps: bool
    """Float series take whole steps only."""
    monotonic_steps: bool = False
    repeated_points: bool
    """Whether two equal points (step, time, value) of one series are kept as two."""
    nan: bool
    infinity: bool
    point_times: Literal["optional", "required", "dropped"]
    earliest_time_ms: int | None = None
    """Points before this time (ms since 1970) are refused; None: no limit."""
    parameter_max_length: int | None = None
    """Characters of a parameter's value; longer ones are kept in full beside it."""
    parameter_types: Literal["text", "native"] = "text"
    string_series: Holds
    histogram_series: Holds
    files: Holds
    forks: Holds
    tag_max_length: int | None = None
    points_per_request: int
    parameters_per_request: int
    requests_per_second: float | None = None
    parallel_runs: int = 4
    """How many runs may be loaded at the same time; more gives nothing or is refused."""


class LoadState(StrEnum):
    """What a target says of a run."""

    ABSENT = "absent"
    PARTIAL = "partial"
    """Begun and not finished, or finished from other content or with another mapping."""
    COMPLETE = "complete"


@dataclass(frozen=True)
class Loss:
    """What a target cannot hold as it is, by name; decided from capabilities before the load.

    Args:
        attribute: the path it concerns.
        reason: the field's term for it, such as `infinity` or `parameter too long`.
        count: values concerned.
        kept: where the exact values are kept at the target; empty: they are not.
    """

    attribute: str
    reason: str
    count: int
    kept: str = ""


@dataclass(frozen=True)
class ProjectMapping:
    """Decisions that hold for all runs of a project at one target.

    Args:
        step_multiplier: whole steps = steps × this, exactly; 1 where steps stay as they are.
        name_prefix: put before the names of projects or experiments.
    """

    step_multiplier: int = 1
    name_prefix: str = ""


@dataclass(frozen=True)
class Content:
    """What a run was loaded from; goes into the mark of completion.

    Args:
        digest: of the content (`archive.digest`), however and by whomever it was written.
        fingerprint: of the parts' footers; set for runs without a manifest only, so that "is
            anything new?" can be answered without reading all their rows again.
        step_decimals: how many decimals the finest step of its float series has.
    """

    digest: str
    fingerprint: str = ""
    step_decimals: int = 0


@dataclass(frozen=True)
class RunFacts:
    """What a tracker shows of a run beside its attributes. Times in ms since 1970, UTC."""

    name: str
    start: int | None = None
    end: int | None = None
    failed: bool = False
    tags: tuple[str, ...] = ()
    description: str = ""
    owner: str = ""
    parent: str = ""
    """Run id that it was forked from."""


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
    url: str = ""


@dataclass(frozen=True)
class TargetRun:
    """One run as the target lists it.

    Args:
        state: partial unless its mark of completion is there.
        digest: of the archived content that it was loaded from, as the mark says.
        fingerprint: of the parts that it was loaded from, as the mark says (`Content`).
        step_decimals: how many decimals the finest step of its float series has.
        step_multiplier: as the mark says.
        verified: whether a read-back of that content found no difference.
        ids: the target's own ids; more than one is a duplicate.
    """

    state: LoadState
    digest: str = ""
    fingerprint: str = ""
    step_decimals: int = 0
    step_multiplier: int = 1
    verified: bool = False
    ids: tuple[str, ...] = ()
    url: str = ""


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
        run: ArchivedRun,
        content: Content,
        mapping: ProjectMapping,
        parents: Mapping[str, str],
        meter: Meter | None = None,
    ) -> LoadReport:
        """Sends a run, replacing or resuming a partial one; the completion mark is the last write.

        Args:
            run: what to send.
            content: goes into the mark.
            mapping: decisions for the project.
            parents: run id → the target's id, for those already there.
            meter: is told of points and bytes as they are sent.

        Raises:
            StepsMeetError: before anything is sent.
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

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        """Notes the verdict of a read-back beside the completion mark."""
        ...

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Removes all that was sent of a run, where the vendor allows it."""
        ...
