"""The bytes of artifacts, which no Neptune server has: they are where they were tracked.

A file is taken only if it is still what was tracked: by its size and, for local files, whose SHA-1
the client noted, by that too. An object store's own tag is no digest of the content in general.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from migration_pipeline.archive.writer import writing
from migration_pipeline.sources.neptune2.attributes import Json

UNREAD = "{count} files of artifacts could not be read where they are stored: {list}"
_CHUNK = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)
_LOCATIONS = ("file_path", "location")
"""Under which keys the client's drivers (local files, S3) note where a file is."""


class _Unreadable(Exception):
    """Why a file cannot be had."""


def pack(files: Sequence[Json], target: Path, scratch: Callable[[], Path]) -> list[tuple[str, str]]:
    """Writes a zip of the files that can be had; the same files always give the same bytes.

    Args:
        files: as the server lists them: `filePath`, `fileHash`, `type`, `size`, `metadata`.
        target: the zip; it has no meaning when no file could be had.
        scratch: gives paths for files that are checked before they are taken.

    Returns:
        Path and reason of each file that could not be had, with where it should be.
    """
    unread = []
    with writing(target), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            copy = scratch()
            try:
                _copy(file, copy)
                with copy.open("rb") as read, _entry(archive, str(file["filePath"]), copy) as out:
                    shutil.copyfileobj(read, out, _CHUNK)
            except _Unreadable as error:
                unread.append((str(file["filePath"]), str(error)))
            finally:
                copy.unlink(missing_ok=True)
    return unread


def _entry(archive: zipfile.ZipFile, name: str, copy: Path) -> Any:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = 0o644 << 16
    info.file_size = copy.stat().st_size
    return archive.open(info, "w")


def _copy(file: Json, target: Path) -> None:
    """Copies a file from where it is and checks that it is the one that was tracked."""
    location = next((m["value"] for m in file.get("metadata") or () if m["key"] in _LOCATIONS), "")
    sha1, size = hashlib.sha1(usedforsecurity=False), 0
    with target.open("wb") as out:
        for chunk in _chunks(location):
            sha1.update(chunk)
            size += len(chunk)
            out.write(chunk)
    if file.get("size") not in (None, size):
        raise _Unreadable(f"{location} ({size} bytes, {file['size']} when it was tracked)")
    if file.get("type") == "Local" and sha1.hexdigest() != file.get("fileHash"):
        raise _Unreadable(f"{location} (its content is another than when it was tracked)")


def _chunks(location: str) -> Iterator[bytes]:
    try:
        system, path = _system(location)
        with system.open_input_stream(path) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise _Unreadable(f"{location} ({type(error).__name__}: {reason[:300]})") from error


def _system(location: str) -> tuple[Any, str]:
    """The file system and the path in it. The client writes locations without any quoting."""
    scheme, separator, path = location.partition("://")
    if scheme == "file" and separator:
        return fs.LocalFileSystem(), path
    if scheme in ("s3", "gs") and separator:
        return _bucket(f"{scheme}://{urlsplit(location).netloc}"), path
    raise _Unreadable(f"{location or 'no location'} (neither file://, s3:// nor gs://)")


@lru_cache(maxsize=64)
def _bucket(address: str) -> Any:
    """Its file system, with the credentials that the environment gives."""
    system, _ = fs.FileSystem.from_uri(address)
    return system
