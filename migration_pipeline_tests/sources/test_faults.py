"""A server that refuses, fails, hurries or lies: what can pass passes, the rest fails by name."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    MigrationError,
    SourceRefusedError,
    SourceUnavailableError,
    Transient,
    UnknownProjectError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.sources.neptune3 import tasks
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources import neptune_backend
from migration_pipeline_tests.sources.neptune_backend import content_of, token_with
from migration_pipeline_tests.sources.protocols import NEPTUNE2, NEPTUNE3, PROTOCOLS, Protocol
from migration_pipeline_tests.sources.serving import (
    PROJECT,
    Exported,
    exporting,
    source_of,
)

RUNS = Selection(kinds=("run",))


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return PROTOCOLS[request.param]


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """One of its own for each test, which breaks it."""
    with running_server() as running:
        yield running


@pytest.fixture
def exported(server: RunningServer, tmp_path: Path, protocol: Protocol) -> Exported:
    return exporting(server, tmp_path, protocol.name)


Filled = dict[str, int]
"""Run id → number of the run."""


def fill(server: RunningServer, protocol: Protocol, count: int) -> Filled:
    return neptune_backend.fill(server.store, protocol, count)


def id_of(runs: Filled, number: int) -> str:
    return next(run for run, i in runs.items() if i == number)


def assert_whole(exported: Exported, runs: Filled, but: int | None = None) -> None:
    runs = {run: i for run, i in runs.items() if i != but}
    assert exported.runs == set(runs)
    for run, i in runs.items():
        content = content_of(i)
        assert exported.values(run) == {name: content[name] for name in ("n", "model")}
        for path in ("loss", "log"):
            assert exported.series(run, path) == content[path]


@pytest.mark.parametrize("workers", [1, 6])
def test_a_third_of_all_answers_asks_to_wait(
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: Protocol,
    workers: int,
) -> None:
    """Everything arrives, and no request is sent while the server has asked for silence."""
    monkeypatch.setattr(protocol.groups, 2)
    monkeypatch.setattr(tasks, "FILES_PER_REQUEST", 1)
    runs = fill(server, protocol, 16)
    server.faults.in_flight = 0.1  # what was on its way already, on a machine with much else to do
    server.faults.unavailable(429, retry_after=0.25, probability=0.15)
    server.faults.unavailable(503, retry_after=0.2, probability=0.18)
    exported = exporting(server, tmp_path, protocol.name, workers=workers, retry_seconds=60)
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert server.faults.injected["429"] >= 5
    assert server.faults.injected["503"] >= 5
    assert server.faults.violations == []


@pytest.mark.parametrize("header", ["date", "0", "soon"])
def test_every_form_of_retry_after_is_understood(
    server: RunningServer,
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
    protocol: Protocol,
    header: str,
) -> None:
    """RFC 9110 allows a date, which neither vendor's client can read."""
    from email.utils import formatdate

    from migration_pipeline.neptune_server import gate

    runs = fill(server, protocol, 1)
    answer = gate._answer
    sent: list[bytes] = []

    async def answering(fault: Fault, send: object) -> None:
        value = formatdate(time.time() + 2, usegmt=True) if header == "date" else header

        async def with_header(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                sent.append(value.encode())
                message["headers"] = [*message["headers"], (b"retry-after", value.encode())]  # type: ignore[misc]
            await send(message)  # type: ignore[operator]

        await answer(fault, with_header)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "_answer", answering)
    server.faults.add(protocol.fault_of_values(status=503, times=1))
    started = time.monotonic()
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert len(sent) == 1
    if header == "date":
        assert time.monotonic() - started >= 0.9


@pytest.mark.parametrize("where", ["values", "floats", "strings"])
def test_a_page_in_place_of_an_answer_fails_the_runs_by_name(
    server: RunningServer, exported: Exported, protocol: Protocol, where: str
) -> None:
    """A proxy's login page, say: 200 and HTML."""
    runs = fill(server, protocol, 2)
    page = {"status": 200, "content": b"<html>Log in</html>", "content_type": "text/html"}
    fault = (
        protocol.fault_of_values(**page)
        if where == "values"
        else Fault(getattr(protocol, where), **page)
    )
    server.faults.add(fault)
    exported.export(RUNS)
    assert exported.runs == set()
    assert set(exported.failed) == set(runs)
    for error in exported.failed.values():
        assert isinstance(error, IncompleteAnswerError)
    server.faults.clear()
    exported.export_all(RUNS)
    assert_whole(exported, runs)


