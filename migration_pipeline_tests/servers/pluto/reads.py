"""What can be asked for with an API key (S web/server/routes/runs-openapi.ts, lib/queries)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline_tests.servers.pluto.ingest import object_key
from migration_pipeline_tests.servers.pluto.refusals import Refusal
from migration_pipeline_tests.servers.pluto.state import (
    PlutoAccount,
    Point,
    Rows,
    Run,
    clickhouse_time,
    iso,
)

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.pluto.app import PlutoStandIn

_MOST_FILES = 1000
_MOST_STATISTICS = 100


async def listing(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    limit = _number(request, "limit", 50, 1, 200)
    offset = _number(request, "offset", 0, 0, 100_000)
    tags = [tag for tag in request.query_params.get("tags", "").split(",") if tag.strip()]
    search = request.query_params.get("search", "").lower()
    found = [
        run
        for run in account.runs.values()
        if run.project == _required(request, "projectName")
        and all(tag.strip() in run.tags for tag in tags)
        and search in run.name.lower()
    ]
    sort = request.query_params.get("sort", "-createdAt")
    found.sort(key=lambda run: (run.created, run.id), reverse=not sort.startswith("+"))
    shown = [_shown(server, account, run) for run in found[offset : offset + limit]]
    return JSONResponse({"runs": shown, "total": len(found)})


async def details(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    run = account.runs.get(int(request.path_params["run"]))
    return _details(server, account, run)


async def by_display_id(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """Ids are upper-cased; several projects may have one."""
    wanted = request.path_params["display"].upper()
    project = request.query_params.get("projectName")
    found = [
        run
        for run in account.runs.values()
        if account.display_id(run) == wanted and project in (None, run.project)
    ]
    if len(found) > 1:
        raise Refusal(409, "Display ID is ambiguous; give projectName")
    return _details(server, account, found[0] if found else None)


def _details(server: PlutoStandIn, account: PlutoAccount, run: Run | None) -> Response:
    if run is None:
        raise Refusal(404, "Run not found")
    names = [{"logName": n, "logType": t, "logGroup": _group(n)} for n, t in run.log_names.items()]
    return JSONResponse(
        {
            **_shown(server, account, run),
            "systemMetadata": run.system_metadata,
            "loggerSettings": run.logger_settings,
            "statusMetadata": run.status_metadata,
            "statusUpdated": iso(run.status_updated),
            "projectName": run.project,
            "externalId": run.external_id,
            "forkedFromRunId": run.fork[0] if run.fork else None,
            "forkStep": run.fork[1] if run.fork else None,
            "logNames": names,
        }
    )


def _shown(server: PlutoStandIn, account: PlutoAccount, run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "number": run.number,
        "displayId": account.display_id(run),
        "status": run.status,
        "tags": run.tags,
        "config": run.config,
        "createdAt": iso(run.created),
        "updatedAt": iso(run.updated),
        "url": f"{server.url}/o/{account.slug}/projects/{quote(run.project, '')}/{run.id}",
    }


async def projects(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    counts: dict[str, int] = dict.fromkeys(account.prefixes, 0)
    for run in account.runs.values():
        counts[run.project] += 1
    return JSONResponse(
        {
            "projects": [
                {"id": n, "name": name, "runCount": count, "createdAt": "", "updatedAt": ""}
                for n, (name, count) in enumerate(counts.items(), 1)
            ]
        }
    )


async def metrics(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """At most so many points of each name, by a stride, with the last one."""
    limit = _number(request, "limit", 2000, 1, 10_000)
    low = _number(request, "stepMin", 0, 0)
    high = _number(request, "stepMax", 2**64 - 1, 0)
    only, group = request.query_params.get("logName"), request.query_params.get("logGroup")
    rows, shown = _asked(account, request), []
    if only and low == high:
        one = rows.point(only, low)
        return JSONResponse({"metrics": [_point(only, low, one)] if one else []})
    for name, series in sorted(rows.points.items()):
        if only not in (None, name) or group not in (None, _group(name)):
            continue
        points = sorted((step, p) for step, p in series.items() if low <= step <= high)
        shown += [_point(name, step, point) for step, point in sampled(points, limit)]
    return JSONResponse({"metrics": shown})


def sampled(points: list[tuple[int, Point]], limit: int) -> Iterator[tuple[int, Point]]:
    if len(points) <= limit:
        yield from points
        return
    stride = math.ceil(len(points) / limit)
    for number, point in enumerate(points):
        if number % stride == 0 or number == len(points) - 1:
            yield point


def _point(name: str, step: int, point: Point) -> dict[str, Any]:
    at, value = point
    flag = "" if math.isfinite(value) else "NaN" if math.isnan(value) else "Inf"
    return {
        "logName": name,
        "logGroup": _group(name),
        # ClickHouse's -0 is 0 in JavaScript's JSON, and its 64-bit numbers are doubles there
        "value": value + 0.0 if math.isfinite(value) else 0,
        "valueFlag": f"-{flag}" if value < 0 and flag else flag,
        "time": clickhouse_time(at),
        "step": step if step <= 2**53 else int(float(step)),
    }


async def metric_names(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    limit = _number(request, "limit", 500, 1, 500)
    asked = request.query_params.get("runIds")
    wanted = {int(run) for run in asked.split(",")} if asked else None
    names = {
        name
        for (project, run), rows in account.rows.items()
        if project == _required(request, "projectName") and (wanted is None or run in wanted)
        for name in rows.points
        if request.query_params.get("search", "") in name
    }
    return JSONResponse({"metricNames": sorted(names)[:limit]})


async def statistics(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    """Of finite values, as they were at the last refresh; of a hundred names."""
    project, run = _required(request, "projectName"), _number(request, "runId", None, 0)
    known = account.runs.get(run)
    if known is None or known.project != project:
        raise Refusal(404, "Run not found")
    only = request.query_params.get("logName")
    found = {
        name: values
        for (of_project, of_run, name), values in sorted(account.summaries.items())
        if (of_project, of_run) == (project, run) and only in (None, name) and values
    }
    shown = [
        {
            "logName": name,
            "logGroup": _group(name),
            "count": len(values),
            "min": min(values),
            "max": max(values),
            "mean": sum(values) / len(values),
        }
        for name, values in list(found.items())[:_MOST_STATISTICS]
    ]
    return JSONResponse({"runId": run, "runName": known.name, "metrics": shown})


async def files(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    project, run = _required(request, "projectName"), _number(request, "runId", None, 0)
    only = request.query_params.get("logName")
    rows = [line for line in account.of(project, run).files if only in (None, line["logName"])]
    rows.sort(key=lambda line: (line["step"], line["sampleIndex"], line["fileName"]))
    shown = []
    for line in rows[:_MOST_FILES]:
        key = object_key(project, run, line["logName"], line["fileName"])
        url = f"{server.url}/bucket/{account.slug}/{quote(key)}?X-Amz-Signature=1"
        shown.append({**line, "time": clickhouse_time(line["time"]), "url": url})
    return JSONResponse({"files": shown})


async def logs(server: PlutoStandIn, account: PlutoAccount, request: Request) -> Response:
    limit = _number(request, "limit", 1000, 1, 10_000)
    offset = _number(request, "offset", 0, 0)
    wanted = request.query_params.get("logType")
    rows = [r for r in _asked(account, request).logs if wanted in (None, r["logType"])]
    shown = [{**r, "time": clickhouse_time(r["time"]), "step": None} for r in rows]
    return JSONResponse({"logs": shown[offset : offset + limit], "total": len(rows)})


ROUTES = {
    "/api/runs/list": listing,
    "/api/runs/details/by-display-id/{display}": by_display_id,
    "/api/runs/details/{run:int}": details,
    "/api/runs/projects": projects,
    "/api/runs/metrics": metrics,
    "/api/runs/metric-names": metric_names,
    "/api/runs/statistics": statistics,
    "/api/runs/files": files,
    "/api/runs/logs": logs,
}


def _asked(account: PlutoAccount, request: Request) -> Rows:
    return account.of(_required(request, "projectName"), _number(request, "runId", None, 0))


def _required(request: Request, name: str) -> str:
    if name not in request.query_params:
        raise Refusal(400, "ZodError", f"{name}: Required")
    return request.query_params[name]


def _number(
    request: Request, name: str, default: int | None, low: int, high: int | None = None
) -> int:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or int(text) < low or (high and int(text) > high):
        raise Refusal(400, "ZodError", f"{name}: {text!r} is out of its range")
    return int(text)


def _group(name: str) -> str:
    return name.rpartition("/")[0]
