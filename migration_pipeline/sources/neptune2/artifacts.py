"""The bytes of artifacts, which no Neptune server has: they are where they were tracked.

A file is taken only if it is still what was tracked: by its size and, for local files, whose SHA-1
the client noted, by that too. An object store's own tag is no digest of the content in general.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from migration_pipeline.archive.location import writing
from migration_pipeline.sources.neptune2.attributes import Json

UNREAD = "{count} files of artifacts could not be read where they are stored: {list}"
_CHUNK = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)
_LOCATIONS = ("file_path", "location")
"""Under which keys the client's drivers (local files, S3) note where a file is."""
_PATIENCE, _CLOSED = 2.0, 60.0
"""A store that takes so many seconds to fail is not asked again for so many."""


class _Unreadable(Exception):
    """Why a file cannot be had."""


def pack(files: Sequence[Json], target: Path, scratch: Callable[[], Path]) -> list[tuple[str, str]]:
    """Writes a zip of the files that can be had; the same files always give the same bytes.

    Args:
        files: as the server lists them: `filePath`, `fileHash`, `type`, `size`, `metadata`.
        target: the zip; it is not there when no file could be had.
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
    if len(unread) == len(files):
        with writing(target):
            target.unlink()
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
    scheme, separator, path = location.partition("://")
    if not separator or scheme not in ("file", "s3", "gs"):
        raise _Unreadable(f"{location or 'no location'} (neither file://, s3:// nor gs://)")
    store = f"{scheme}://{path.partition('/')[0]}" if scheme != "file" else "file://"
    if (reason := _STORES.closed(store)) is not None:
        raise _Unreadable(f"{location} ({reason})")
    started = time.monotonic()
    try:
        with _STORES.system(store).open_input_stream(path) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0] if str(error) else ""
        reason = f"{type(error).__name__}: {said[:300]}"
        slow = time.monotonic() - started > _PATIENCE
        if slow and scheme != "file" and not isinstance(error, FileNotFoundError):
            _STORES.close(store, reason)
        raise _Unreadable(f"{location} ({reason})") from error


class _Stores:
    """File systems by bucket, with the credentials that the environment gives.

    One that could not be reached is left alone for a while: without a network or credentials each
    file would take seconds to fail.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._systems: dict[str, Any] = {"file://": fs.LocalFileSystem()}
        self._closed: dict[str, tuple[float, str]] = {}

    def system(self, store: str) -> Any:
        with self._lock:
            if store not in self._systems:
                # Arrow retries at Google for a quarter of an hour by itself.
                address = f"{store}?retry_limit_seconds=30" if store.startswith("gs:") else store
                self._systems[store] = fs.FileSystem.from_uri(address)[0]
            return self._systems[store]

    def close(self, store: str, reason: str) -> None:
        self._closed[store] = (time.monotonic() + _CLOSED, reason)

    def closed(self, store: str) -> str | None:
        """Why the store is not asked now."""
        until, reason = self._closed.get(store, (0.0, ""))
        return reason if time.monotonic() < until else None


_STORES = _Stores()
