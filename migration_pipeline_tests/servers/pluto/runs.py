"""Runs: made, found again, changed (S web/server/routes/runs-openapi.ts, lib/group-tag.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline_tests.servers.pluto.refusals import Refusal
from migration_pipeline_tests.servers.pluto.state import (
    LOG_TYPES,
    STATUSES,
    PlutoAccount,
    Run,
    deep_merge,
    javascript,
    now_ms,
    prefix_of,
)

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.pluto.app import PlutoStandIn

_NAME_LENGTH = 255
_MOST_TAGS = 50
_LAST_TIME = 8_640_000_000_000_000
_DEEPEST = 10
_TYPES: dict[str, type] = {"string": str, "number": int, "array": list, "boolean": bool}


async def slug(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    return JSONResponse({"organization": {"slug": account.slug}})


async def create(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """A new run, or the one with this external id: that is opened again, and its configuration
    merged, and nothing else of the request is looked at."""
    body = await _body(request)
    name, project = _field(body, "runName", "string"), _field(body, "projectName", "string")
    external = _field(body, "externalId", "string", optional=True)
    if external == "":
        raise _invalid("externalId", "at least 1 character")
    tags = _tags(body.get("tags") or [])
    created, updated = _time(body, "createdAt"), _time(body, "updatedAt")
    config = _json(body, "config")
    account.prefixes.setdefault(_short(project), prefix_of(project))
    if external and (known := account.find(project, external)):
        if isinstance(config, dict):
            known.config = deep_merge(known.config or {}, config)
        known.finish("RUNNING", None)
        return _made(server, account, known, resumed=True)
    if account.at_limit:
        raise Refusal(400, "Organization is at limit")
    fork = _fork(account, body, project)
    if fork and body.get("inheritConfig") is not False:
        inherited = account.runs[body["forkRunId"]].config or {}
        config = {**inherited, **config} if isinstance(config, dict) else inherited
    run = Run(
        id=len(account.runs) + 1,
        number=sum(run.project == project for run in account.runs.values()) + 1,
        project=project,
        name=_short(name),
        external_id=_short(external) if external else None,
        tags=tags,
        config=config,
        system_metadata=_json(body, "systemMetadata"),
        logger_settings=_json(body, "loggerSettings"),
        created=created or now_ms(),  # a falsy time is none, as in the server
        updated=updated or now_ms(),
        fork=fork,
    )
    account.runs[run.id] = run
    return _made(server, account, run, resumed=False)


async def resume(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    body = await _body(request)
    given = [name for name in ("runId", "displayId", "externalId") if body.get(name) is not None]
    if len(given) != 1:
        raise _invalid("", "Provide exactly one of: runId, displayId, or externalId")
    run: Run | None
    if given == ["runId"]:
        run = account.runs.get(_field(body, "runId", "number"))
    elif given == ["externalId"]:
        if not body.get("projectName"):
            raise Refusal(400, "projectName is required when using externalId")
        run = account.find(body["projectName"], body["externalId"])
    else:
        run = next(
            (r for r in account.runs.values() if account.display_id(r) == body["displayId"]), None
        )
    if run is None:
        raise Refusal(404, "Run not found")
    run.finish("RUNNING", None)
    return _made(server, account, run, resumed=True)


async def status(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    body = await _body(request)
    run = _run(account, body)
    wanted = _field(body, "status", "string")
    if wanted not in STATUSES:
        raise _invalid("status", f"one of {', '.join(STATUSES)}")
    metadata = _json(body, "statusMetadata")
    run.finish(wanted, _time(body, "statusUpdated"))
    run.status_metadata = metadata
    return JSONResponse({"success": True})


async def tags(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    body = await _body(request)
    run = _run(account, body)
    run.tags = _tags(_field(body, "tags", "array"))
    return JSONResponse({"success": True})


async def config(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    body = await _body(request)
    run = _run(account, body)
    _field(body, "config", "string")
    change = _json(body, "config")
    if not isinstance(change, dict):
        raise Refusal(400, "config must be a JSON object")
    run.config = deep_merge(run.config or {}, change)
    return JSONResponse({"success": True})


async def log_names(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """The first type of a name stays; a second one is dropped without a word."""
    body = await _body(request)
    run = _run(account, body)
    kind = _field(body, "logType", "string")
    if kind not in LOG_TYPES:
        raise _invalid("logType", f"one of {', '.join(sorted(LOG_TYPES))}")
    for name in _field(body, "logName", "array"):
        run.log_names.setdefault(_text(name), kind)
    return JSONResponse({"success": True})


async def beat(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """The heartbeat, which SDKs send about every four seconds."""
    run = _run(account, await _body(request))
    run.heartbeat = now_ms()
    return JSONResponse({"status": run.status})


ROUTES = {
    "/api/slug": slug,
    "/api/runs/create": create,
    "/api/runs/resume": resume,
    "/api/runs/status/update": status,
    "/api/runs/tags/update": tags,
    "/api/runs/config/update": config,
    "/api/runs/logName/add": log_names,
    "/api/runs/trigger": beat,
}


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = javascript((await request.body()).decode())
    except ValueError:
        raise Refusal(400, "Malformed JSON in request body") from None
    if not isinstance(body, dict):
        raise _invalid("", "Expected object")
    return body


def _field(body: dict[str, Any], name: str, kind: str, optional: bool = False) -> Any:
    value = body.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        raise _invalid(name, f"Expected {kind}")
    return value


def _invalid(name: str, said: str) -> Refusal:
    return Refusal(400, "ZodError", f"{name}: {said}" if name else said)


def _json(body: dict[str, Any], name: str) -> Any:
    """A field that is JSON as text; PostgreSQL's own has no U+0000."""
    text = _field(body, name, "string", optional=True)
    if text is None or text == "null":
        return None
    try:
        value = javascript(text)
    except ValueError:
        raise Refusal(400, f"Invalid {name} JSON") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise Refusal(500, "Internal Server Error")
    return value


