"""Files of experiments: signed addresses, the drive of a teamspace, what is registered."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from migration_pipeline_tests.servers.litlogger import rules
from migration_pipeline_tests.servers.litlogger.rules import Refused
from migration_pipeline_tests.servers.litlogger.state import Account, Upload
from migration_pipeline_tests.servers.litlogger.streams import stream_of, teamspace

PARTS = 10_000


def sign(account: Account, request: Request, body: dict[str, Any], storage: str) -> Any:
    """Addresses to put files to; with `parts` one for each part."""
    within, results = teamspace(account, request), []
    for blob in body.get("blobs") or []:
        path, parts = blob.get("path", ""), int(blob.get("parts", 1))
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise Refused(400, f"invalid path {path!r}")
        if parts > PARTS:
            raise Refused(400, f"more than {PARTS} parts")
        upload = blob.get("upload_id") or (account.new_id("upl") if parts > 1 else "")
        numbers = blob.get("part_numbers") or (range(1, parts + 1) if parts > 1 else [None])
        urls = []
        for number in numbers:
            token = account.new_id("put")
            account.uploads[token] = Upload(within.id, path, number, upload)
            signed: dict[str, Any] = {"url": f"{storage}/{token}"}
            if number is not None:
                signed["part_number"] = number
            urls.append(signed)
        results.append({"upload_id": upload, "urls": urls, "complete_required": False})
    return {"results": results}


def store(account: Account, request: Request, content: bytes) -> Response:
    """Takes the bytes of a file or a part."""
    if "chunked" in request.headers.get("transfer-encoding", ""):
        raise Refused(501, "A header you provided implies functionality that is not implemented")
    if "authorization" in request.headers:
        raise Refused(400, "Only one auth mechanism allowed")
    upload = account.uploads.get(request.path_params["token"])
    if upload is None:
        raise Refused(403, "AccessDenied")
    if upload.part is None:
        account.teamspaces[upload.teamspace].blobs[upload.path] = content
    else:
        account.parts[upload.upload_id, upload.part] = content
    return Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})


def complete(account: Account, request: Request, body: dict[str, Any]) -> Any:
    """Puts the parts of a file together."""
    within = teamspace(account, request)
    for blob in body.get("blobs") or []:
        if upload := blob.get("upload_id"):
            parts = [int(part["part_number"]) for part in blob.get("parts") or []]
            if any((upload, number) not in account.parts for number in parts):
                raise Refused(400, "InvalidPart")
            within.blobs[blob["path"]] = b"".join(account.parts.pop((upload, n)) for n in parts)
        elif blob.get("path") not in within.blobs:
            raise Refused(404, f"blob {blob.get('path')} not found")
    return {}


def download(account: Account, request: Request, body: dict[str, Any]) -> Any:
    content = teamspace(account, request).blobs.get(request.path_params["path"])
    if content is None:
        raise Refused(404, "blob not found")
    return Response(content, media_type="application/octet-stream")


def delete_blob(account: Account, request: Request, body: dict[str, Any]) -> Any:
    if teamspace(account, request).blobs.pop(request.path_params["path"], None) is None:
        raise Refused(404, "blob not found")
    return {}


def delete_tree(account: Account, request: Request, body: dict[str, Any]) -> Any:
    blobs, folder = teamspace(account, request).blobs, f"{request.path_params['path']}/"
    inside = [path for path in blobs if path.startswith(folder)]
    if not inside:
        raise Refused(404, "tree not found")
    for path in inside:
        del blobs[path]
    return {}


def register(account: Account, request: Request, body: dict[str, Any]) -> Any:
    stream, path = stream_of(account, request), body.get("path", "")
    if f"experiments/{stream.name}/{path}" not in teamspace(account, request).blobs:
        raise Refused(404, f"artifact {path} not found")
    number = next((n for n, known in stream.artifacts.items() if known == path), "")
    if not number:
        number = account.new_id("art")
        stream.artifacts[number] = path
    return {"id": number, "path": path, "metricsStreamId": stream.id, "clusterId": "cloud-1"}


def registered(account: Account, request: Request, body: dict[str, Any]) -> Any:
    stream = stream_of(account, request)
    return {
        "loggerArtifacts": [
            {"id": number, "path": path, "metricsStreamId": stream.id, "clusterId": "cloud-1"}
            for number, path in stream.artifacts.items()
        ]
    }


def unregister(account: Account, request: Request, body: dict[str, Any]) -> Any:
    if stream_of(account, request).artifacts.pop(request.path_params["id"], None) is None:
        raise Refused(404, "artifact not found")
    return {}


def new_media(account: Account, request: Request, body: dict[str, Any]) -> Any:
    stream = stream_of(account, request)
    if body.get("mediaType") not in rules.MEDIA_TYPES:
        raise Refused(400, f"invalid value for enum field mediaType: {body.get('mediaType')!r}")
    if (step := body.get("step")) is not None:
        rules.int64(step)
    name, content = rules.key(body.get("name")), body.get("contentHash", "")
    same = next((m for m in stream.media.values() if content and m["contentHash"] == content), None)
    number = account.new_id("med")
    said = {
        "id": number,
        "name": name,
        "mediaType": body["mediaType"],
        "step": None if step is None else str(step),
        "caption": body.get("caption", ""),
        "contentHash": content,
        "clusterId": "cloud-1",
        "storagePath": same["storagePath"] if same else f"experiments/{stream.name}/media/{number}",
        "uploadComplete": same is not None and same["uploadComplete"],
    }
    stream.media[number] = said
    return {"media": said, "alreadyExists": bool(said["uploadComplete"])}


def update_media(account: Account, request: Request, body: dict[str, Any]) -> Any:
    known = stream_of(account, request).media.get(request.path_params["id"])
    if known is None:
        raise Refused(404, "media not found")
    known["uploadComplete"] = bool(body.get("uploadComplete"))
    return known


def media(account: Account, request: Request, body: dict[str, Any]) -> Any:
    found = list(stream_of(account, request).media.values())
    return {"media": found, "totalCount": len(found)}
