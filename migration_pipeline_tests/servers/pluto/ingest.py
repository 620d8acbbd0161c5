"""What is ingested: lines of metrics, data and console, and files (S ingest/src)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from migration_pipeline_tests.servers.pluto.refusals import Refusal
from migration_pipeline_tests.servers.pluto.state import PlutoAccount, Rows

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.pluto.app import PlutoStandIn

_UNSIGNED = 2**64
_BODY = 2 * 1024 * 1024
"""Of /files: the framework's own limit."""
_METRIC = frozenset(("time", "step", "data"))
_DATA = frozenset(("time", "data", "step", "dataType", "logName"))
_LOG = frozenset(("time", "message", "lineNumber", "logType"))
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Line = dict[str, Any]


async def metrics(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    rows = _rows(account, request)

    def take(line: Line) -> int:
        if line.keys() != _METRIC:
            _check(line, _METRIC)
        at, step, data = _whole(line, "time"), _whole(line, "step"), line["data"]
        if not isinstance(data, dict):
            raise _bad("'data' is not a map")
        if not data:
            raise _bad("'data' field cannot be empty")
        if not all(map(str.strip, data)):
            raise _bad("metric name cannot be empty")
        values = {
            name: value if type(value) is float else _value(value)
            for name, value in data.items()
            if value is not None
        }
        account.later(server.slow, lambda: rows.lines.append((step, at, values)))
        return len(values)

    return _lines(await request.body(), take)


async def data(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    rows = _rows(account, request)

    def take(line: Line) -> int:
        _check(line, _DATA)
        _whole(line, "time"), _whole(line, "step")
        for name in ("data", "dataType", "logName"):
            _string(line, name, blank=name == "data")
        account.later(server.slow, lambda: rows.data.append(line))
        return 1

    return _lines(await request.body(), take)


async def logs(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    rows = _rows(account, request)

    def take(line: Line) -> int:
        _check(line, _LOG)
        _whole(line, "time"), _whole(line, "lineNumber")
        _string(line, "message", blank=True), _string(line, "logType")
        account.later(server.slow, lambda: rows.logs.append(line))
        return 1

    return _lines(await request.body(), take)


async def files(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """Addresses to put files to; the rows are there at once, whether or not bytes follow."""
    project, run = _headers(request, silently=False)
    body = await request.body()
    if len(body) > _BODY:
        raise Refusal(413, "length limit exceeded")
    try:
        given = json.loads(body)["files"]
        made = [_file(line) for line in given]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, "INVALID_JSON_FORMAT", str(error)) from None
    rows = account.of(project, run)
    addresses: dict[str, list[dict[str, str]]] = {}
    for line in made:
        key = object_key(project, run, line["logName"], line["fileName"])
        address = f"{server.url}/bucket/{account.slug}/{quote(key)}?X-Amz-Signature=0"
        addresses.setdefault(line["logName"], []).append({line["fileName"]: address})
        account.later(server.slow, lambda line=line: rows.files.append(line))
    return JSONResponse(addresses)


async def upload(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """Neither size nor type is looked at, and a chunked body has no length."""
    if "content-length" not in request.headers:
        raise Refusal(411, "MissingContentLength")
    account.objects[request.path_params["key"]] = await request.body()
    return Response()


async def download(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    found = account.objects.get(request.path_params["key"])
    if found is None:
        return Response("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
    return Response(found, media_type="application/octet-stream")


ROUTES = {
    "/ingest/metrics": metrics,
    "/ingest/data": data,
    "/ingest/logs": logs,
    "/files": files,
}


def object_key(project: str, run: int, log_name: str, file_name: str) -> str:
    """Where bytes are: the step is not in it."""
    return f"{project}/{run}/{log_name}/{file_name}"


def _lines(body: bytes, take: Callable[[Line], int]) -> Response:
    """Takes line by line; those before a bad one stay."""
    count = 0
    for text in body.decode(errors="replace").split("\n"):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as error:
            raise _bad(f"Failed to parse JSON line (bytes): '{text[:100]}': {error}") from None
        if not isinstance(line, dict):
            raise _bad("invalid type, expected struct")
        count += take(line)
    return PlainTextResponse(f"Stream processed successfully: {count} records")


def _rows(account: PlutoAccount, request: Request) -> Rows:
    return account.of(*_headers(request, silently=True))


def _headers(request: Request, silently: bool) -> tuple[str, int]:
    """Project and run, which is not looked for; one that is no number is run 0, silently."""
    found = []
    for name in ("X-Project-Name", "X-Run-Id"):
        value = request.headers.get(name)
        if value is None or not value.isascii():
            raise Refusal(400, "INVALID_HEADER_FORMAT", f"Missing required header: {name}")
        found.append(value)
    project, run = found
    if not run.isdecimal() and not silently:
        raise Refusal(500, "INTERNAL_ERROR")  # the server panics and cuts the connection
    return project, int(run) if run.isdecimal() else 0


def _check(line: Line, names: frozenset[str]) -> None:
    if unknown := line.keys() - names:
        raise _bad(f"unknown field `{min(unknown)}`")
    if missing := names - line.keys():
        raise _bad(f"missing field `{min(missing)}`")


def _whole(line: Line, name: str) -> int:
    value = line[name]
    if type(value) is not int or not 0 <= value < _UNSIGNED:
        raise _bad(f"invalid value for `{name}`: {value!r}, expected u64")
    return value


def _string(line: Line, name: str, blank: bool = False) -> None:
    if not isinstance(line[name], str):
        raise _bad(f"invalid type for `{name}`, expected a string")
    if not blank and not line[name].strip():
        raise _bad(f"'{name}' field cannot be empty")


def _value(value: Any) -> float:
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(f"unexpected metric value: {value!r}")
    return float(value)


def _file(line: Line) -> Line:
    for name in ("fileName", "logName", "fileType"):
        if not isinstance(line[name], str):
            raise TypeError(f"invalid type for {name}")
    for name in ("fileSize", "step", "time"):
        _whole(line, name)
    return {"sampleIndex": 0, "caption": None, **line}


def _bad(said: str) -> Refusal:
    return Refusal(422, "PROCESSING_FAILED", said)
