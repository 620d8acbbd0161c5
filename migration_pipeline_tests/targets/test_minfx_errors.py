"""What Minfx refuses, or does not answer: one clear message each, and nothing sent twice."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import (
    ConfigError,
    MissingExtraError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.neptune_server.faults import Fault, Incoming
from migration_pipeline.targets import registry
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.neptune2.connection import Connection
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    RunData,
    build,
    curve,
    param,
)
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.loads import THREE, failed, states
from migration_pipeline_tests.targets.minfx_backend import (
    configuration,
    make,
    project,
    server,
)

SECRET = "c4n4ry-k3y"
NO_MAPPING = ProjectMapping()
OPERATIONS = r"attributes/operations$"


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    server().faults.clear()
    server().refusing.clear()
    server().minimum = None


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, THREE)


def token(address: str, key: str = SECRET) -> SecretStr:
    content = json.dumps({"api_address": address, "api_url": address, "api_key": key})
    return SecretStr(base64.b64encode(content.encode()).decode())


def target_at(address: str, **more: Any) -> MinfxTarget:
    settings = {"project": "team/runs", "retry_seconds": 0.3, **more}
    return MinfxTarget(MinfxConfig(api_token=token(address), **settings))


def carries(text: str) -> Any:
    return lambda body: text.encode() in body


def test_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_API_TOKEN", token("http://source").get_secret_value())
    monkeypatch.setenv("NEPTUNE_PROJECT", "the/source")
    monkeypatch.delenv("MINFX_API_TOKEN", raising=False)
    with pytest.raises(MissingSettingError, match="MINFX_API_TOKEN is not set"):
        registry.open_target("minfx")
    monkeypatch.setenv("MINFX_API_TOKEN", token("https://minfx.example").get_secret_value())
    with pytest.raises(MissingSettingError, match="MINFX_PROJECT is not set"):
        registry.open_target("minfx")
    monkeypatch.setenv("MINFX_PROJECT", "team/runs")
    assert registry.open_target("minfx").address == "https://minfx.example/team/runs"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="uv sync --extra minfx"):
        registry.open_target("minfx")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no token", "is not an API token: it is not base64"),
        (base64.b64encode(b"[1]").decode(), "is not an API token: it holds no server address"),
        (base64.b64encode(b'{"api_address": "minfx"}').decode(), "it holds no server address"),
        (base64.b64encode(b'{"api_address": "http://me:pw@h"}').decode(), "a user name"),
        ("first,second", "holds several tokens"),
    ],
)
def test_tokens_that_are_none(given: str, said: str) -> None:
    target = MinfxTarget(MinfxConfig(api_token=SecretStr(given), project="team/runs"))
    with pytest.raises(ConfigError, match=f"MINFX_API_TOKEN.*{said}") as raised:
        target.check()
    assert given not in str(raised.value)


@pytest.mark.parametrize("name", ["runs", "a/b/c", "/runs", "team/"])
def test_projects_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match=f"MINFX_PROJECT is '{name}', which names no project"):
        target_at(server().url, project=name).check()


@pytest.mark.parametrize("ask", ["check", "runs", "find"])
def test_a_token_that_nobody_has(ask: str) -> None:
    target = target_at(server().url)
    calls: dict[str, Any] = {
        "check": target.check,
        "runs": lambda: target.runs(PROJECT, NO_MAPPING),
        "find": lambda: target.find(RunKey(PROJECT, "a"), NO_MAPPING),
    }
    with pytest.raises(TargetRefusedError, match="does not accept the token") as raised:
        calls[ask]()
    assert "Set MINFX_API_TOKEN" in str(raised.value)
    secret = token(server().url).get_secret_value()
    config = MinfxConfig(api_token=SecretStr(secret), project="team/runs")
    said = f"{raised.value} {raised.value!r} {config} {config!r} {target.address}"
    assert SECRET not in said
    assert secret not in said


def test_a_token_that_runs_out_is_exchanged_again(tmp_path: Path, archive: Archive) -> None:
    target = make(tmp_path)
    target.check()
    auth = server().auth
    assert auth
    auth.expire_tokens()
    assert failed(load_all(target, archive)) == {}


def test_a_token_that_is_withdrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = MinfxTarget(configuration(tmp_path))
    target.check()
    auth = server().auth
    assert auth
    auth.expire_tokens()
    monkeypatch.setitem(auth._keys, auth.user, "another")
    with pytest.raises(TargetRefusedError, match="does not accept the token"):
        target.find(RunKey(PROJECT, "a"), NO_MAPPING)


def test_a_project_that_is_not_there(archive: Archive) -> None:
    config = MinfxConfig(
        api_token=SecretStr(server().token), project="nowhere/runs", retry_seconds=0.3
    )
    target = MinfxTarget(config)
    with pytest.raises(TargetRefusedError, match="no project 'nowhere/runs'") as raised:
        plan_load(target, archive, PROJECT)
    assert "correct MINFX_PROJECT" in str(raised.value)
    with pytest.raises(TargetRefusedError, match="no project 'nowhere/runs'"):
        target.check()


def test_a_project_of_the_other_protocol(tmp_path: Path) -> None:
    target = make(tmp_path)
    project(tmp_path).version = 3
    with pytest.raises(TargetRefusedError, match=r"not of the protocol of Neptune 2\.x"):
        target.runs(PROJECT, NO_MAPPING)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("WORKSPACE_IN_READ_ONLY_MODE", "the workspace is in read-only mode"),
        ("PROJECT_LIMITS_EXCEEDED", "a limit of the project is reached"),
        ("ATTRIBUTES_PER_EXPERIMENT_LIMIT_EXCEEDED", "more attributes than allowed"),
        ("WRITE_ACCESS_DENIED_TO_ARCHIVED_PROJECT", "the project is archived"),
        ("FORBIDDEN", "does not permit createExperiment"),
    ],
)
def test_limits(archive: Archive, tmp_path: Path, kind: str, said: str) -> None:
    server().refusing[account_key(tmp_path)] = kind
    messages = failed(load_all(make(tmp_path), archive))
    assert list(messages) == ["a", "b", "c"]
    for message in messages.values():
        assert said in message
        assert "MINFX_PROJECT" in message
    assert set(states(make(tmp_path)).values()) == {LoadState.ABSENT}


def test_what_is_rejected_fails_its_run_and_no_other(archive: Archive, tmp_path: Path) -> None:
    content = json.dumps({"title": "value is not accepted", "errorType": "BAD_VALUE"}).encode()
    server().faults.add(Fault(OPERATIONS, body=carries("m/b"), status=400, content=content))
    messages = failed(load_all(make(tmp_path), archive))
    assert list(messages) == ["b"]
    assert "refuses executeOperations (400, BAD_VALUE: value is not accepted)" in messages["b"]
    expected = dict.fromkeys("ac", LoadState.COMPLETE) | {"b": LoadState.PARTIAL}
    assert states(make(tmp_path)) == expected
    server().faults.clear()
    assert failed(load_all(make(tmp_path), archive)) == {}
    assert set(states(make(tmp_path)).values()) == {LoadState.COMPLETE}


def test_an_error_in_an_answer_of_200_is_one(tmp_path: Path) -> None:
    """The run has an attribute of another type by somebody else's hand."""
    archive = build(tmp_path, DataSet("one", (RunData("a", (param("p", "int", 1),)),)))
    target = make(tmp_path)
    execute = target._api.execute_raw

    def disturbed(run: str, content: bytes, *, once: bool = False) -> None:
        if b'"assignInt"' in content:
            execute(run, b'[{"path": "p", "assignString": {"value": "x"}}]')
        execute(run, content, once=once)

    target._api.execute_raw = disturbed  # type: ignore[method-assign]
    messages = failed(load_all(target, archive))
    assert "refuses: Attribute p of RUN-1 is string, not int" in messages["a"]
    assert make(tmp_path).find(RunKey(PROJECT, "a"), NO_MAPPING).state is LoadState.PARTIAL


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", [{"reset": True}, {"truncate": 0.0}, {"status": 502}])
def test_points_of_a_request_that_was_cut_off_are_there_once(
    tmp_path: Path, times: int, how: dict[str, Any]
) -> None:
    """Whether the server has taken them is not known then."""
    archive = build(tmp_path, DataSet("one", (RunData("a", tuple(curve("m/a", 30))),)))
    server().faults.add(Fault(OPERATIONS, body=carries("logFloats"), times=times, **how))
    result = load_all(make(tmp_path), archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    [run] = project(tmp_path).runs.values()
    assert run.attributes["m/a"].value.steps.tolist() == [float(i) for i in range(30)]


def test_an_answer_that_asks_for_patience_is_waited_for(archive: Archive, tmp_path: Path) -> None:
    server().faults.unavailable(429, retry_after=0.2, path=OPERATIONS, times=2)
    before = len(server().faults.violations)
    target = make(tmp_path)
    target._to._retry_seconds = 10.0
    assert failed(load_all(target, archive)) == {}
    assert server().faults.violations[before:] == []


def test_a_server_that_does_not_recover(archive: Archive, tmp_path: Path) -> None:
    target = make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    server().faults.unavailable(503, path=OPERATIONS)
    result = load_runs(target, archive, plan.mapping, plan.due, parallel=1)
    assert {type(error) for _, error in result.failures} == {TargetUnavailableError}
    assert "target minfx at http://127.0.0.1" in failed(result)["a"]
    assert "it answered 503" in failed(result)["a"]


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(TargetUnavailableError, match="target minfx at http://127"):
        target_at(address).check()


@pytest.mark.parametrize("when", ["handshake", "reading"])
def test_a_connection_that_hangs_is_bounded(tmp_path: Path, when: str) -> None:
    target = make(tmp_path)
    if when == "handshake":
        target._to = Connection(configuration(tmp_path).place, 0.1, timeout=(0.2, 0.2))
        target._api.to = target._to
    else:
        target._to._timeout = (0.2, 0.2)
        target._to._mount(target._to._opened.session)
    server().faults.add(Fault(latency=1.0))
    try:
        with pytest.raises(TargetUnavailableError, match="target minfx at"):
            target.find(RunKey(PROJECT, "a"), NO_MAPPING)
    finally:
        server().faults.clear()
        target._to._timeout = (10.0, 60.0)
        target._to._mount(target._to._opened.session)


@pytest.mark.parametrize("path", ["swagger.json", "projects/get"])
def test_something_that_answers_html(tmp_path: Path, path: str) -> None:
    page = b"<!doctype html><title>Sign in</title>"
    server().faults.add(Fault(path, status=200, content=page, content_type="text/html"))
    target = MinfxTarget(configuration(tmp_path))
    with pytest.raises(TargetRefusedError, match="Sign in") as raised:
        target.check()
    assert "something else than the protocol of Neptune 2.x" in str(raised.value)
    assert "MINFX_API_TOKEN" in str(raised.value)


@pytest.mark.parametrize("path", [OPERATIONS, r"storage/file/upload$"])
def test_a_page_in_the_middle_of_a_load(archive: Archive, tmp_path: Path, path: str) -> None:
    page = b"<!doctype html><title>Sign in</title>"
    fault = Fault(path, status=200, content=page, content_type="text/html", times=1)
    server().faults.add(fault)
    (message,) = failed(load_all(make(tmp_path), archive)).values()
    assert "something else than the protocol of Neptune 2.x" in message
    assert "Sign in" in message


def test_of_two_loads_at_the_same_time_the_one_that_was_emptied_is_not_complete(
    tmp_path: Path,
) -> None:
    """And the other one was cut off, so that nobody has loaded it."""
    archive = build(tmp_path, DataSet("one", (RunData("a", tuple(curve("m/a", 30))),)))
    target, other = make(tmp_path), make(tmp_path)
    exchange = target._to.exchange
    refused = json.dumps({"title": "no", "errorType": "BAD_VALUE"}).encode()

    def disturbed(session: Any, prepared: Any, stream: bool) -> Any:
        answer = exchange(session, prepared, stream)
        if b"logFloats" in (prepared.body or b""):
            target._to.exchange = exchange  # type: ignore[method-assign]
            server().faults.add(
                Fault(OPERATIONS, body=carries("logFloats"), status=400, content=refused, times=1)
            )
            assert "BAD_VALUE" in failed(load_all(other, archive))["a"]
        return answer

    target._to.exchange = disturbed  # type: ignore[method-assign]
    assert "was begun anew while it was loaded" in failed(load_all(target, archive))["a"]
    assert make(tmp_path).find(RunKey(PROJECT, "a"), NO_MAPPING).state is LoadState.PARTIAL
    assert failed(load_all(make(tmp_path), archive)) == {}


@pytest.mark.parametrize(("minimum", "refused"), [("9.9.9", True), ("0.1.0", False), ("?", False)])
def test_a_server_for_newer_clients(tmp_path: Path, minimum: str, refused: bool) -> None:
    server().minimum = minimum
    target = MinfxTarget(configuration(tmp_path))
    if not refused:
        target.check()
        return
    with pytest.raises(ConfigError, match=r"takes clients from version 9\.9\.9 on, and minfx"):
        target.check()


def test_a_run_in_the_trash_is_replaced(archive: Archive, tmp_path: Path) -> None:
    assert failed(load_all(make(tmp_path), archive)) == {}
    target = make(tmp_path)
    [a] = [run for run in project(tmp_path).runs.values() if "m/a" in run.attributes]
    a.set("sys/trashed", "bool", True)
    assert states(make(tmp_path))["a"] is LoadState.ABSENT
    assert failed(load_all(target, archive)) == {}
    assert set(states(make(tmp_path)).values()) == {LoadState.COMPLETE}
    assert a.sys_id not in project(tmp_path).runs


def test_downloads_do_not_take_the_token_elsewhere(tmp_path: Path) -> None:
    to = make(tmp_path)._to
    for address, signed in ((to.place.address, True), ("http://elsewhere.org", False)):
        request = requests.Request("GET", f"{address}/file")
        assert ("Authorization" in to._prepared(to._opened, request).headers) == signed


def test_a_fault_sees_what_it_should() -> None:
    """The body is there for the rules of these tests."""
    fault = Fault(OPERATIONS, body=carries("logFloats"))
    incoming = Incoming("POST", "/api/leaderboard/v1/attributes/operations", {}, b"logFloats")
    assert fault.matches(incoming)
