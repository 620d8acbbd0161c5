"""Files and sets of files from a client: in one request, in parts, or as a compressed archive.

What arrives is invisible until it is complete, and then replaces what was there as a whole. A
refusal for the attribute's sake is an entry among `errors`, one for the bytes' sake a status. The
fork's `contentHash` is accepted and not checked.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.store import FileValue, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from .file_sets import add_files, inner_path
from .finding import find_object, number
from .storage import keep, new_part, writable

_RANGE = re.compile(r"bytes=(\d+)-(\d+)/(\d+)")
WRONG_LENGTH = "Length of stream does not match given range"
"""The client starts the file over when a 400 says so, and gives up at any other."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a file goes: an attribute of its own, or a path within a set."""

    run: Run
    path: str
    extension: str = ""
    sub_path: str | None = None

    @property
    def type(self) -> str:
        return "file" if self.sub_path is None else "file_set"

    @property
    def name(self) -> str:
        """What the file is called: last part of the attribute and extension, or of the sub-path."""
        if self.sub_path is not None:
            return PurePosixPath(self.sub_path).name
        last = self.path.rsplit("/", 1)[-1]
        return f"{last}.{self.extension}" if self.extension else last

    def receive(self, part: Path) -> None:
        """Make the bytes what the attribute holds. ValueError when it has another type."""
        writable(self.run, self.path, self.type)
        file = keep(self.run, self.path, part, self.name, extension=self.extension)
        if self.sub_path is not None:
            add_files(self.run, self.path, {self.sub_path: file})
            return
        with self.run.project.store.lock:
            writable(self.run, self.path, self.type)
            self.run.set(self.path, "file", file)


@dataclass(slots=True)
class _Upload:
    """Parts that have arrived, by their number: begin and end (exclusive) in bytes, and file."""

    target: _Target
    total: int
    parts: dict[int, tuple[int, int, Path]] = field(default_factory=dict)
    finished: bool = False

    def join(self) -> Path:
        """The whole file. ApiError 400 when the parts leave something out (assumed)."""
        whole, at = new_part(self.target.run), 0
        with whole.open("wb") as out:
            for begin, end, part in sorted(self.parts.values()):
                if begin != at:
                    break
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out)
                at = end
        if at != self.total:
            raise bad_request(f"Bytes from {at} of {self.total} were not received")
        for _, _, part in self.parts.values():
            part.unlink(missing_ok=True)
        return whole


class Uploads:
    """The uploads' endpoints; one instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._uploads: dict[str, _Upload] = {}

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "fileAtomUpload": self.single,
            "fileAtomMultipartUploadStart": self.start,
            "fileAtomMultipartUploadPart": self.part,
            "fileAtomMultipartUploadFinish": self.finish,
            "fileSetFileUpload": self.single,
            "fileSetFileMultipartUploadStart": self.start,
            "fileSetFileMultipartUploadPart": self.part,
            "fileSetFileMultipartUploadFinish": self.finish,
            "uploadFileSetAttributeTar": self.tar,
        }

    def single(self, request: Request, body: bytes) -> Response:
        """A whole file in one request."""
        target = self._target(request)
        part = new_part(target.run)
        part.write_bytes(body)
        return _reported(lambda: target.receive(part))

    def start(self, request: Request, _: bytes) -> Response:
        """Announce a file of `totalLength` bytes; the answer has the id of the upload."""
        target = self._target(request)
        total = number(request, "totalLength", 0)
        id_ = secrets.token_hex(12)

        def begin() -> None:
            writable(target.run, target.path, target.type)
            self._uploads[id_] = _Upload(target, total)

        return _reported(begin, uploadId=id_)

    def part(self, request: Request, body: bytes) -> Response:
        """One part, which replaces an earlier one of its number.

        400 when `X-Range` (`bytes=<first>-<last>/<total>`) does not fit the body or the file.
        """
        upload = self._upload(request)
        given = _RANGE.fullmatch(request.headers.get("x-range", ""))
        if given is None:
            raise bad_request("X-Range is bytes=<first>-<last>/<total>")
        begin, last, total = (int(one) for one in given.groups())
        if last + 1 - begin != len(body) or total != upload.total or last >= total:
            raise bad_request(WRONG_LENGTH)
        part = new_part(upload.target.run)
        part.write_bytes(body)
        upload.parts[number(request, "uploadPartIdx", 0)] = (begin, last + 1, part)
        return _reported(lambda: None)

    def finish(self, request: Request, _: bytes) -> Response:
        """Make the parts a file. Done twice it is no error: the first answer may have been lost."""
        upload = self._upload(request)
        if upload.finished:
            return _reported(lambda: None)
        whole = upload.join()
        upload.finished = True
        return _reported(lambda: upload.target.receive(whole))

    def tar(self, request: Request, body: bytes) -> Response:
        """Files of a gzipped tar into a set, all or none; `reset=True` empties it first.

        Directories in it are passed over: a set knows those that its files are in.
        """
        run = find_object(self.store, request.query_params.get("experimentId", ""))
        path = request.query_params.get("attribute", "")
        reset = request.query_params.get("reset", "").lower() == "true"

        def extract() -> None:
            writable(run, path, "file_set")
            add_files(run, path, _extracted(run, path, body), reset=reset)

        return _reported(extract)

    def _target(self, request: Request) -> _Target:
        query = request.query_params
        run = find_object(self.store, query.get("experimentIdentifier", ""))
        sub_path = query.get("subPath")
        try:
            sub_path = None if sub_path is None else inner_path(sub_path)
        except ValueError as error:
            raise bad_request(str(error)) from error
        return _Target(run, query.get("attribute", ""), query.get("ext", ""), sub_path)

    def _upload(self, request: Request) -> _Upload:
        id_ = request.query_params.get("uploadId", "")
        upload = self._uploads.get(id_)
        if upload is None:
            raise ApiError(404, "UPLOAD_NOT_FOUND", f"There is no upload {id_!r}")
        return upload


def _extracted(run: Run, path: str, body: bytes) -> dict[str, FileValue]:
    files = {}
    try:
        with tarfile.open(fileobj=BytesIO(body), mode="r:gz") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isfile() else None
                if source is None:
                    continue
                name = inner_path(member.name)
                part = new_part(run)
                with part.open("wb") as out:
                    shutil.copyfileobj(source, out)
                files[name] = keep(run, path, part, PurePosixPath(name).name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise bad_request(f"The body is not a gzipped tar: {error}") from error
    return files


def _reported(change: Callable[[], None], **more: str) -> Response:
    try:
        change()
    except ValueError as error:
        entry = {"errorDescription": str(error), "errorType": "metadata_inconsistency"}
        return JSONResponse({"errors": [entry], **more})
    return JSONResponse({"errors": [], **more})
