"""An archive's folders, and whose they are, without trusting that any part can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Entry, Location, folders_in, scandir
from migration_pipeline.archive.manifest import read_manifest
from migration_pipeline.archive.reader import read_first_value
from migration_pipeline.errors import DamagedPartError, NotAnArchiveError


def project_folders(archive: Archive) -> list[Location]:
    """Whatever folders lie where projects' do, sorted.

    There need not be any of models: neptune-exporter makes it when it has one.

    Raises:
        NotAnArchiveError: the data directory is not there; it, or that of models, is a file or
            cannot be listed.
    """
    found: list[Location] = []
    for root in (archive.data, archive.model_data):
        if root is None or (root != archive.data and not root.exists()):
            continue
        if not root.is_dir():
            raise NotAnArchiveError(str(root), "it is a file" if root.exists() else "there is none")
        try:
            found += folders_in(root)
        except OSError as error:
            raise _cannot_be_listed(root, error) from error
    return sorted(found, key=str)


def entries_of(folder: Location) -> Iterator[Entry]:
    """What lies in a folder; nothing where there is none.

    Raises:
        NotAnArchiveError: it cannot be listed.
    """
    try:
        with scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _cannot_be_listed(folder, error) from error


def project_of(parts: Iterable[Location]) -> str | None:
    """The project that the first of these parts that can be read is of; None: none can be."""
    for part in parts:
        with contextlib.suppress(DamagedPartError):
            manifest = read_manifest(part)
            return manifest.project if manifest else str(read_first_value(part, "project_id"))
    return None


def _cannot_be_listed(folder: Location, error: OSError) -> NotAnArchiveError:
    return NotAnArchiveError(str(folder), f"it cannot be listed ({error})")
