"""The stand-in for Pluto has the rules of its server's source: each is tripped here once, over
HTTP, and the real SDK reads what a stand-in holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from migration_pipeline_tests.servers import standin
from migration_pipeline_tests.servers.pluto import PlutoAccount, PlutoStandIn

KEY = standin.account_key("rules")
OF_RUN = {"X-Project-Name": "p", "X-Run-Id": "1"}


@pytest.fixture(scope="module")
def server() -> Iterator[PlutoStandIn]:
    with standin.serving(PlutoStandIn()) as served:
        yield served


@pytest.fixture
def account(server: PlutoStandIn) -> PlutoAccount:
    server.forget(KEY)
    return server.account(KEY)


@pytest.fixture
def client(server: PlutoStandIn, account: PlutoAccount) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, verify=False) as opened:
        yield opened


def create(client: httpx.Client, **said: Any) -> httpx.Response:
    return client.post("/api/runs/create", json={"runName": "r", "projectName": "p", **said})


def made(client: httpx.Client, **said: Any) -> int:
    answer = create(client, **said)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["runId"])


def send(client: httpx.Client, *lines: dict[str, Any], path: str = "metrics") -> httpx.Response:
    body = "\n".join(map(json.dumps, lines))
    return client.post(f"/ingest/{path}", content=body, headers=OF_RUN)


def point(step: Any = 0, value: Any = 1.0, at: Any = 5, name: str = "m") -> dict[str, Any]:
    return {"time": at, "step": step, "data": {name: value}}


def status_of(client: httpx.Client, run: int) -> str:
    return str(client.get(f"/api/runs/details/{run}").json()["status"])


@pytest.mark.parametrize(
    "line",
    [
        point(step=1.0),
        point(step=-1),
        point(step=2**64),
        point(step=None),
        point(at=-1),
        point(at=0.5),
        point(value="1"),
        point(value=True),
        point(name=" "),
        {"time": 1, "step": 1, "data": {}},
        {"time": 1, "data": {"m": 1.0}},
        {**point(), "run": 1},
    ],
    ids=str,
)
def test_a_bad_line_is_refused_and_those_before_it_are_taken(
    client: httpx.Client, account: PlutoAccount, line: dict[str, Any]
) -> None:
    answer = send(client, point(7), line, point(8))
    assert answer.status_code == 422
    assert answer.json()["code"] == "PROCESSING_FAILED"
    assert account.of("p", 1).points == {"m": {7: (5, 1.0)}}


def test_a_step_has_one_point_the_one_with_the_highest_time(
    client: httpx.Client, account: PlutoAccount
) -> None:
    for at, value in ((10, 1.0), (30, 3.0), (20, 2.0), (30, 4.0)):
        assert send(client, point(1, value, at)).text.endswith("1 records")
    assert account.of("p", 1).points == {"m": {1: (30, 4.0)}}
    assert [line[1] for line in account.of("p", 1).lines] == [10, 30, 20, 30]
    send(client, point(1, 9.0, 5))
    asked = {"projectName": "p", "runId": 1, "logName": "m", "stepMin": 1, "stepMax": 1}
    (row,) = client.get("/api/runs/metrics", params=asked).json()["metrics"]
    assert row["value"] == 4.0


def test_what_is_not_finite_is_held_and_shown_as_0_with_a_flag(client: httpx.Client) -> None:
    body = '{"time":1,"step":1,"data":{"a":NaN,"b":"Infinity","c":-Infinity,"d":null,"e":-0.0}}'
    assert client.post("/ingest/metrics", content=body, headers=OF_RUN).status_code == 200
    asked = {"projectName": "p", "runId": 1}
    rows = client.get("/api/runs/metrics", params=asked).json()["metrics"]
    assert [(row["logName"], row["value"], row["valueFlag"]) for row in rows] == [
        ("a", 0, "NaN"),
        ("b", 0, "Inf"),
        ("c", 0, "-Inf"),
        ("e", 0, ""),
    ]
    assert all(str(row["value"]) in ("0", "0.0") for row in rows)


def test_more_points_than_asked_for_are_a_sample_with_the_last_one(client: httpx.Client) -> None:
    send(client, *(point(step) for step in range(25)))
    asked = {"projectName": "p", "runId": 1, "limit": 10}
    steps = [r["step"] for r in client.get("/api/runs/metrics", params=asked).json()["metrics"]]
    assert steps == [*range(0, 25, 3)]
    asked |= {"stepMin": 4, "stepMax": 6}
    steps = [r["step"] for r in client.get("/api/runs/metrics", params=asked).json()["metrics"]]
    assert steps == [4, 5, 6]
    assert client.get("/api/runs/metrics", params=asked | {"limit": 10_001}).status_code == 400


def test_data_and_files_that_come_twice_are_there_twice(
    client: httpx.Client, account: PlutoAccount
) -> None:
    line = {"time": 1, "step": 1, "dataType": "string-series", "logName": "log", "data": "x" * 300}
    assert send(client, line, line, path="data").status_code == 200
    assert send(client, {**line, "data": {}}, path="data").status_code == 422
    assert send(client, {**line, "dataType": " "}, path="data").status_code == 422
    assert account.of("p", 1).data == [line, line]


def test_bytes_of_a_file_are_found_without_its_step(
    client: httpx.Client, account: PlutoAccount
) -> None:
    """And its row is there before them."""
    file = {"fileName": "a.png", "fileSize": 3, "fileType": "png", "time": 1, "logName": "img"}
    for step, content in ((1, b"one"), (2, b"two")):
        answer = client.post("/files", json={"files": [{**file, "step": step}]}, headers=OF_RUN)
        url = answer.json()["img"][0]["a.png"]
        if step == 1:
            assert client.get(url).status_code == 404
        assert client.put(url, content=content).status_code == 200
    asked = {"projectName": "p", "runId": 1, "logName": "img"}
    rows = client.get("/api/runs/files", params=asked).json()["files"]
    assert [(row["step"], client.get(row["url"]).content) for row in rows] == [
        (1, b"two"),
        (2, b"two"),
    ]
    assert client.put(url, content=iter([b"chunked"])).status_code == 411
    many = [{**file, "step": 1, "fileName": f"{i}"} for i in range(1100)]
    client.post("/files", json={"files": many}, headers=OF_RUN)
    assert len(client.get("/api/runs/files", params=asked).json()["files"]) == 1000
    huge = [{**file, "step": 1, "fileName": "x" * 1000} for _ in range(2000)]
    assert client.post("/files", json={"files": huge}, headers=OF_RUN).status_code == 413


def test_a_key_that_nobody_has(client: httpx.Client) -> None:
    """Is 401 at the API and at /files, and 422 at /ingest."""
    wrong = {"Authorization": "Bearer wrong", **OF_RUN}
    assert client.post("/api/slug", headers=wrong).status_code == 401
    assert client.post("/files", json={"files": []}, headers=wrong).status_code == 401
    assert client.post("/ingest/metrics", content="", headers=wrong).status_code == 422
    without = {"X-Project-Name": "p"}
    assert client.post("/ingest/metrics", content="", headers=without).status_code == 422
    assert client.post("/files", json={"files": []}, headers=without).status_code == 400


def test_a_known_external_id_is_the_same_run_opened_again(
    client: httpx.Client, account: PlutoAccount
) -> None:
    run = made(client, externalId="x", tags=["a"], config='{"a": {"b": 1, "c": [1]}, "d": 1}')
    client.post("/api/runs/status/update", json={"runId": run, "status": "COMPLETED"})
    answer = create(client, externalId="x", tags=["b"], config='{"a": {"c": [2], "e": 3}}').json()
    assert (answer["runId"], answer["resumed"]) == (run, True)
    found = account.runs[run]
    assert (found.status, found.tags) == ("RUNNING", ["a"])
    assert found.config == {"a": {"b": 1, "c": [2], "e": 3}, "d": 1}
    assert made(client, externalId="x", projectName="other") != run


def test_what_creating_refuses(client: httpx.Client, account: PlutoAccount) -> None:
    for status, said in (
        (500, {"runName": "n" * 256}),
        (500, {"projectName": "n" * 256}),
        (500, {"externalId": "n" * 256}),
        (500, {"tags": ["\0"]}),
        (500, {"config": '{"a": "\\u0000"}'}),
        (400, {"externalId": ""}),
        (400, {"tags": [str(i) for i in range(51)]}),
        (400, {"tags": ["group:a", "group:b"]}),
        (400, {"config": '{"a": NaN}'}),
        (400, {"createdAt": -1}),
        (400, {"createdAt": 8_640_000_000_000_001}),
        (400, {"forkRunId": 1}),
        (400, {"forkRunId": 77, "forkStep": 0}),
    ):
        assert create(client, **said).status_code == status, said
    account.at_limit = True
    answer = create(client)
    assert (answer.status_code, answer.json()["error"]) == (400, "Organization is at limit")
    assert account.runs == {}


def test_numbers_of_a_configuration_are_those_of_javascript(client: httpx.Client) -> None:
    run = made(client, config='{"i": 9007199254740993, "f": 7.0, "z": -0.0, "e": 1e300}')
    found = client.get(f"/api/runs/details/{run}").json()["config"]
    assert repr(found) == "{'i': 9007199254740992, 'f': 7, 'z': 0, 'e': 1e+300}"
    said = {"runId": run, "config": "[1]"}
    assert client.post("/api/runs/config/update", json=said).status_code == 400


def test_a_lower_status_over_a_higher_one_is_ignored_with_success(client: httpx.Client) -> None:
    run = made(client)
    for status, shown in (
        ("COMPLETED", "COMPLETED"),
        ("CANCELLED", "CANCELLED"),
        ("TERMINATED", "CANCELLED"),
        ("FAILED", "FAILED"),
        ("COMPLETED", "FAILED"),
    ):
        answer = client.post("/api/runs/status/update", json={"runId": run, "status": status})
        assert answer.json() == {"success": True}
        assert status_of(client, run) == shown
    client.post("/api/runs/resume", json={"runId": run})
    assert status_of(client, run) == "RUNNING"
    answer = client.post("/api/runs/status/update", json={"runId": run, "status": "DONE"})
    assert answer.status_code == 400


def test_the_monitor_fails_running_runs_whose_points_are_old(
    client: httpx.Client, server: PlutoStandIn, account: PlutoAccount
) -> None:
    old, completed, beating = made(client), made(client), made(client)
    client.post("/api/runs/status/update", json={"runId": completed, "status": "COMPLETED"})
    send(client, point(1))
    client.post("/api/runs/trigger", json={"runId": beating})
    server.reap(account.runs[old].created + 100_000)
    assert status_of(client, old) == "FAILED"
    assert status_of(client, completed) == "COMPLETED"
    assert status_of(client, beating) == "RUNNING"
    server.reap(account.runs[old].created + 200_000)
    assert status_of(client, beating) == "FAILED"


def test_a_fork_has_a_step_of_its_parent_and_its_configuration(
    client: httpx.Client, account: PlutoAccount
) -> None:
    parent = made(client, config='{"a": 1}')
    send(client, point(5))
    assert create(client, forkRunId=parent, forkStep=6).status_code == 400
    child = made(client, forkRunId=parent, forkStep=5)
    alone = made(client, forkRunId=parent, forkStep=5, inheritConfig=False)
    found = account.runs
    assert (found[child].fork, found[child].config) == ((parent, 5), {"a": 1})
    assert (found[alone].fork, found[alone].config) == ((parent, 5), None)


def test_a_log_name_has_its_first_type(client: httpx.Client, account: PlutoAccount) -> None:
    run = made(client)
    for kind in ("METRIC", "DATA"):
        said = {"runId": run, "logType": kind, "logName": ["a"]}
        assert client.post("/api/runs/logName/add", json=said).status_code == 200
    assert account.runs[run].log_names == {"a": "METRIC"}
    said = {"runId": run, "logType": "OTHER", "logName": ["a"]}
    assert client.post("/api/runs/logName/add", json=said).status_code == 400


def test_resume_wants_exactly_one_id(client: httpx.Client) -> None:
    made(client, externalId="x")
    for status, said in (
        (400, {}),
        (400, {"runId": 1, "externalId": "x"}),
        (400, {"externalId": "x"}),
        (404, {"externalId": "y", "projectName": "p"}),
        (404, {"runId": 9}),
        (200, {"externalId": "x", "projectName": "p"}),
        (200, {"displayId": "P-1"}),
    ):
        assert client.post("/api/runs/resume", json=said).status_code == status, said


def test_listing_pages_and_tags(client: httpx.Client) -> None:
    for number in range(5):
        made(client, tags=["a", f"t{number}"], createdAt=1000 + number)
    asked = {"projectName": "p", "limit": 2, "offset": 2, "sort": "+createdAt", "tags": "a"}
    answer = client.get("/api/runs/list", params=asked).json()
    assert ([run["id"] for run in answer["runs"]], answer["total"]) == ([3, 4], 5)
    found = client.get("/api/runs/list", params={"projectName": "p", "tags": "a,t3"}).json()
    assert [run["createdAt"] for run in found["runs"]] == ["1970-01-01T00:00:01.003Z"]
    over = client.get("/api/runs/list", params={"projectName": "p", "limit": 201})
    assert over.status_code == 400


def test_statistics_are_of_finite_values_as_of_the_last_refresh(
    client: httpx.Client, account: PlutoAccount
) -> None:
    run = made(client)
    send(client, point(1, 1.0), point(2, 3.0))
    asked = {"projectName": "p", "runId": run}
    assert client.get("/api/runs/statistics", params=asked).json()["metrics"] == []
    body = '{"time":1,"step":3,"data":{"m":NaN}}'
    client.post("/ingest/metrics", content=body, headers=OF_RUN)
    account.refresh()
    (found,) = client.get("/api/runs/statistics", params=asked).json()["metrics"]
    assert (found["count"], found["mean"]) == (2, 2.0)


def test_a_key_that_may_only_read(client: httpx.Client, account: PlutoAccount) -> None:
    account.read_only = True
    assert create(client).status_code == 403
    assert client.get("/api/runs/list", params={"projectName": "p"}).status_code == 200


def test_the_sdk_reads_what_is_there(client: httpx.Client, server: PlutoStandIn) -> None:
    """Its own read interface, unchanged."""
    from pluto.query import Client

    run = made(client, runName="name", tags=["t"], config='{"lr": 0.5}')
    send(client, point(1, 0.25, 1_700_000_000_123))
    asking = Client(api_token=KEY, host=server.url)
    (listed,) = asking.list_runs("p", tags=["t"])
    assert (listed["id"], listed["name"], listed["config"]) == (run, "name", {"lr": 0.5})
    assert asking.get_run("p", "P-1")["status"] == "RUNNING"
    (row,) = asking.get_metrics("p", run, ["m"]).to_dict("records")
    assert (row["metric"], row["step"], row["value"]) == ("m", 1, 0.25)
    assert row["time"] == "2023-11-14 22:13:20.123"
    assert asking.get_metric_names("p", [run]) == ["m"]
    assert asking.list_projects()[0]["runCount"] == 1
