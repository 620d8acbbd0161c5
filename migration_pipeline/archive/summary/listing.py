"""Which runs a project's directories hold, from listings and footers alone.

Unlike `Archive.runs`, which refuses a run that lacks a part, this takes what can be read of it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_DIRECTORIES, Archive, Place, RunKey
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import (
    GENERATION_KEY,
    KINDS,
    Manifest,
    manifest_in,
    read_footer,
)
from migration_pipeline.archive.project_folders import entries_of, project_folders, project_of
from migration_pipeline.archive.reader import read_first_value, schema_difference
from migration_pipeline.errors import DamagedPartError, NotAnArchiveError


@dataclass(frozen=True)
class Problem:
    """What was left out or looks wrong: a part, a run or a directory, and a clause about it."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One run with a part 0.

    Args:
        parts: those that can be read, in order.
        parquet_bytes: of all its parts.
        files_root: what its file paths are relative to.
        adopted: another tool wrote it.
    """

    key: RunKey
    parts: tuple[Location, ...]
    parquet_bytes: int
    files_root: Location
    adopted: bool


@dataclass
class Listing:
    """The runs of a project by kind and id; `unreadable` counts those not among them."""

    project: str
    runs: list[ListedRun] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unreadable: int = 0


@dataclass
class _Found:
    """Parts of one stem: number → bytes."""

    directory: Location
    stem: str
    sizes: dict[int, int] = field(default_factory=dict)

    def path(self, number: int) -> Location:
        return self.directory / layout.part_name(self.stem, number)


def projects_on_disk(archive: Archive) -> tuple[list[str], list[Problem]]:
    """Original names of the projects that hold a readable part 0, sorted; and what is left out.

    Raises:
        NotAnArchiveError: a data directory is missing or cannot be read, or none has a part 0.
    """
    names, problems, empty = set(), [], True
    for directory in project_folders(archive):
        firsts = _firsts(directory)
        empty = empty and not firsts
        name = project_of(firsts)
        if name is None and firsts:
            problems.append(Problem(str(directory), "none of its parts 0 can be read; left out"))
        elif name is not None and layout.name_on_disk(name) != directory.name:
            expected = layout.name_on_disk(name)
            what = f"it holds project {name!r} but is not called {expected!r}; left out"
            problems.append(Problem(str(directory), what))
        elif name is not None:
            names.add(name)
    if empty:
        raise NotAnArchiveError(str(archive.data), "no folder in it holds a run's part 0")
    return sorted(names), problems


def _firsts(directory: Location) -> list[Location]:
    folders = [directory, *(directory / name for name in KIND_DIRECTORIES)]
    found = (stem for folder in folders for stem in _stems(folder).values())
    return [stem.path(0) for stem in found if 0 in stem.sizes]


def list_runs(archive: Archive, project: str) -> Listing:
    """The runs of a project, of every kind, with the parts of each that can be read."""
    listing = Listing(project)
    known: list[pq.ParquetSchema] = []
    seen: set[RunKey] = set()
    for place in archive.places(project):
        for found in _stems(place.directory).values():
            run = _listed(listing, found, place, known)
            if run is not None and run.key in seen:
                what = f"{run.key} is there twice; this one is left out"
                listing.problems.append(Problem(str(found.path(0)), what))
            elif run is not None:
                seen.add(run.key)
                listing.runs.append(run)
    listing.runs.sort(key=lambda run: (KINDS.index(run.key.kind), _natural(run.key.run)))
    return listing


def _natural(run: str) -> list[tuple[int, str]]:
    """Sorts `PRJ-9` before `PRJ-10`."""
    pieces = re.split("([0-9]+)", run)  # every second one is a number
    numbers = [piece.lstrip("0") for piece in pieces[1::2]]
    pieces[1::2] = numbers
    return [(len(piece) if i % 2 else 0, piece) for i, piece in enumerate(pieces)]


def _listed(
    listing: Listing, found: _Found, place: Place, known: list[pq.ParquetSchema]
) -> ListedRun | None:
    """The run, or the reasons why it is none among the listing's problems."""

    def leave_out(number: int, what: str) -> None:
        listing.problems.append(Problem(str(found.path(number)), f"{what}; left out"))

    if 0 not in found.sizes:
        leave_out(min(found.sizes), f"{len(found.sizes)} part(s) without a part 0 are no run")
        return None
    footers: dict[int, pq.FileMetaData] = {}
    manifest = None
    for number in sorted(found.sizes):
        try:
            footers[number] = _checked_footer(found.path(number), known)
            if number == 0:
                manifest = manifest_in(footers[0], found.path(0))
        except DamagedPartError as error:
            footers.pop(number, None)
            leave_out(number, error.what.removeprefix(f"part {error.path} is damaged: "))
    if manifest:
        for number in [n for n in footers if _generation(footers[n]) != manifest.generation]:
            leave_out(number, "it is of another export of the run than part 0")
            del footers[number]
    run = manifest.run if manifest else _run_id(found, footers)
    if run is None:
        listing.unreadable += 1
        if footers:
            leave_out(0, "its parts have no rows, so nothing says which run it is")
        return None
    key = RunKey(listing.project, run, place.kind)
    listing.problems += _missing(key, found, manifest)
    return ListedRun(
        key=key,
        parts=tuple(found.path(number) for number in footers),
        parquet_bytes=sum(found.sizes.values()),
        files_root=place.files_root,
        adopted=not any(_generation(footer) for footer in footers.values()),
    )


