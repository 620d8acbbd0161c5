"""Failures on request, and the record of requests."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from neptune_query import runs
from neptune_query.exceptions import NeptuneUnexpectedResponseError

from migration_pipeline.neptune_server import RunningServer, Store
from migration_pipeline.neptune_server.faults import Fault, Faults, Incoming

from .conftest import PROJECT, Api, add_points

Serve = Callable[[Store], RunningServer]
SEARCH = "/api/leaderboard/v1/proto/leaderboard/entries/search/"


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    store = Store()
    for name in ("good", "bad"):
        add_points(store.project(PROJECT).create_run(name), "loss", range(100))
    return serve(store)


def test_the_client_outlives_passing_failures(server: RunningServer) -> None:
    server.faults.unavailable(503, path="entries/search", times=1)
    server.faults.unavailable(429, path="series/float", times=1, retry_after=0.2)
    server.faults.add(Fault("definitions/query", reset=True, times=1))
    server.faults.add(Fault("series/float", truncate=0.3, times=1))
    server.faults.add(Fault("series/float", latency=0.1, times=1))
    frame = runs.fetch_metrics(project=PROJECT, runs=".*", attributes="loss")
    assert len(frame) == 200
    assert server.faults.injected == {
        "503": 1,
        "429": 1,
        "reset": 1,
        "truncate": 1,
        "latency": 1,
    }
    assert server.faults.violations == []


def test_html_instead_of_an_answer(server: RunningServer) -> None:
    page = b"<html>Bad gateway</html>"
    server.faults.add(Fault("entries/search", status=418, content=page, content_type="text/html"))
    with pytest.raises(NeptuneUnexpectedResponseError, match="Bad gateway"):
        runs.list_runs(project=PROJECT)


@pytest.mark.parametrize("by_run_id", [True, False])
def test_one_runs_series_are_refused(server: RunningServer, by_run_id: bool) -> None:
    server.refuse_series(PROJECT, "bad")
    asked = ["bad"] if by_run_id else "^bad$"
    with pytest.raises(NeptuneUnexpectedResponseError, match="400"):
        runs.fetch_metrics(project=PROJECT, runs=asked, attributes=["loss"])
    assert len(runs.fetch_metrics(project=PROJECT, runs=["good"], attributes=["loss"])) == 100
    server.faults.clear()
    assert len(runs.fetch_metrics(project=PROJECT, runs=["bad"], attributes=["loss"])) == 100


def test_a_request_inside_a_window_is_recorded(server: RunningServer) -> None:
    api = Api(server).http
    server.faults.unavailable(429, path="entries/search", times=1, retry_after=0.5)
    ask = {"pagination": {"limit": 1}}
    where = {"projectIdentifier": PROJECT}
    assert api.post(SEARCH, json=ask, params=where).headers["retry-after"] == "0.5"
    httpx.get(f"{server.url}/api/backend/v1/clients/config", headers={"user-agent": "another"})
    time.sleep(0.1)
    api.get("/api/backend/v1/projects")
    api.post(SEARCH, json=ask, params=where)
    time.sleep(0.5)
    api.get("/api/backend/v1/projects")
    first, second = server.faults.violations
    assert (first.path, first.repeated) == ("/api/backend/v1/projects", False)
    assert (second.path, second.repeated) == (SEARCH, True)
    assert 0.2 < first.early < 0.41


def test_probabilities_are_seeded() -> None:
    def outcomes(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.unavailable(probability=0.3)
        request = Incoming("GET", "/", {}, b"")
        return [faults.decide("me", request) is not None for _ in range(1000)]

    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)
    assert 250 < sum(outcomes(1)) < 350


def test_pages_can_be_smaller_than_asked_for(server: RunningServer) -> None:
    api, limits = Api(server), server.faults.limits
    limits.float_points, limits.definitions, limits.search = 7, 2, 1
    points = api.floats(f"{PROJECT}/VISIO-1", "loss", perSeriesPointsLimit=50, order="ascending")
    assert len(points) == 7
    answer = api.post(
        "/leaderboard/attributes/definitions/query", {"projectIdentifiers": [PROJECT]}
    ).json()
    assert len(answer["entries"]) == 2
    assert answer["nextPage"]["nextPageToken"]
    assert runs.list_runs(project=PROJECT) == ["bad"]


def test_requests_and_bytes_are_counted(server: RunningServer) -> None:
    api = Api(server)
    server.traffic.reset()
    api.http.get("/api/backend/v1/projects")
    size = len(api.http.get("/api/backend/v1/projects").content)
    assert server.requests == {"GET /api/backend/v1/projects": 2}
    assert server.bytes_sent == 2 * size
    assert server.traffic.statuses == {200: 2}
