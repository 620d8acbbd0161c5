"""Copies of files that lie on this machine, or in another archive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from migration_pipeline.archive.location import Location, writing
from migration_pipeline.errors import SourceRefusedError
from migration_pipeline.sources.source import RunRef

_CHUNK = 1 << 20


def copy_readable(read: IO[bytes], target: Path) -> OSError | None:
    """Copies as far as a file can be read, and closes it.

    Args:
        read: best without a buffer, which loses what lies just before a place that is unreadable.

    Returns:
        What ended it before the file's end, such as a bad sector.

    Raises:
        ArchiveNotWritableError: there is no room for it.
    """
    with read, writing(target), target.open("wb") as out:
        while True:
            try:
                chunk = read.read(_CHUNK)
            except OSError as error:
                return error
            if not chunk:
                return None
            out.write(chunk)


def copied(place: Path, target: Path) -> bool:
    """Copies a file; False when it is not there or cannot be read.

    Raises:
        ArchiveNotWritableError: there is no room for it.
    """
    try:
        read = place.open("rb", buffering=0)
    except OSError:
        return False
    return copy_readable(read, target) is None


@contextlib.contextmanager
def readable(run: RunRef, path: Location) -> Iterator[None]:
    """Names run and file when the operating system refuses to read it."""
    try:
        yield
    except OSError as error:
        raise SourceRefusedError(
            f"run {run.key}: {path} cannot be read: {error.strerror or error}",
            "Give this user the right to read it, and start the job again.",
        ) from error