def _text(value: Any) -> str:
    """Of a text column."""
    if not isinstance(value, str):
        raise _invalid("", "Expected string")
    if "\0" in value:
        raise Refusal(500, "Internal Server Error")
    return value


def _short(value: str) -> str:
    """Of a VARCHAR(255) column: what is longer is the database's error."""
    if len(_text(value)) > _NAME_LENGTH:
        raise Refusal(500, "Failed to create run")
    return value


def _tags(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise _invalid("tags", "Expected array")
    found = [_text(tag) for tag in given]
    if len(found) > _MOST_TAGS:
        raise Refusal(400, f"A run can have at most {_MOST_TAGS} tags.")
    if sum(tag.startswith("group:") for tag in found) > 1:
        raise Refusal(400, "A run can have at most one group:* tag.")
    return found


def _time(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_TIME:
        raise _invalid(name, f"an integer from 0 to {_LAST_TIME}")
    return value


def _fork(account: PlutoAccount, body: dict[str, Any], project: str) -> tuple[int, int] | None:
    """Run and step; the parent is moved up to the ancestor that owns the step."""
    given, step = body.get("forkRunId"), body.get("forkStep")
    if given is None and step is None:
        return None
    if given is None or step is None:
        raise Refusal(400, "forkRunId and forkStep must be provided together")
    if not isinstance(step, int) or step < 0:
        raise _invalid("forkStep", "a whole number from 0")
    parent = account.runs.get(given)
    if parent is None or parent.project != project:
        raise Refusal(400, "Parent run not found in this project")
    highest = account.of(project, parent.id).highest_step()
    if step > (highest or 0):
        raise Refusal(400, f"forkStep {step} is above the highest step of the parent ({highest})")
    for _ in range(_DEEPEST):
        if parent.fork is None or step > parent.fork[1]:
            break
        parent = account.runs[parent.fork[0]]
    return parent.id, step


def _run(account: PlutoAccount, body: dict[str, Any]) -> Run:
    run = account.runs.get(_field(body, "runId", "number"))
    if run is None:
        raise Refusal(404, "Run not found")
    return run


def _made(server: PlutoStandIn, account: PlutoAccount, run: Run, resumed: bool) -> Response:
    return JSONResponse(
        {
            "runId": run.id,
            "number": run.number,
            "displayId": account.display_id(run),
            "projectName": run.project,
            "organizationSlug": account.slug,
            "url": f"{server.url}/o/{account.slug}/projects/{run.project}/{run.id}",
            "resumed": resumed,
            "forkedFromRunId": run.fork[0] if run.fork else None,
            "forkStep": run.fork[1] if run.fork else None,
        }
    )
