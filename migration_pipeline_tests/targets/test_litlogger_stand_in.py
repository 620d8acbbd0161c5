"""The stand-in for Lightning AI refuses what its docstring says: each rule is tripped once."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.litlogger_backend import account, service

Ask = Callable[..., tuple[int, Any]]
GOOD = {"value": 1.5, "step": "3", "createdAt": "2026-01-01T00:00:00.000Z"}


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks with the credentials of an account that has the experiment `one` in a teamspace."""
    key, pool = account_key(tmp_path), urllib3.PoolManager()
    user = account(tmp_path).user_id
    basic = base64.b64encode(f"{user}:{key}".encode()).decode()

    def asking(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = {"Authorization": f"Basic {basic}", **headers}
        text = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = pool.request(
            method, f"{service().url}{path}", body=text, headers=sent, retries=False
        )
        content = answer.data.decode()
        return answer.status, json.loads(content) if content.startswith("{") else content

    _, space = asking("POST", "/v1/projects", {"name": "team", "displayName": "team"})
    path = f"/v1/projects/{space['id']}"
    _, made = asking(
        "POST",
        f"{path}/metrics-stream/create",
        {"name": "one", "storeStep": True, "storeCreatedAt": True},
    )

    def within(method: str, path_: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        named = path_.replace("PROJECT", path).replace("STREAM", made["id"])
        return asking(method, named, body, **headers)

    return within


def append(ask: Ask, *values: Any, name: Any = "m", to: str = "STREAM") -> tuple[int, Any]:
    body = {"metrics": [{"name": name, "values": list(values)}]}
    return ask("PUT", f"PROJECT/logger-metrics/{to}", body)


def points(ask: Ask, query: str = "", of: str = "STREAM") -> list[Any]:
    _, said = ask("GET", f"PROJECT/logger-metrics?ids={of}{query}")
    found = said["namedMetrics"].get("m", {"idsMetrics": {}})["idsMetrics"]
    return [value for one in found.values() for value in one["metricsValues"]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**GOOD, "step": "0.5"}, "int64 field step: '0.5'"),
        ({**GOOD, "step": 0.5}, "int64 field step: 0.5"),
        ({**GOOD, "step": str(2**63)}, "int64 field step"),
        ({**GOOD, "createdAt": "2026-01-01 00:00:00Z"}, "Timestamp"),
        ({**GOOD, "createdAt": "2026-01-01T00:00:00.000"}, "Timestamp"),
        ({**GOOD, "createdAt": "2026-01-01"}, "Timestamp"),
        ({**GOOD, "createdAt": 1_700_000_000}, "Timestamp"),
        ({**GOOD, "value": "1.5"}, "double field value: '1.5'"),
        ({**GOOD, "value": True}, "double field value: True"),
        ({**GOOD, "value": None}, "double field value: None"),
    ],
)
def test_values_that_are_refused(ask: Ask, value: Any, message: str) -> None:
    status, said = append(ask, GOOD, value)
    assert (status, said["code"]) == (400, 3)
    assert message in said["message"]
    assert points(ask) == []


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_json_has_not(ask: Ask, number: bytes) -> None:
    body = b'{"metrics":[{"name":"m","values":[{"value":%b}]}]}' % number
    status, said = ask("PUT", "PROJECT/logger-metrics/STREAM", body)
    assert (status, said["code"]) == (400, 3)
    assert points(ask) == []


@pytest.mark.parametrize("name", ["", None, "n" * 256, "a\nb", 3])
def test_names_that_are_refused(ask: Ask, name: Any) -> None:
    assert append(ask, GOOD, name=name)[0] == 400
    tags = {"tags": [{"name": name, "value": "v"}], "phase": "RUNNING"}
    assert ask("PUT", "PROJECT/metrics-stream/STREAM", tags)[0] == 400


def test_names_twice_in_a_request(ask: Ask) -> None:
    twice = {"metrics": [{"name": "m", "values": [GOOD]}] * 2}
    status, said = ask("PUT", "PROJECT/logger-metrics/STREAM", twice)
    assert (status, said["message"]) == (400, "duplicate metric 'm'")
    tags = {"tags": [{"name": "t", "value": "v"}] * 2}
    status, said = ask("PUT", "PROJECT/metrics-stream/STREAM", tags)
    assert (status, said["message"]) == (400, "duplicate tag 't'")


