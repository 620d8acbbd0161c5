"""Signed URLs, and the three cloud stores that they lead to: Google, Amazon and Azure.

The clients speak each vendor's own upload and download protocol, with Azure's through its SDK.
A URL names object, permission and end of life, and is signed; one is given for any path, whether
the object exists shows at the download (404). One that ran out is answered as the vendor does:
400 by Google, 403 by Amazon and Azure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .store import Store
from .types3 import access_denied, bad_request

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class ObjectStores:
    """Signs URLs and serves them.

    Settings may change while the server runs: `provider` is gcp, aws or azure; `lifetime` the
    seconds a URL is good for; uploads to aws above `multipart_above` bytes get one URL per
    `part_size` bytes (the real numbers are unknown).
    """

    def __init__(self, store: Store, base_url: str) -> None:
        self.store = store
        self.base_url = base_url
        self.provider = "gcp"
        self.lifetime = 3600.0
        self.multipart_above = 64 << 20
        self.part_size = 16 << 20
        self._secret = secrets.token_bytes(32)
        self._epoch = 0

    def expire_urls(self) -> None:
        """Let every URL given so far be one that ran out."""
        self._epoch += 1

    def routes(self) -> list[Route]:
        """The object stores; signing is an API endpoint and is routed by the app."""
        return [
            Route("/storage/gcp/{name}", self._google, methods=["GET", "POST", "PUT"]),
            Route("/storage/aws/{name}", self._amazon, methods=["GET", "PUT"]),
            # The SDK takes /account/container/blob for a server on 127.0.0.1.
            Route("/storage/azure/{name}", self._azure, methods=["GET", "PUT", "HEAD"]),
        ]

    def sign(self, _: Request, body: bytes) -> Response:
        """URLs in the order of the request: the clients pair them with their files by position."""
        try:
            asked = json.loads(body)["files"]
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request("The request has no list of files") from error
        answers = []
        for file in asked:
            project, path = file["project_identifier"], file["path"]
            if project not in self.store.projects:
                raise access_denied(project)
            answer = {
                "path": path,
                "project_identifier": project,
                "provider": self.provider,
                "url": self._url(project, path, file["permission"]),
            }
            size = file.get("size") or 0
            if self.provider == "aws" and file["permission"] == "write":
                answer["multipart"] = self._multipart(project, path, size)
            answers.append(answer)
        return JSONResponse({"files": answers})

    def complete_multipart(self, _: Request, body: bytes) -> Response:
        """Join the parts of an Amazon upload."""
        asked = json.loads(body)
        upload = asked["upload_id"]
        numbers = sorted(part["part_number"] for part in asked["parts"])
        parts = [self.store.blobs.part(f"{upload} {number}") for number in numbers]
        if missing := [n for n, part in zip(numbers, parts, strict=True) if not part.exists()]:
            raise bad_request(f"Parts {missing} of the upload were not received")
        self.store.blobs.join(asked["project_identifier"], asked["path"], parts)
        return Response(status_code=200)

    def _multipart(self, project: str, path: str, size: int) -> dict[str, Any] | None:
        if size <= self.multipart_above:
            return None
        upload = secrets.token_hex(8)
        count = -(-size // self.part_size)
        urls = [
            self._url(project, path, "write", part=f"{upload} {number}")
            for number in range(1, count + 1)
        ]
        return {"part_size": self.part_size, "part_urls": urls, "upload_id": upload}

    def _url(self, project: str, path: str, permission: str, **more: str) -> str:
        """Azure's SDK drops every parameter that is not one of a shared access signature's."""
        name = base64.urlsafe_b64encode(json.dumps([project, path]).encode()).decode()
        query = {
            "sp": permission,
            "se": f"{time.time() + self.lifetime:.3f}",
            "sv": str(self._epoch),
            **more,
        }
        query["sig"] = self._signature(name, query)
        return f"{self.base_url}/storage/{self.provider}/{name}?{urlencode(query)}"

    def _signature(self, name: str, query: dict[str, str]) -> str:
        signed = ("sp", "se", "sv", "part")
        text = "\n".join([name, *(f"{key}={query.get(key, '')}" for key in signed)])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _good(self, request: Request, permission: str) -> bool:
        query = dict(request.query_params)
        name = request.path_params["name"]
        return (
            hmac.compare_digest(self._signature(name, query), query.get("sig", ""))
            and query["sp"] == permission
            and float(query["se"]) > time.time()
            and query["sv"] == str(self._epoch)
        )

    async def _google(self, request: Request) -> Response:
        if not self._good(request, "read" if request.method == "GET" else "write"):
            return _xml(400, "ExpiredToken", "The provided token has expired.")
        project, path = _named(request)
        if request.method == "GET":
            return self._download(project, path)
        if request.method == "POST":
            session = f"{request.url}&session={secrets.token_hex(8)}"
            return Response(status_code=201, headers={"Location": session})
        given = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
        part = self.store.blobs.part(request.query_params.get("session", ""))
        part.touch()
        if given is None or given[1] is None:
            await _receive(request, part, 0)
            self.store.blobs.adopt(project, path, part)
            return Response(status_code=200)
        await _receive(request, part, int(given[1]))
        if int(given[2]) + 1 < int(given[3]):
            return Response(status_code=308, headers={"Range": f"bytes=0-{given[2]}"})
        self.store.blobs.adopt(project, path, part)
        return Response(status_code=200)

    async def _amazon(self, request: Request) -> Response:
        if not self._good(request, "read" if request.method == "GET" else "write"):
            return _xml(403, "AccessDenied", "Request has expired")
        project, path = _named(request)
        if request.method == "GET":
            return self._download(project, path)
        upload = request.query_params.get("part")
        part = self.store.blobs.part(upload or secrets.token_hex(8))
        part.write_bytes(b"")
        tag = await _receive(request, part, 0)
        if upload is None:
            self.store.blobs.adopt(project, path, part)
        return Response(status_code=200, headers={"ETag": f'"{tag}"'})

    async def _azure(self, request: Request) -> Response:
        if not self._good(request, "write" if request.method == "PUT" else "read"):
            return _xml(403, "AuthenticationFailed", "Signature not valid in the specified time")
        project, path = _named(request)
        if request.method == "PUT":
            return await self._azure_upload(request, project, path)
        return _azure_download(request, self.store.blobs.find(project, path))

    async def _azure_upload(self, request: Request, project: str, path: str) -> Response:
        kind, name = request.query_params.get("comp"), request.path_params["name"]
        blobs = self.store.blobs
        if kind == "blocklist":
            listed = re.findall(r"<Latest>([^<]*)</Latest>", (await request.body()).decode())
            blobs.join(project, path, [blobs.part(f"{name} {block}") for block in listed])
        else:
            block = request.query_params.get("blockid", "") if kind == "block" else "whole"
            part = blobs.part(f"{name} {block}")
            part.write_bytes(b"")
            await _receive(request, part, 0)
            if kind != "block":
                blobs.adopt(project, path, part)
        return Response(status_code=201, headers=_azure_headers())

    def _download(self, project: str, path: str) -> Response:
        file = self.store.blobs.find(project, path)
        if file is None:
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        return FileResponse(file, media_type="application/octet-stream")


def _named(request: Request) -> tuple[str, str]:
    project, path = json.loads(base64.urlsafe_b64decode(request.path_params["name"]))
    return project, path


async def _receive(request: Request, part: Path, start: int) -> str:
    """Write the body into `part` from `start`; returns the MD5 of what was written."""
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("r+b") as out:
        out.seek(start)
        async for piece in request.stream():
            digest.update(piece)
            out.write(piece)
        out.truncate()
    return digest.hexdigest()


def _azure_download(request: Request, file: Path | None) -> Response:
    if file is None:
        return _xml(404, "BlobNotFound", "The specified blob does not exist.")
    size = file.stat().st_size
    asked = request.headers.get("x-ms-range") or request.headers.get("range") or ""
    given = _RANGE.fullmatch(asked)
    start = int(given[1]) if given else 0
    end = min(int(given[2]) if given and given[2] else size - 1, size - 1)
    if given and start >= size:
        return _xml(416, "InvalidRange", "The range specified is invalid.", size)
    with file.open("rb") as source:
        source.seek(start)
        content = source.read(end - start + 1)
    headers = _azure_headers()
    if given:
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Response(content, 206 if given else 200, headers, "application/octet-stream")


def _azure_headers() -> dict[str, str]:
    return {
        "ETag": f'"{secrets.token_hex(8)}"',
        "Last-Modified": formatdate(usegmt=True),
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": "2023-11-03",
    }


def _xml(status: int, code: str, message: str, size: int | None = None) -> Response:
    headers = {"x-ms-error-code": code}
    if size is not None:
        headers["Content-Range"] = f"bytes */{size}"
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(body, status, headers, "application/xml")
