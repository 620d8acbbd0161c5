"""Experiments (metrics streams) and their points."""

from __future__ import annotations

import math
import random
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
from starlette.requests import Request

from migration_pipeline_tests.servers.litlogger import rules
from migration_pipeline_tests.servers.litlogger.rules import Refused
from migration_pipeline_tests.servers.litlogger.state import Account, Stream, Teamspace, Values

LARGEST_PAGE = 1000
"""Experiments of one answer, however many are asked for (A)."""


def teamspace(account: Account, request: Request) -> Teamspace:
    named = request.path_params.get("project") or request.query_params.get("projectId", "")
    if named not in account.teamspaces:
        raise Refused(404, f"project {named} not found")
    return account.teamspaces[named]


def stream_of(account: Account, request: Request) -> Stream:
    found = teamspace(account, request).streams.get(request.path_params["stream"])
    if found is None:
        raise Refused(404, f"metrics stream {request.path_params['stream']} not found")
    return found


def find(account: Account, request: Request, body: dict[str, Any]) -> Any:
    found = teamspace(account, request).by_name(request.query_params.get("name", ""))
    if found is None:
        raise Refused(404, "metrics stream not found")
    return found.shown()


def listed(account: Account, request: Request, body: dict[str, Any]) -> Any:
    asked = request.query_params
    wanted = asked.getlist("ids")
    found = [
        stream
        for stream in teamspace(account, request).streams.values()
        if not wanted or stream.id in wanted
    ]
    start = int(asked.get("offset", 0))
    end = start + min(int(asked.get("limit", len(found))), LARGEST_PAGE)
    return {"metricsStreams": [stream.shown() for stream in found[start:end]]}


def create(account: Account, request: Request, body: dict[str, Any]) -> Any:
    within = teamspace(account, request)
    name = rules.experiment_name(body.get("name"))
    if within.by_name(name):
        raise Refused(409, f"metrics stream {name} already exists")
    limit = account.max_experiments
    if limit is not None and len(within.streams) >= limit:
        raise Refused(403, "maximum number of experiments reached, upgrade your plan")
    made = Stream(
        account.new_id("str"),
        name,
        within.id,
        account.user_id,
        datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        rules.tags(body),
        bool(body.get("storeStep")),
        bool(body.get("storeCreatedAt")),
        body,
    )
    within.streams[made.id] = made
    return made.shown()


def delete(account: Account, request: Request, body: dict[str, Any]) -> Any:
    within = teamspace(account, request)
    for number in body.get("ids") or []:
        if within.streams.pop(number, None) is None:
            raise Refused(404, f"metrics stream {number} not found")
    return {}


def update(account: Account, request: Request, body: dict[str, Any]) -> Any:
    stream = stream_of(account, request)
    phase = body.get("phase", stream.phase)
    if phase not in rules.PHASES:
        raise Refused(400, f"invalid value for enum field phase: {phase!r}")
    tags = rules.tags(body) if body.get("tags") is not None else stream.tags
    stream.phase, stream.tags = phase, tags
    stream.persisted = bool(body.get("persisted", stream.persisted))
    return stream.shown()


def append(account: Account, request: Request, body: dict[str, Any]) -> Any:
    stream = stream_of(account, request)
    taken = rules.metrics(body, stream.store_step, stream.store_created_at)
    now = time.monotonic()
    if account.pace is not None:
        values, seconds = account.pace
        if sum(len(found.steps) for _, found in taken) > values:
            raise Refused(429, f"more than {values} values in a request", seconds)
        if account.appended and (left := account.appended[-1] + seconds - now) > 0:
            raise Refused(429, "too many requests", left)
    account.appended.append(now)
    stream.batches += [(now, name, values) for name, values in taken]
    return {}


def points(account: Account, request: Request, body: dict[str, Any]) -> Any:
    asked = request.query_params
    within = teamspace(account, request)
    named: dict[str, Any] = {}
    first, last = asked.get("minStep"), asked.get("maxStep")
    samples = int(asked.get("samples", 0))
    for number in asked.getlist("ids"):
        if number not in within.streams:
            raise Refused(404, f"metrics stream {number} not found")
        for name, values in within.streams[number].metrics(account.lag).items():
            found = [
                value
                for value in values.rows()
                if (first is None or value[0] >= int(first))
                and (last is None or value[0] <= int(last))
            ]
            if samples and len(found) > samples:
                rows = sorted(random.Random(0).sample(range(len(found)), samples))
                found = [found[row] for row in rows]
            said = [{"step": str(s), "createdAt": t, "value": v} for s, t, v in found]
            ids = named.setdefault(name, {"idsMetrics": {}})["idsMetrics"]
            ids[number] = {"metricsValues": said}
    return {"namedMetrics": named}


def summary(account: Account, request: Request, body: dict[str, Any]) -> Any:
    within = teamspace(account, request)
    named: dict[str, Any] = {}
    for number in request.query_params.getlist("ids"):
        if number not in within.streams:
            raise Refused(404, f"metrics stream {number} not found")
        for name, values in within.streams[number].metrics(account.lag).items():
            ids = named.setdefault(name, {"summariesPerId": {}})["summariesPerId"]
            ids[number] = _summary(values)
    return {"summariesPerName": named}


def _summary(values: Values) -> dict[str, Any]:
    numbers, steps = np.array(values.numbers), values.steps
    with np.errstate(all="ignore"):
        mean, variance = float(numbers.mean()), float(numbers.var())
    return {
        "numValues": str(len(steps)),
        "minValue": float(numbers.min()),
        "maxValue": float(numbers.max()),
        "meanValue": _double(mean),
        "variance": _double(variance),
        "lastValue": values.numbers[-1],
        "lastStep": str(steps[-1]),
        "minStep": str(min(steps)),
        "maxStep": str(max(steps)),
    }


def _double(value: float) -> float | str:
    """As protobuf's JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