@pytest.mark.parametrize("value", [3, "v" * 1001, "a\0b"])
def test_values_of_tags_that_are_refused(ask: Ask, value: Any) -> None:
    tags = {"tags": [{"name": "t", "value": value}]}
    assert ask("PUT", "PROJECT/metrics-stream/STREAM", tags)[0] == 400


def test_points_are_appended_and_never_merged(ask: Ask) -> None:
    for _ in range(2):
        assert append(ask, GOOD)[0] == 200
    assert points(ask) == [{"step": "3", "createdAt": "2026-01-01T00:00:00.000Z", "value": 1.5}] * 2


def test_steps_and_times_are_kept_only_if_asked_for(ask: Ask) -> None:
    _, other = ask("POST", "PROJECT/metrics-stream/create", {"name": "other"})
    append(ask, GOOD, to=other["id"])
    assert points(ask, of=other["id"]) == [{"step": "0", "createdAt": None, "value": 1.5}]
    # What is not kept is looked at all the same.
    assert append(ask, {**GOOD, "step": "0.5"}, to=other["id"])[0] == 400


def test_ranges_and_samples(ask: Ask) -> None:
    append(ask, *({**GOOD, "step": str(step)} for step in range(10)))
    assert [one["step"] for one in points(ask, "&minStep=3&maxStep=5")] == ["3", "4", "5"]
    assert len(points(ask)) == 10
    assert len(points(ask, "&samples=4")) == 4


def test_the_summary(ask: Ask) -> None:
    append(ask, *({**GOOD, "step": str(step), "value": step / 2} for step in (4, -1, 7)))
    _, said = ask("GET", "PROJECT/logger-metrics-summary?ids=STREAM")
    ((summary,),) = [list(said["summariesPerName"]["m"]["summariesPerId"].values())]
    wanted = ("numValues", "minStep", "maxStep", "lastStep", "minValue", "maxValue", "lastValue")
    assert [summary[name] for name in wanted] == ["3", "-1", "7", "7", -0.5, 3.5, 3.5]


def test_an_update_replaces_all_tags_or_none(ask: Ask) -> None:
    def tags(**body: Any) -> list[str]:
        status, said = ask("PUT", "PROJECT/metrics-stream/STREAM", body)
        assert status == 200
        return [tag["name"] for tag in said["tags"]]

    assert tags(tags=[{"name": "a", "value": "1"}, {"name": "b", "value": ""}]) == ["a", "b"]
    assert tags(phase="COMPLETED") == ["a", "b"]
    assert tags(tags=[{"name": "c", "value": "1"}]) == ["c"]
    status, _ = ask("PUT", "PROJECT/metrics-stream/STREAM", {"phase": "PENDING"})
    assert status == 400


def test_experiments(ask: Ask) -> None:
    create = "PROJECT/metrics-stream/create"
    assert ask("POST", create, {"name": "one"})[0] == 409
    assert ask("POST", create, {"name": "n" * 65})[0] == 400
    assert ask("POST", create, {})[0] == 400
    assert ask("POST", "PROJECT/metrics-stream/delete", {"ids": ["STREAM"]})[0] == 404
    assert ask("GET", "/v1/metrics-streams?projectId=none&name=one")[0] == 404


def test_what_was_deleted_is_not_found(ask: Ask) -> None:
    _, made = ask("POST", "PROJECT/metrics-stream/create", {"name": "gone"})
    assert ask("POST", "PROJECT/metrics-stream/delete", {"ids": [made["id"]]})[0] == 200
    status, said = append(ask, GOOD, to=made["id"])
    assert status == 404
    assert "not found" in said["message"]
    assert ask("POST", "PROJECT/metrics-stream/create", {"name": "gone"})[0] == 200


def test_teamspaces(ask: Ask) -> None:
    assert ask("POST", "/v1/projects", {"name": "team"})[0] == 409
    assert ask("POST", "/v1/projects", {"name": "a/b"})[0] == 400
    assert ask("POST", "/v1/projects", {"name": "n" * 65})[0] == 400
    assert ask("POST", "/v1/projects", {"name": "x", "organizationId": "none"})[0] == 404


