"""Whether the files that a run names are there."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from migration_pipeline.archive.doctor.diagnosis import Reason
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.location import Location, stats
from migration_pipeline.archive.store import StorePath


@dataclass
class FilesSeen:
    """Paths of a run's files by what is wrong with them."""

    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    """Not wrong: neptune-exporter unpacks some file sets."""

    def reasons(self, of: int) -> Iterator[Reason]:
        if self.missing:
            text = f"{len(self.missing)} of {of} files are not there: {some(self.missing)}"
            yield because("file_missing", text)
        if self.empty:
            text = f"{len(self.empty)} of {of} files are empty: {some(self.empty)}"
            yield because("empty_file", text)
        if self.outside:
            text = f"{len(self.outside)} rows name what lies outside: {some(self.outside)}"
            yield because("file_outside", text)


def look_at_files(root: Location, paths: Iterable[str]) -> FilesSeen:
    """One `stat` a file; a directory counts as a file."""
    seen = FilesSeen()
    inside: list[str] = []
    for path in paths:
        (seen.outside if is_outside(path) else inside).append(path)
    for path, found in zip(inside, stats(root, inside), strict=True):
        if found is None:
            seen.missing.append(path)
            continue
        if stat.S_ISDIR(found.st_mode):
            seen.directories.append(path)
            is_empty = not _holds_a_file(root / path)
        else:
            is_empty = not found.st_size
        if is_empty:
            seen.empty.append(path)
    return seen


def is_outside(path: str) -> bool:
    """Whether a file_value.path leaves the directory that it is relative to."""
    return path.startswith("/") or ".." in PurePosixPath(path).parts


def _holds_a_file(directory: Location) -> bool:
    if isinstance(directory, StorePath):
        return True  # that is what makes a folder there
    return any(names for _, _, names in os.walk(directory))


def walk(root: Location, without: Container[str]) -> Iterator[tuple[str, int]]:
    """(path relative to the root, bytes) of all files below it, without those being written.

    Directories `without` (relative to the root) are left out with all that is in them.

    A lone surrogate in a name (bytes that are no UTF-8) becomes the replacement character.
    """
    if isinstance(root, StorePath):
        for path, found in root.walk().items():
            above = [str(folder) for folder in PurePosixPath(path).parents]
            if ".staging" not in PurePosixPath(path).parts and not any(f in without for f in above):
                yield path, found.st_size
        return
    for directory, below, names in os.walk(root):
        here = os.path.relpath(directory, root)
        below[:] = [
            name
            for name in below
            if name != ".staging" and os.path.normpath(os.path.join(here, name)) not in without
        ]
        for name in names:
            path = os.path.join(directory, name)
            try:
                size = os.lstat(path).st_size
            except FileNotFoundError:
                continue  # removed while we look
            relative = os.path.normpath(os.path.join(here, name))
            yield os.fsencode(relative).decode("utf-8", "replace"), size
