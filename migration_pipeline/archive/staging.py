"""Where a run grows, and how its parts get their places: one by one, part 0 last, one writer at a
time.

What is not done yet has names by which `recover` knows whose it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from migration_pipeline.archive import layout, lease
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.location import Location, remove_files, replace, sync, writing
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_files import parquet_footer

TMP_PART = re.compile(r"^(?P<stem>.+)_part_(?P<number>\d+)(\.(?P<writer>\w{8}))?\.parquet\.tmp$")
STAGING = ".staging"
SIGN, _TURNS = "writes", "turns"


def local_directory(staging: Location) -> Path:
    """Where on this machine downloads and parts grow: of a folder in itself, for it is renamed."""
    if isinstance(staging, Path):
        return staging
    return work_root() / staging.name


def work_root() -> Path:
    root = Path(tempfile.gettempdir()) / f"migration_pipeline-{os.getuid()}"
    with writing(root):
        root.mkdir(mode=0o700, exist_ok=True)
    return root


def give_sign(staging: Location) -> lease.Sign | None:
    return None if isinstance(staging, Path) else lease.give_sign(staging / SIGN)


def move_in(local: Path, to: Location) -> None:
    """A file of this machine to its place in the archive."""
    if isinstance(to, Path):
        os.replace(local, to)
    elif isinstance(to, StorePath):
        to.put(local)
        local.unlink()


def claim(directory: Path) -> int:
    """Makes a directory that shows by a lock that its owner lives; returns the descriptor."""
    with writing(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with locked(directory.parent):
            directory.mkdir()
            descriptor = os.open(directory, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@contextlib.contextmanager
def scratch_directory(archive: Archive, project: str) -> Iterator[Path]:
    """A directory for downloads, on the file system of the archive's files if that is a folder.

    What a dead process leaves of it is removed by the next `recover`.
    """
    name = f"downloads.{uuid.uuid4().hex[:8]}"
    directory = local_directory(archive.files_root(project) / STAGING / name)
    descriptor = claim(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def tmp_name(stem: str, number: int, generation: str) -> str:
    return f"{stem}_part_{number}.{generation[:8]}.parquet.tmp"


@contextlib.contextmanager
def locked(directory: Location) -> Iterator[Callable[[], None]]:
    """One writer at a time in this directory; the lock dies with its holder.

    Yields what raises when it was lost after all, which on a store it can be.
    """
    if isinstance(directory, StorePath):
        with lease.turn(directory / STAGING / _TURNS) as still_ours:
            yield still_ours
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield lambda: None
    finally:
        os.close(descriptor)


def publish(
    directory: Location, stem: str, generation: str, parts: int, still_ours: Callable[[], None]
) -> None:
    """Renames the parts, part 0 last. Repeating it after a crash goes on where it stopped.

    Args:
        still_ours: raises when the turn to write here was lost.
    """
    first = directory / layout.part_name(stem, 0)
    old = 0
    while (directory / layout.part_name(stem, old)).exists():
        old += 1
    sync(directory)
    still_ours()
    if old and (parts > 1 or old > 1):
        first.unlink()
        sync(directory)
    for number in reversed(range(parts, old)):
        (directory / layout.part_name(stem, number)).unlink()
    for number in reversed(range(1, parts)):
        tmp = directory / tmp_name(stem, number, generation)
        if tmp.exists():
            replace(tmp, directory / layout.part_name(stem, number))
    sync(directory)
    still_ours()
    replace(directory / tmp_name(stem, 0, generation), first)
    sync(directory)


def remove_unnamed_files(files_root: Location, key: RunKey, manifest: Manifest) -> None:
    """Files of older exports of a run that its manifest does not name."""
    named: set[Location] = {files_root / entry.path for entry in manifest.files}
    there: Sequence[Location]
    if isinstance(files_root, StorePath):
        there = list((files_root / key.folder).rglob("*"))
    else:
        there = [path for path in (files_root / key.folder).rglob("*") if path.is_file()]
    remove_files([path for path in there if path not in named])


def footer_metadata(part: Location) -> dict[bytes, bytes]:
    try:
        return parquet_footer(part).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return {}
