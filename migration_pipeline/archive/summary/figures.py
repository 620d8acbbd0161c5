"""What a summary says, in plain values: times in ms since 1970 UTC, steps as exact decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.summary.listing import Problem


@dataclass(frozen=True)
class Range:
    """Least and most of something; both None when there is none of it."""

    least: Decimal | int | None = None
    most: Decimal | int | None = None


@dataclass(frozen=True)
class TypeFigures:
    """One attribute type.

    Args:
        attributes: different paths.
        rows: a row is a value or a point.
        stepped: rows with a step.
    """

    type: str
    attributes: int
    rows: int
    stepped: int
    steps: Range


@dataclass(frozen=True)
class Steps:
    """Steps of all series of a project; `distinct` is None above `aggregates.DISTINCT_LIMIT`."""

    rows: int
    distinct: int | None
    range: Range


@dataclass(frozen=True)
class RunFigures:
    """One run: what its directory shows, what its rows sum up to, what its `sys` attributes say.

    Args:
        points: rows of series.
        times: of its points.
        files, missing_files: different files that its rows name and that are, are not there.
    """

    key: RunKey
    adopted: bool
    parts: int
    parquet_bytes: int
    attributes: int
    rows: int
    points: int
    steps: Range
    times: Range
    files: int
    missing_files: int
    file_bytes: int
    name: str = ""
    sys_id: str = ""
    owner: str = ""
    created: int | None = None
    modified: int | None = None
    failed: bool | None = None
    trashed: bool | None = None
    tags: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return self.parquet_bytes + self.file_bytes


@dataclass(frozen=True)
class ProjectFigures:
    """One project.

    Args:
        kinds: kind → how many objects; another tool wrote `adopted` of them.
        unreadable: objects of which nothing can be read; not among `kinds`.
        attributes: different pairs of path and type.
        files, file_bytes: different files that rows name and that are there.
        missing_files: that rows name and that are not there.
        biggest: runs with the most bytes, the biggest first.
    """

    project: str
    kinds: dict[str, int]
    adopted: int
    unreadable: int
    parts: int
    parquet_bytes: int
    attributes: int
    rows: int
    points: int
    types: tuple[TypeFigures, ...]
    steps: Steps
    times: Range
    created: Range
    files: int
    missing_files: int
    file_bytes: int
    biggest: tuple[RunFigures, ...]
    problems: tuple[Problem, ...]

    @property
    def runs(self) -> int:
        """Of every kind."""
        return sum(self.kinds.values())

    @property
    def bytes(self) -> int:
        return self.parquet_bytes + self.file_bytes
