"""What a source is: something that lists projects and runs, and reads runs in bulk.

A source knows nothing of the archive's directories and writes nothing: it yields events, and
`sources.export` turns them into runs that are whole or not there. Reading many runs at once is the
source's to arrange, so that requests are few; one run's failure is an event like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import KINDS, Kind
from migration_pipeline.archive.schema import FILE_TYPES, PARAMETER_TYPES
from migration_pipeline.errors import InvalidRegexError, MigrationError, UnknownNameError

AttributeClass = Literal["parameters", "metrics", "series", "files"]
CLASS_TYPES: dict[str, frozenset[str]] = {
    "parameters": PARAMETER_TYPES,
    "metrics": frozenset({"float_series"}),
    "series": frozenset({"string_series", "histogram_series"}),
    "files": FILE_TYPES,
}
"""neptune-exporter's classes of attributes, as types of the archive."""


@dataclass(frozen=True)
class Selection:
    """Which runs and which of their attributes; everything by default.

    Args:
        run_regex: searched in the run id (3.x: sys/custom_run_id, 2.x: sys/id of an object of any
            kind).
        run_ids: exactly these runs; excludes `run_regex`.
        attribute_regex: searched in the attribute path.
        attribute_names: exactly these attributes; excludes `attribute_regex`.
        classes: only these classes; empty: all.
        exclude: not these classes.
        archived: archived (trashed) runs as well.
        previews: points that the client marked as previews as well.
        kinds: only objects of these kinds; empty: all that the source has.
        runs_query: NQL, evaluated by the server; only runs that it finds.
        models_query: the same for models and for model versions of 2.x.
    """

    run_regex: str = ""
    run_ids: tuple[str, ...] = ()
    attribute_regex: str = ""
    attribute_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    archived: bool = True
    previews: bool = False
    kinds: tuple[Kind, ...] = ()
    runs_query: str = ""
    models_query: str = ""

    def __post_init__(self) -> None:
        for setting, pattern in (("runs", self.run_regex), ("attributes", self.attribute_regex)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise InvalidRegexError(setting, pattern, str(error)) from error
        for setting, names in (("classes", self.classes), ("exclude", self.exclude)):
            for name in names:
                if name not in CLASS_TYPES:
                    raise UnknownNameError("attribute class", name, CLASS_TYPES, setting)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError("kind of object", kind, KINDS, "kinds")

    @property
    def types(self) -> frozenset[str]:
        """The archive's attribute types that are wanted."""
        included = self.classes or tuple(CLASS_TYPES)
        wanted = frozenset[str]().union(*(CLASS_TYPES[c] for c in included))
        return wanted - frozenset[str]().union(*(CLASS_TYPES[c] for c in self.exclude))

    def wants_kind(self, kind: Kind) -> bool:
        """Whether objects of this kind are selected."""
        return not self.kinds or kind in self.kinds

    def wants(self, path: str, kind: str) -> bool:
        """Whether an attribute is selected by its name and type."""
        if kind not in self.types:
            return False
        if self.attribute_names:
            return path in self.attribute_names
        return not self.attribute_regex or re.search(self.attribute_regex, path) is not None

    def describe_attributes(self) -> str:
        """What a manifest says of a run that was not exported whole; empty when it was."""
        said = []
        if self.attribute_names:
            said.append(f"attributes {', '.join(self.attribute_names)}")
        if self.attribute_regex:
            said.append(f"attributes matching {self.attribute_regex!r}")
        if self.types != Selection().types:
            said.append(f"types {', '.join(sorted(self.types))}")
        return "; ".join(said)


@dataclass(frozen=True)
class RunRef:
    """A run as a listing shows it.

    Args:
        key: project, run id and kind.
        handle: how the server addresses it (3.x: sys/id, 2.x: a UUID).
        modified: changes when the run does; None where the source cannot tell.
        parent: run id that it was forked from, where the listing says so.
    """

    key: RunKey
    handle: str
    modified: datetime | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one run as a `BATCH_SCHEMA` batch; none of them names a file."""

    run: RunRef
    batch: pa.RecordBatch


@dataclass(frozen=True)
class DownloadedFile:
    """A file of a run, downloaded to `path`, which now belongs to whoever takes the event.

    `step` is int64 millionths and None for a single file; `timestamp` ms since 1970; `name` what
    the server calls the file, where it does.
    """

    run: RunRef
    attribute: str
    type: str
    path: Path
    extension: str
    step: int | None = None
    timestamp: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class RunDone:
    """Everything of this run that can be had was yielded.

    `sys_id` is its handle where that says nothing else. `damage` says what of it is lost at the
    source, `conflicts` where two sources of it differ; clauses, as `Manifest` has them.
    """

    run: RunRef
    parent: str | None = None
    sys_id: str | None = None
    missing_files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunFailed:
    """This run cannot be had now; others go on."""

    run: RunRef
    error: MigrationError


@dataclass(frozen=True)
class RunRestarted:
    """What was yielded of this run so far is void: it is read anew."""

    run: RunRef


Event = Rows | DownloadedFile | RunRestarted | RunDone | RunFailed


class Source(Protocol):
    """Where runs come from. Instances may be used by several threads."""

    name: str

    def list_projects(self) -> list[str]:
        """`workspace/project` names that the credentials can read, sorted.

        Raises:
            SourceRefusedError: the credentials are not accepted.
            SourceUnavailableError: the server does not answer.
        """
        ...

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        """The selected runs of a project, cheap and in bulk.

        Raises:
            UnknownProjectError: the project does not exist for these credentials.
        """
        ...

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        """Reads runs of one project in bulk; per run one `RunDone` or one `RunFailed`, last.

        Args:
            runs: of one project.
            selection: which attributes.
            scratch: an existing directory to download to, on the archive's file system.

        Raises:
            SourceRefusedError, SourceUnavailableError: what concerns all runs alike.
        """
        ...
