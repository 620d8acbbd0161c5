"""File sets: files by their path within the set, listed by directory and downloaded as a zip.

A change replaces the whole value, so that what a reader has in hand stays as it is.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.faults import Faults
from migration_pipeline.neptune_server.store import FileSetValue, FileValue, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError

from .finding import find_attribute
from .storage import send_path, writable
from .zips import Zips


def add_files(run: Run, path: str, files: Mapping[str, FileValue], *, reset: bool = False) -> None:
    """Put stored files into a set, which is created when absent and emptied first on `reset`.

    A file of the same path within the set is replaced. ValueError for another type.
    """
    with run.project.store.lock:
        found = writable(run, path, "file_set")
        old = FileSetValue() if found is None or reset else found.value
        now = run.project.store.clock()
        value = FileSetValue({**old.files, **files}, {**old.times, **dict.fromkeys(files, now)})
        run.set(path, "file_set", value)


def delete_files(run: Run, path: str, file_paths: Iterable[str]) -> None:
    """Take files, or all below a directory, out of a set, which may be empty afterwards.

    ValueError when there is no such set. Paths that are not in it are no error (assumed).
    """
    with run.project.store.lock:
        found = writable(run, path, "file_set")
        if found is None:
            raise ValueError(f"{run.sys_id} has no file set {path}")
        gone = [inner_path(one) for one in file_paths]
        left = {
            name: file
            for name, file in found.value.files.items()
            if not any(name == one or name.startswith(f"{one}/") for one in gone)
        }
        times = {name: found.value.times[name] for name in left if name in found.value.times}
        run.set(path, "file_set", FileSetValue(left, times))


def inner_path(given: str) -> str:
    """A path within a set: relative, without `.` and `..`. ValueError when it leads outside."""
    cleaned = posixpath.normpath(given.lstrip("/"))
    if cleaned in ("", ".") or cleaned.split("/", 1)[0] == "..":
        raise ValueError(f"{given!r} is not a path of a file within a set")
    return cleaned


@dataclass(slots=True)
class _Request:
    """A zip that somebody asked for. `polls` is how often the answer is still: not ready."""

    file: Path
    name: str
    polls: int


class FileSets:
    """The sets' endpoints; one instance per server. `base_url` is where zips are fetched."""

    def __init__(self, store: Store, zips: Zips, faults: Faults, base_url: str) -> None:
        self.store = store
        self.zips = zips
        self.faults = faults
        self.base_url = base_url
        self._requests: dict[str, _Request] = {}

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "lsFileSetAttribute": self.list,
            "prepareForDownloadFileSetAttributeZip": self.prepare,
            "getDownloadPrepareRequest": self.poll,
        }

    def list(self, request: Request, _: bytes) -> Response:
        """One directory of the set, by name; 404 for one that is not there.

        A directory's size is that of all below it, its time the latest of these, and a file's
        time that of its upload: all assumed.
        """
        _run, path, attribute = find_attribute(self.store, request, "file_set")
        inside = request.query_params.get("path", "").strip("/")
        entries = _level(attribute.value, f"{inside}/" if inside else "")
        if inside and not entries:
            raise ApiError(404, "FILE_NOT_FOUND", f"{path} has no directory {inside!r}")
        return JSONResponse([entries[name] for name in sorted(entries)])

    def prepare(self, request: Request, _: bytes) -> Response:
        """Ask for a zip of the set as it is now. The answer has an id to poll with, no address."""
        run, path, attribute = find_attribute(self.store, request, "file_set")
        value = attribute.value
        file = value.zipped or self.zips.make(run.project, value.files)
        id_ = secrets.token_hex(12)
        name = f"{path.rsplit('/', 1)[-1]}.zip"
        self._requests[id_] = _Request(file, name, self.faults.limits.zip_polls)
        return JSONResponse({"id": id_, "downloadUrl": None})

    def poll(self, request: Request, _: bytes) -> Response:
        """The address of the zip, or none while it is being made (`Limits.zip_polls` times)."""
        id_ = request.query_params.get("id", "")
        asked = self._find(id_)
        with self.store.lock:
            ready = asked.polls <= 0
            asked.polls -= 1
        url = f"{self.base_url}/dl/{id_}" if ready else None
        return JSONResponse({"id": id_, "downloadUrl": url})

    def download(self, request: Request, _: bytes) -> Response:
        """The zip, under the name of the attribute."""
        asked = self._find(request.path_params["id"])
        return send_path(asked.file, asked.name, "application/zip")

    def _find(self, id_: str) -> _Request:
        asked = self._requests.get(id_)
        if asked is None:
            raise ApiError(404, "DOWNLOAD_REQUEST_NOT_FOUND", f"Nobody asked for the zip {id_!r}")
        return asked


def _level(value: FileSetValue, prefix: str) -> dict[str, dict[str, Any]]:
    """Name → entry of the files and directories right below `prefix`."""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in value.files.items():
        if not path.startswith(prefix):
            continue
        name, slash, _ = path[len(prefix) :].partition("/")
        time = _iso(value.times.get(path, 0))
        kind = "directory" if slash else "file"
        entry = entries.setdefault(name, {"name": name, "size": 0, "mtime": time, "fileType": kind})
        entry["size"] += file.size
        entry["mtime"] = max(entry["mtime"], time)
    return entries


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
