"""Bytes of the 2.x protocol: how uploads become files of a project, and how files are sent."""

from __future__ import annotations

import mimetypes
import secrets
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response

from migration_pipeline.neptune_server.store import Attribute, FileValue, Project, Run
from migration_pipeline.neptune_server.types3 import ApiError

UNKNOWN = "application/octet-stream"


def writable(run: Run, path: str, type_: str) -> Attribute | None:
    """The attribute if it is there. ValueError when the path has another type: types are fixed."""
    found = run.attributes.get(path)
    if found is not None and found.type != type_:
        raise ValueError(f"Attribute {path} of {run.sys_id} is {found.type}, not {type_}")
    return found


def new_part(run: Run) -> Path:
    """A path on disk for bytes that are arriving; nobody sees them."""
    return run.project.store.blobs.part(secrets.token_hex(16))


def keep(
    run: Run,
    path: str,
    part: Path,
    name: str,
    *,
    mime_type: str | None = None,
    extension: str | None = None,
) -> FileValue:
    """Make finished bytes a file of the project, under a path that no other file ever has.

    Nothing refers to it yet: who does it replaces a value as a whole, so that a reader meets
    the old file or the new one and never the size of one with the bytes of the other.
    """
    size = part.stat().st_size
    destination = f"{run.sys_id}/{path}/{secrets.token_hex(8)}/{name}"
    run.project.store.blobs.adopt(run.project.identifier, destination, part)
    mime_type = mime_type or mimetypes.guess_type(name)[0] or UNKNOWN
    extension = Path(name).suffix[1:] if extension is None else extension
    return FileValue(destination, size, mime_type, name, extension)


def send(project: Project, file: FileValue, name: str, media_type: str = UNKNOWN) -> Response:
    """The file's bytes under the name; 404 when they are not on disk."""
    found = project.store.blobs.find(project.identifier, file.path)
    if found is None:
        raise ApiError(404, "FILE_NOT_FOUND", f"{file.path} of {project.identifier} is gone")
    return send_path(found, name, media_type)


def send_path(found: Path, name: str, media_type: str) -> Response:
    """A file on disk under the name."""
    return FileResponse(
        found, media_type=media_type, headers={"Content-Disposition": disposition(name)}
    )


def disposition(name: str) -> str:
    """The client takes all that follows the last `filename=`, so the plain form comes last.

    Other scripts go into `filename*`; how a real server writes them is unknown.
    """
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    extended = "" if plain == name else f"filename*=UTF-8''{quote(name, safe='')}; "
    return f'attachment; {extended}filename="{plain}"'
