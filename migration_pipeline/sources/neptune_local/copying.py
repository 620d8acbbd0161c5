"""Copies of files that lie on this machine."""

from __future__ import annotations

from pathlib import Path

from migration_pipeline.archive.location import writing

_CHUNK = 1 << 20


def copied(place: Path, target: Path) -> bool:
    """Copies a file; False when it is not there or cannot be read.

    Raises:
        ArchiveNotWritableError: there is no room for it.
    """
    try:
        read = place.open("rb")
    except OSError:
        return False
    with read, writing(target), target.open("wb") as out:
        while True:
            try:
                chunk = read.read(_CHUNK)
            except OSError:
                return False
            if not chunk:
                return True
            out.write(chunk)