@pytest.mark.parametrize(
    ("protocol", "page"), [(NEPTUNE3, "first"), (NEPTUNE3, "later"), (NEPTUNE2, "first")]
)
def test_refused_values_fail_one_run_only(
    server: RunningServer, exported: Exported, protocol: Protocol, page: str
) -> None:
    runs = fill(server, protocol, 5)
    bad = server.store.projects[PROJECT].find("r2")
    assert bad is not None
    sys_id = bad.sys_id.encode()
    sign = b"" if page == "first" else b"nextPageToken"
    server.faults.limits.values = 30
    server.faults.add(protocol.fault_of_values(lambda b: sys_id in b and sign in b, status=400))
    if page == "later":  # alone, the run has one page only
        server.faults.add(
            protocol.fault_of_values(lambda b: b.count(b"VISIO") == 1 and sys_id in b, status=400)
        )
    exported.export(RUNS)
    assert_whole(exported, runs, but=2)
    assert set(exported.failed) == {id_of(runs, 2)}
    assert isinstance(exported.failed[id_of(runs, 2)], SourceRefusedError)
    manifests = [exported.manifest(run) for run in exported.runs]
    assert [m.digest for m in manifests] == [exported.digests()[m.run] for m in manifests]


def test_a_token_that_the_server_forgets_is_exchanged_anew(
    server: RunningServer, exported: Exported, protocol: Protocol
) -> None:
    runs = fill(server, protocol, 6)
    assert len(exported.source.list_runs(PROJECT, RUNS)) == 6
    assert server.auth.exchanges == 1
    server.auth.expire_tokens()
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert server.auth.exchanges == 2


def test_a_token_that_is_always_refused_ends_everything_soon(
    server: RunningServer, exported: Exported, protocol: Protocol
) -> None:
    fill(server, protocol, 3)
    server.faults.add(protocol.fault_of_values(status=401))
    with pytest.raises(CredentialsRefusedError, match="401"):
        exported.export(RUNS)
    assert exported.runs == set()


def test_an_unknown_token_is_refused_at_once(server: RunningServer, protocol: Protocol) -> None:
    source = source_of(server, protocol.name, api_token=token_with(server.url, "unknown"))
    started = time.monotonic()
    for ask in (source.list_projects, lambda: source.list_runs(PROJECT, Selection())):
        with pytest.raises(CredentialsRefusedError, match="does not accept the token") as caught:
            ask()
        assert server.url in str(caught.value)
        assert "NEPTUNE_API_TOKEN" in caught.value.remedy
    assert time.monotonic() - started < 5


def test_a_project_that_goes_away_ends_the_export(
    server: RunningServer, tmp_path: Path, exported: Exported, protocol: Protocol
) -> None:
    fill(server, protocol, 2)
    denied = json.dumps({"errorType": "ACCESS_DENIED"}).encode()
    server.faults.add(protocol.fault_of_values(status=403, content=denied))
    with pytest.raises(UnknownProjectError, match=PROJECT):
        exported.export(RUNS)
    assert exported.runs == set()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_a_server_that_is_not_there_is_named_within_the_time_given(
    server: RunningServer, protocol: Protocol
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    source = source_of(server, protocol.name, api_token=token_with(url, "k"), connect_seconds=1.5)
    started = time.monotonic()
    with pytest.raises(SourceUnavailableError, match="cannot be reached") as caught:
        source.list_projects()
    assert time.monotonic() - started < 4
    assert url in str(caught.value)
    assert isinstance(caught.value, Transient)


CANARY = "canary-7c1e55"


def bearers(exported: Exported, protocol: Protocol) -> list[str]:
    """The tokens that the source holds now."""
    if protocol is NEPTUNE3:
        token = exported.source.client._client.get_httpx_client().auth._token
        return [] if token is None else [token.access_token, token.refresh_token]
    connection = exported.source.client._connection
    token = {} if connection is None else connection._auth.session.token
    return [token[name] for name in ("access_token", "refresh_token") if name in token]


@pytest.mark.parametrize("case", ["fine", "refused", "400", "401", "503", "html", "downloads"])
def test_the_token_is_in_no_message_and_no_log(
    server: RunningServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    protocol: Protocol,
    case: str,
) -> None:
    server.auth._keys[server.auth.user] = CANARY
    fill(server, protocol, 2)
    token = token_with(server.url, "not-" + CANARY if case == "refused" else CANARY)
    faults = {
        "400": protocol.fault_of_values(status=400),
        "401": protocol.fault_of_values(status=401),
        "503": protocol.fault_of_values(status=503),
        "html": protocol.fault_of_values(status=200, content=b"<html>"),
        "downloads": Fault("/storage/|/download$", status=500, times=2),
    }
    if case in faults:
        server.faults.add(faults[case])
    exported = exporting(server, tmp_path, protocol.name, api_token=token, retry_seconds=0.5)
    caplog.set_level(logging.DEBUG)
    said = []
    try:
        exported.export(RUNS)
    except MigrationError as error:
        said.append(error)
    said += list(exported.failed.values())  # type: ignore[arg-type]
    assert bool(said) == (case not in ("fine", "downloads"))
    secrets = [CANARY, token, token[20:60], *bearers(exported, protocol)]
    assert len(secrets) == (3 if case == "refused" else 5)
    messages = [repr(vars(e)) + str(e) + repr(e.__cause__) for e in said]
    logged = [r.getMessage() + str(r.exc_text) for r in caplog.records]
    assert logged, "nothing was logged, so nothing was tested"
    for secret in secrets:
        assert not [m for m in messages + logged if secret in m]