def _checked_footer(part: Location, known: list[pq.ParquetSchema]) -> pq.FileMetaData:
    """The footer of a part that has the archive's columns.

    Args:
        known: schemas that were found to be right before; most parts have one of them.
    """
    footer = read_footer(part)
    if not any(footer.schema.equals(schema) for schema in known):
        try:
            reason = schema_difference(footer.schema.to_arrow_schema())
        except ValueError as error:  # also what is no UTF-8
            reason = f"its columns cannot be read ({error})"
        if reason:
            raise DamagedPartError(str(part), reason)
        known.append(footer.schema)
    return footer


def _generation(footer: pq.FileMetaData) -> str:
    return str((footer.metadata or {}).get(GENERATION_KEY, b"").decode("ascii", "replace"))


def _run_id(found: _Found, footers: dict[int, pq.FileMetaData]) -> str | None:
    """From the first part that has rows and can be read."""
    for number, footer in footers.items():
        if not footer.num_rows:
            continue
        bounds = _bounds(footer, "run_id")
        if bounds is not None and bounds.has_min_max and bounds.min == bounds.max:
            return str(bounds.min)
        try:
            return str(read_first_value(found.path(number), "run_id"))
        except DamagedPartError:
            continue
    return None


def _bounds(footer: pq.FileMetaData, name: str) -> pq.Statistics | None:
    group = footer.row_group(0)
    columns = (group.column(i) for i in range(group.num_columns))
    return next((c.statistics for c in columns if c.path_in_schema == name), None)


def _missing(key: RunKey, found: _Found, manifest: Manifest | None) -> Iterator[Problem]:
    last = max(found.sizes) + 1 if manifest is None else manifest.parts
    if gaps := sorted(set(range(last)).difference(found.sizes)):
        what = f"part {gaps[0]} of {last} is not there"
        yield Problem(str(key), what if len(gaps) == 1 else f"{what}, nor {len(gaps) - 1} more")


def _stems(directory: Location) -> dict[str, _Found]:
    stems: dict[str, _Found] = {}
    for entry in entries_of(directory):
        if (parsed := layout.parse_part_name(entry.name)) and entry.is_file():
            stem, number = parsed
            with contextlib.suppress(FileNotFoundError):  # a writer renamed it just now
                size = entry.stat().st_size
                stems.setdefault(stem, _Found(directory, stem)).sizes[number] = size
    return stems
