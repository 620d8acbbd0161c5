"""What lies in an archive's directories, found without trusting that any part can be read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_DIRECTORIES, Archive, Place
from migration_pipeline.archive.doctor.diagnosis import ProjectFinding
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.archive.project_folders import entries_of, project_folders, project_of
from migration_pipeline.errors import NotAnArchiveError

_TMP = re.compile(r"^(?P<stem>.+)_part_(?P<number>\d+)(\.\w{8})?\.parquet\.tmp$")
_NAMED = re.compile(r"^(?P<clean>.*)-(?P<digest>[0-9a-f]{16})$", re.DOTALL)


@dataclass
class RunOnDisk:
    """The parts of one run, whether they can be read or not.

    Args:
        numbers: of the parts that are there.
        tmp: names of temporary parts.
        written: when the oldest part was modified, seconds since 1970.
    """

    place: Place
    stem: str
    numbers: list[int] = field(default_factory=list)
    tmp: list[str] = field(default_factory=list)
    written: float = 0.0

    def part(self, number: int) -> Location:
        return self.place.directory / layout.part_name(self.stem, number)

    def is_named_as(self, run: str) -> bool:
        """Whether the parts are named as this run's are: by its digest, or without any."""
        match = _NAMED.match(self.stem)
        if match is None or self.stem == layout.clean(run):
            return True
        return match["digest"] == layout.digest(run)

    def probable_id(self) -> str:
        """The run id as far as names tell it: for certain if the digest confirms it."""
        return original_name(self.stem) or self.stem


def named_digest(name: str) -> str:
    """The digest that a probable id stands for: of a stem the one in it, else its own."""
    match = _NAMED.match(name)
    return match["digest"] if match else layout.digest(name)


def original_name(on_disk: str) -> str | None:
    """The original of a cleaned name, if it has at most one replaced character and that is a `/`.

    The digest in the name confirms it; None: it does not.
    """
    match = _NAMED.match(on_disk)
    if match is None:
        return None
    clean = match["clean"]
    slashed = (clean[:i] + "/" + clean[i + 1 :] for i, c in enumerate(clean) if c == "_")
    for candidate in (clean, *slashed):
        if layout.digest(candidate) == match["digest"]:
            return candidate
    return None


def runs_on_disk(archive: Archive, project: str) -> Iterator[RunOnDisk]:
    """All of a project that has a part or a temporary part: by kind, by place, by name.

    What lies in two places is taken from the first, as everywhere.
    """
    seen: set[tuple[Kind, str]] = set()
    for place in archive.places(project):
        runs: dict[str, RunOnDisk] = {}
        for entry in entries_of(place.directory):
            match = _TMP.match(entry.name)
            parsed = layout.parse_part_name(entry.name)
            stem = match["stem"] if match else parsed[0] if parsed else None
            if stem is None or (place.kind, stem) in seen:
                continue
            run = runs.setdefault(stem, RunOnDisk(place, stem))
            if match:
                run.tmp.append(entry.name)
            elif parsed:
                run.numbers.append(parsed[1])
                with contextlib.suppress(FileNotFoundError):  # swapped in this moment
                    modified = entry.stat().st_mtime
                    run.written = min(run.written or modified, modified)
        seen.update((place.kind, run.stem) for run in runs.values() if 0 in run.numbers)
        for _, run in sorted(runs.items()):
            run.numbers.sort()
            run.tmp.sort()
            yield run


def projects_on_disk(archive: Archive) -> tuple[list[str], list[ProjectFinding]]:
    """Names of all projects, sorted, as far as their folders tell; what is wrong with folders.

    Raises:
        NotAnArchiveError: a data directory is none, or none holds a part or temporary part.
    """
    projects: set[str] = set()
    findings: list[ProjectFinding] = []
    for folder in project_folders(archive):
        parts = _parts_of_project(folder)
        if not parts:
            continue
        name = project_of(parts) or original_name(folder.name)
        if name is None:
            text = f"none of the parts in {folder} says which project they are of"
            findings.append(ProjectFinding("", "unreadable_folder", text))
        elif (right := layout.name_on_disk(name)) != folder.name:
            text = f"{folder} holds runs of {name!r}, whose folder is {right!r}: rename it"
            findings.append(ProjectFinding(name, "folder_of_another_project", text))
        else:
            projects.add(name)
    if not projects and not findings:
        raise NotAnArchiveError(str(archive.data), "no folder in it holds a Parquet part of a run")
    return sorted(projects), findings


def _parts_of_project(directory: Location) -> list[Location]:
    """Parts 0 first, temporary ones last."""
    found = []
    for place in (directory, *(directory / name for name in KIND_DIRECTORIES)):
        for entry in entries_of(place):
            if parsed := layout.parse_part_name(entry.name):
                found.append((parsed[1], place / entry.name))
            elif _TMP.match(entry.name):
                found.append((1 << 60, place / entry.name))
    return [path for _, path in sorted(found)]
