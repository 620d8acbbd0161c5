"""Artifacts: lists of files that lie elsewhere, known in their project by a hash.

The server holds the list and never the bytes. A new artifact's hash is the client's; when files
are added to one, the server computes it, and it must equal that of all files tracked at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.store import ArtifactFile, Project, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from .finding import find_attribute, find_project, parsed
from .storage import writable


def assign(run: Run, path: str, hash_: str) -> None:
    """Let the attribute be an artifact of the project, whose files may still be on their way.

    ValueError when the path has another type, or the project does not know the hash (assumed).
    """
    with run.project.store.lock:
        writable(run, path, "artifact")
        if hash_ not in run.project.artifacts:
            raise ValueError(f"{run.project.identifier} has no artifact {hash_}")
        run.set(path, "artifact", hash_)


def clear(run: Run, path: str) -> None:
    """Take the attribute away (assumed: no client sends this). ValueError for another type."""
    with run.project.store.lock:
        if writable(run, path, "artifact") is not None:
            del run.attributes[path]
            run.touch()


def artifact_hash(files: Iterable[ArtifactFile]) -> str:
    """The hash of a list of files, in apiVersion 2: their metadata does not count.

    SHA-256 over the files by path: `#`, length of path (4 bytes, big-endian, in characters),
    path, `#`, hash, `#`, size (8 bytes, when known), `#`, length of type, type. As the client
    computes it, so that both come to the same.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda one: one.path):
        digest.update(b"#" + len(file.path).to_bytes(4, "big") + file.path.encode())
        digest.update(b"#" + file.hash.encode() + b"#")
        if file.size is not None:
            digest.update(file.size.to_bytes(8, "big"))
        digest.update(b"#" + len(file.type).to_bytes(4, "big") + file.type.encode())
    return digest.hexdigest()


class Artifacts:
    """The artifacts' endpoints; one instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "createNewArtifact": self.create,
            "createArtifactVersion": self.extend,
            "uploadArtifactFilesMetadata": self.upload,
            "listArtifactFiles": self.list,
            "getArtifactAttribute": self.get,
        }

    def create(self, request: Request, _: bytes) -> Response:
        """Announce a hash; `receivedMetadata` says whether its files are known already."""
        project, hash_ = self._named(request)
        if not hash_:
            raise bad_request("An artifact has a hash")
        with self.store.lock:
            project.artifacts.setdefault(hash_, None)
        return _described(project, hash_)

    def upload(self, request: Request, body: bytes) -> Response:
        """The files of an announced hash; 404 for one that was not announced."""
        project, hash_ = self._known(request)
        files = _files(body)
        with self.store.lock:
            project.artifacts[hash_] = _in_order(files)
        return _described(project, hash_)

    def extend(self, request: Request, body: bytes) -> Response:
        """Files added to those of a hash (same path: replaced), under the hash they have then."""
        project, hash_ = self._known(request)
        added = _files(body)
        with self.store.lock:
            merged = {file.path: file for file in project.artifacts[hash_] or ()}
            merged |= {file.path: file for file in added}
            together = _in_order(merged.values())
            hash_ = artifact_hash(together)
            project.artifacts[hash_] = together
        return _described(project, hash_)

    def list(self, request: Request, _: bytes) -> Response:
        """The files by path; 404 for an unknown hash."""
        project, hash_ = self._known(request)
        files = [
            {
                "filePath": file.path,
                "fileHash": file.hash,
                "type": file.type,
                "size": file.size,
                "metadata": [{"key": key, "value": value} for key, value in file.metadata],
            }
            for file in project.artifacts[hash_] or ()
        ]
        return JSONResponse({"files": files})

    def get(self, request: Request, _: bytes) -> Response:
        """The hash that an attribute has."""
        _run, path, attribute = find_attribute(self.store, request, "artifact")
        return JSONResponse(
            {"attributeName": path, "attributeType": "artifact", "hash": attribute.value}
        )

    def _named(self, request: Request) -> tuple[Project, str]:
        query = request.query_params
        return find_project(self.store, query.get("projectIdentifier", "")), query.get("hash", "")

    def _known(self, request: Request) -> tuple[Project, str]:
        project, hash_ = self._named(request)
        if hash_ not in project.artifacts:
            raise ApiError(404, "ARTIFACT_NOT_FOUND", f"{project.identifier} has no {hash_}")
        return project, hash_


def _files(body: bytes) -> list[ArtifactFile]:
    try:
        return [_file(one) for one in parsed(body, dict)["files"]]
    except (KeyError, TypeError) as error:
        raise bad_request("The request has no list of files") from error


def _file(one: dict[str, Any]) -> ArtifactFile:
    pairs = tuple((str(pair["key"]), str(pair["value"])) for pair in one.get("metadata") or ())
    return ArtifactFile(one["filePath"], one["fileHash"], one["type"], one.get("size"), pairs)


def _in_order(files: Iterable[ArtifactFile]) -> tuple[ArtifactFile, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _described(project: Project, hash_: str) -> Response:
    files = project.artifacts[hash_]
    sizes = [file.size for file in files or ()]
    known = files is not None and None not in sizes
    return JSONResponse(
        {
            "artifactHash": hash_,
            "receivedMetadata": files is not None,
            "size": sum(size for size in sizes if size is not None) if known else None,
            "projectId": project.uuid,
        }
    )