def test_who_may_ask(ask: Ask, tmp_path: Path) -> None:
    key = account_key(tmp_path)
    assert ask("GET", "/v1/auth/user", Authorization=f"Bearer {key}")[0] == 200
    somebody = base64.b64encode(f"somebody:{key}".encode()).decode()
    for wrong in ("", "Bearer nobody", f"Basic {somebody}", f"Digest {key}", "Basic !"):
        status, said = ask("GET", "/v1/auth/user", Authorization=wrong)
        assert (status, said["code"]) == (401, 16)
    account(tmp_path).read_only = True
    assert ask("GET", "/v1/auth/user")[0] == 200
    assert append(ask, GOOD)[0] == 403


def test_the_pace(ask: Ask, tmp_path: Path) -> None:
    account(tmp_path).pace = (2, 3600)
    assert append(ask, GOOD, GOOD, GOOD)[0] == 429
    assert append(ask, GOOD)[0] == 200
    assert append(ask, GOOD)[0] == 429
    assert len(points(ask)) == 1


def test_a_body_that_is_too_large(ask: Ask) -> None:
    assert (
        ask("PUT", "PROJECT/logger-metrics/STREAM", b'{"metrics":[]}' + b" " * (1 << 22))[0] == 413
    )


def sign(ask: Ask, path: str, **more: Any) -> tuple[int, Any]:
    return ask("POST", "PROJECT/artifacts/blobs", {"blobs": [{"path": path, **more}]})


def test_files(ask: Ask) -> None:
    _, said = sign(ask, "experiments/one/a")
    address = said["results"][0]["urls"][0]["url"].removeprefix(service().url)
    assert ask("PUT", address, b"x")[0] == 400  # with credentials
    assert urllib3.request("PUT", service().url + address, body=iter([b"x"])).status == 501
    register = "PROJECT/metrics-streams/STREAM/logger-artifacts"
    assert ask("POST", register, {"path": "a"})[0] == 404
    assert urllib3.request("PUT", service().url + address, body=b"x").status == 200
    assert ask("POST", register, {"path": "a"})[0] == 200
    assert ask("GET", "PROJECT/artifacts/blobs/experiments/one/a") == (200, "x")
    assert urllib3.request("PUT", f"{service().url}{address}0", body=b"x").status == 403
    for path in ("", "/a", "a/../b"):
        assert sign(ask, path)[0] == 400
    assert sign(ask, "a", parts=10_001)[0] == 400
    assert ask("GET", "PROJECT/artifacts/blobs/none")[0] == 404
    assert ask("DELETE", "PROJECT/artifacts/trees/none")[0] == 404
    # Files lie under the name: a new experiment with that name has them.
    assert ask("POST", "PROJECT/metrics-stream/delete", {"ids": [_id_of(ask)]})[0] == 200
    assert ask("POST", "PROJECT/metrics-stream/create", {"name": "one"})[0] == 200
    assert ask("GET", "PROJECT/artifacts/blobs/experiments/one/a") == (200, "x")
    assert ask("DELETE", "PROJECT/artifacts/trees/experiments/one")[0] == 200
    assert ask("GET", "PROJECT/artifacts/blobs/experiments/one/a")[0] == 404


def _id_of(ask: Ask) -> str:
    _, said = ask("GET", "PROJECT/metrics-stream/list")
    return str(said["metricsStreams"][0]["id"])


def test_a_part_that_is_missing(ask: Ask) -> None:
    _, said = sign(ask, "experiments/one/a", parts=2, part_size=1)
    upload = said["results"][0]["upload_id"]
    done = {"path": "experiments/one/a", "upload_id": upload, "parts": [{"part_number": 1}]}
    assert ask("POST", "PROJECT/artifacts/blobs/complete", {"blobs": [done]})[0] == 400


def test_media(ask: Ask) -> None:
    path = "PROJECT/metrics-streams/STREAM/media"
    image = {"name": "i", "mediaType": "MEDIA_TYPE_IMAGE", "contentHash": "h", "step": "2"}
    assert ask("POST", path, {**image, "mediaType": "MEDIA_TYPE_AUDIO"})[0] == 400
    assert ask("POST", path, {**image, "step": "2.5"})[0] == 400
    _, made = ask("POST", path, image)
    assert made["alreadyExists"] is False
    ask("PUT", f"{path}/{made['media']['id']}", {"uploadComplete": True})
    assert ask("POST", path, image)[1]["alreadyExists"] is True
