"""What part 0 says of its whole run.

The manifest stands in the Parquet footer of part 0, so it appears in the same rename that makes
the run visible, and it is read without touching a row. neptune-exporter's parts have none: that is
how an archive written by another tool is recognised.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from migration_pipeline.archive.digest import RunSums
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.store_files import parquet_footer
from migration_pipeline.errors import DamagedPartError

MANIFEST_KEY = b"migration_pipeline.manifest"
GENERATION_KEY = b"migration_pipeline.generation"
"""In the footer of every part: parts of one export carry the same text."""

Kind = Literal["run", "model", "model_version", "project"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Of objects: what a 2.x project holds; 3.x has runs only. A "project" is a project's metadata."""


class TypeCount(BaseModel):
    """How much of one attribute type a run holds."""

    model_config = ConfigDict(frozen=True)

    attributes: int
    rows: int
    step_decimals: int = 0
    """Decimals of the finest step: 0 when all steps are whole."""


class FileEntry(BaseModel):
    """One file of a run: path below the project's files directory, bytes, blake2b hex.

    `name` is what the source called it, where it did and the path does not say.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    digest: str
    name: str | None = None


class Manifest(BaseModel):
    """Everything that can be known of a run without reading its rows."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    source: str
    """`neptune3`, `neptune2`, …"""
    project: str
    run: str
    kind: Kind = "run"
    sys_id: str | None = None
    parent: str | None = None
    """Run id of the run that this one was forked from."""
    modified: datetime | None = None
    """The source's modification time when the run was listed."""
    rows: int
    types: dict[str, TypeCount]
    files: list[FileEntry] = Field(default_factory=list)
    missing_files: list[str] = Field(default_factory=list)
    """Attributes (with step) whose file the source no longer had, accepted by setting."""
    notes: list[str] = Field(default_factory=list)
    """What the source could not say, in sentences."""
    damage: list[str] = Field(default_factory=list)
    """What the source itself had lost of the run when it was read, in clauses: it is not whole."""
    conflicts: list[str] = Field(default_factory=list)
    """Where two sources of the run say something else, in clauses, with which one was taken; and
    what was suspect in one of them before."""
    previews: bool = False
    """Points that were marked as previews at the source are among the rows, if there were any."""
    selection: str = ""
    """Why the run is not whole by intention: the filter it was exported with; empty: all of it."""
    digest: str
    """Of the content, independent of row order (`archive.digest`)."""
    parts: int
    generation: str
    written_at: datetime
    written_by: str

    @property
    def points(self) -> int:
        return sum(t.rows for name, t in self.types.items() if name.endswith("_series"))

    @property
    def attributes(self) -> int:
        return sum(t.attributes for t in self.types.values())

    @property
    def bytes(self) -> int:
        """Of the files; the Parquet parts' sizes are the file system's to say."""
        return sum(f.size for f in self.files)


def count_types(sums: RunSums) -> dict[str, TypeCount]:
    """Attributes and rows of each type."""
    counts: dict[str, tuple[int, int]] = {}
    for entry in sums.attributes.values():
        attributes, rows = counts.get(entry.type, (0, 0))
        counts[entry.type] = (attributes + 1, rows + entry.rows)
    return {
        kind: TypeCount(
            attributes=attributes, rows=rows, step_decimals=sums.step_decimals.get(kind, 0)
        )
        for kind, (attributes, rows) in sorted(counts.items())
    }


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def read_footer(part: Location) -> pq.FileMetaData:
    """The Parquet footer of a part.

    Raises:
        DamagedPartError: the file is not Parquet, or is cut off.
    """
    try:
        return parquet_footer(part)
    except (pa.ArrowException, OSError) as error:
        raise DamagedPartError(str(part), f"it is not a Parquet file ({error})") from error


def read_manifest(part_0: Location) -> Manifest | None:
    """The manifest in a part 0, or None when another tool wrote it.

    Raises:
        DamagedPartError: the file is not Parquet, or its manifest is none of this version.
    """
    return manifest_in(read_footer(part_0), part_0)


def manifest_in(footer: pq.FileMetaData, part_0: Location) -> Manifest | None:
    """The same from a footer that was read already; `part_0` is for the message.

    Raises:
        DamagedPartError: its manifest is none of this version.
    """
    text = (footer.metadata or {}).get(MANIFEST_KEY)
    try:
        return Manifest.model_validate_json(text) if text else None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise DamagedPartError(
            str(part_0), f"its manifest cannot be read ({place}: {first['msg']})"
        ) from error
