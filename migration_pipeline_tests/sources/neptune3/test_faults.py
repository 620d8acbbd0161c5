"""A server that refuses, fails, hurries or lies: what can pass passes, the rest fails by name."""

from __future__ import annotations

import base64
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
    Terminal,
    Transient,
    UnknownProjectError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline.sources.neptune3 import source as neptune3_source
from migration_pipeline.sources.neptune3 import tasks
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.source import Neptune3Source
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    exporting,
    points_of,
    source_of,
)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """One of its own for each test, which breaks it."""
    with running_server() as running:
        yield running


def fill(store: Store, count: int) -> set[str]:
    """Runs of all kinds of content, alike except for their number."""
    project = store.project(PROJECT)
    for i in range(count):
        run = project.create_run(f"r{i}")
        run.set("n", "int", i)
        add_points(run, "loss", [0.0, 0.5, 1.0], [i, i + 0.5, i + 1.0])
        run.extend_series("log", "string_series", [(0.0, NOON, f"{i}")])
        run.set_file("model", b"%d" % i, f"r{i}/model.bin", "")
    return {f"r{i}" for i in range(count)}


def assert_whole(exported: Exported, runs: set[str]) -> None:
    assert exported.runs == runs
    for run in runs:
        i = int(run[1:])
        assert exported.values(run) == {"n": i, "model": b"%d" % i}
        assert exported.series(run, "loss") == points_of([0.0, 0.5, 1.0], [i, i + 0.5, i + 1.0])
        assert exported.series(run, "log") == [(0, NOON, f"{i}")]


@pytest.mark.parametrize("workers", [1, 6])
def test_a_third_of_all_answers_asks_to_wait(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Everything arrives, and no request is sent while the server has asked for silence."""
    monkeypatch.setattr(neptune3_source, "GROUP_RUNS", 2)
    monkeypatch.setattr(tasks, "FILES_PER_REQUEST", 1)
    runs = fill(server.store, 16)
    server.faults.in_flight = 0.1  # what was on its way already, on a machine with much else to do
    server.faults.unavailable(429, retry_after=0.25, probability=0.15)
    server.faults.unavailable(503, retry_after=0.2, probability=0.18)
    exported = exporting(server, tmp_path, workers=workers, retry_seconds=60)
    exported.export_all()
    assert_whole(exported, runs)
    assert server.faults.injected["429"] >= 5
    assert server.faults.injected["503"] >= 5
    assert server.faults.violations == []


@pytest.mark.parametrize("header", ["date", "0", "soon"])
def test_every_form_of_retry_after_is_understood(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    """RFC 9110 allows a date, which neptune-query itself cannot read."""
    from email.utils import formatdate

    from migration_pipeline.neptune_server import gate

    runs = fill(server.store, 1)
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
    server.faults.add(Fault("attributes/query", status=503, times=1))
    exported = exporting(server, tmp_path)
    started = time.monotonic()
    exported.export_all()
    assert_whole(exported, runs)
    assert len(sent) == 1
    if header == "date":
        assert time.monotonic() - started >= 0.9


PASSING = {
    "reset": Fault(r"/v1/", reset=True, times=3),
    "slow": Fault("", latency=0.3, times=3),
    "truncated search": Fault("entries/search", truncate=0.5, times=2),
    "truncated values": Fault("attributes/query", truncate=0.9, times=2),
    "truncated points": Fault("series/float", truncate=0.6, times=2),
    "no point at all": Fault("series/float", truncate=0.0, times=2),
    "truncated strings": Fault("attributes/series$", truncate=0.6, times=2),
    "500": Fault("series", status=500, times=2),
    "502 in HTML": Fault(
        "", status=502, content=b"<html>Bad gateway</html>", content_type="text/html", times=3
    ),
    "token exchange fails": Fault("oauth-token", status=503, times=1),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_costs_nothing(server: RunningServer, tmp_path: Path, name: str) -> None:
    runs = fill(server.store, 3)
    server.faults.add(PASSING[name])
    exported = exporting(server, tmp_path)
    exported.export_all()
    assert_whole(exported, runs)
    assert sum(server.faults.injected.values()) == PASSING[name].times


def test_points_that_cannot_be_decoded_are_asked_for_again(
    server: RunningServer, tmp_path: Path
) -> None:
    runs = fill(server.store, 3)
    page = Fault("series/float", status=200, content=b"\x0a\x05\x0a\x01", times=2)
    server.faults.add(page)
    exported = exporting(server, tmp_path)
    exported.export_all()
    assert_whole(exported, runs)


@pytest.mark.parametrize("where", ["attributes/query", "series/float", "attributes/series$"])
def test_a_page_in_place_of_an_answer_fails_the_runs_by_name(
    server: RunningServer, tmp_path: Path, where: str
) -> None:
    """A proxy's login page, say: 200 and HTML."""
    runs = fill(server.store, 2)
    fault = Fault(where, status=200, content=b"<html>Log in</html>", content_type="text/html")
    server.faults.add(fault)
    exported = exporting(server, tmp_path)
    exported.export()
    assert exported.runs == set()
    assert set(exported.failed) == runs
    for error in exported.failed.values():
        assert isinstance(error, IncompleteAnswerError)
    server.faults.clear()
    exported.export_all()
    assert_whole(exported, runs)


def test_one_bad_run_fails_by_name_and_the_next_export_does_just_it(
    server: RunningServer, tmp_path: Path
) -> None:
    runs = fill(server.store, 7)
    server.refuse_series(PROJECT, "r3")
    exported = exporting(server, tmp_path)
    exported.export()
    assert_whole(exported, runs - {"r3"})
    assert set(exported.failed) == {"r3"}
    error = exported.failed["r3"]
    assert isinstance(error, SourceRefusedError)
    assert isinstance(error, Terminal)
    assert "400" in str(error)
    assert PROJECT in str(error)

    server.faults.clear()
    server.traffic.reset()
    assert [ref.key.run for ref in exported.export_all().due] == ["r3"]
    assert_whole(exported, runs)
    assert server.requests["POST /api/leaderboard/v1/proto/attributes/series/float"] == 1


@pytest.mark.parametrize("page", ["first", "later"])
def test_refused_values_fail_one_run_only(server: RunningServer, tmp_path: Path, page: str) -> None:
    runs = fill(server.store, 5)
    bad = server.store.projects[PROJECT].find("r2")
    assert bad is not None
    holder = f'"{PROJECT}/{bad.sys_id}"'.encode()
    sign = b"" if page == "first" else b"nextPageToken"
    server.faults.limits.values = 30
    server.faults.add(
        Fault("attributes/query", body=lambda b: holder in b and sign in b, status=400)
    )
    if page == "later":  # alone, the run has one page only
        server.faults.add(
            Fault(
                "attributes/query",
                body=lambda b: b.count(b"VISIO") == 1 and holder in b,
                status=400,
            )
        )
    exported = exporting(server, tmp_path)
    exported.export()
    assert_whole(exported, runs - {"r2"})
    assert set(exported.failed) == {"r2"}
    assert isinstance(exported.failed["r2"], SourceRefusedError)
    manifests = [exported.manifest(run) for run in exported.runs]
    assert [m.digest for m in manifests] == [exported.digests()[m.run] for m in manifests]


def test_a_token_that_the_server_forgets_is_exchanged_anew(
    server: RunningServer, tmp_path: Path
) -> None:
    runs = fill(server.store, 6)
    exported = exporting(server, tmp_path)
    plan_first = exported.source.list_runs(PROJECT, Selection())
    assert len(plan_first) == 6
    assert server.auth.exchanges == 1
    server.auth.expire_tokens()
    exported.export_all()
    assert_whole(exported, runs)
    assert server.auth.exchanges == 2


def test_a_token_that_is_always_refused_ends_everything_soon(
    server: RunningServer, tmp_path: Path
) -> None:
    fill(server.store, 3)
    server.faults.add(Fault("attributes/query", status=401))
    exported = exporting(server, tmp_path)
    with pytest.raises(CredentialsRefusedError, match="401"):
        exported.export()
    assert exported.runs == set()


def token_with(server: RunningServer, key: str) -> str:
    content = {"api_address": server.url, "api_url": server.url, "api_key": key}
    return base64.b64encode(json.dumps(content).encode()).decode()


def test_an_unknown_token_is_refused_at_once(server: RunningServer) -> None:
    source = source_of(server, api_token=token_with(server, "unknown"))
    started = time.monotonic()
    for ask in (source.list_projects, lambda: source.list_runs(PROJECT, Selection())):
        with pytest.raises(CredentialsRefusedError, match="does not accept the token") as caught:
            ask()
        assert server.url in str(caught.value)
        assert "NEPTUNE_API_TOKEN" in caught.value.remedy
    assert time.monotonic() - started < 5


def test_a_project_that_goes_away_ends_the_export(server: RunningServer, tmp_path: Path) -> None:
    fill(server.store, 2)
    exported = exporting(server, tmp_path)
    denied = json.dumps({"errorType": "ACCESS_DENIED"}).encode()
    server.faults.add(Fault("attributes/query", status=403, content=denied))
    with pytest.raises(UnknownProjectError, match=PROJECT):
        exported.export()
    assert exported.runs == set()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_a_server_that_is_not_there_is_named_within_the_time_given() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    content = {"api_address": url, "api_url": url, "api_key": "k"}
    token = base64.b64encode(json.dumps(content).encode()).decode()
    source = Neptune3Source(Neptune3Config(api_token=token, connect_seconds=1.5))  # type: ignore[arg-type]
    started = time.monotonic()
    with pytest.raises(SourceUnavailableError, match="cannot be reached") as caught:
        source.list_projects()
    assert time.monotonic() - started < 4
    assert url in str(caught.value)
    assert isinstance(caught.value, Transient)


def test_a_server_that_keeps_failing_is_left_after_the_time_given(
    server: RunningServer, tmp_path: Path
) -> None:
    runs = fill(server.store, 2)
    server.faults.unavailable(503, path="series/float")
    exported = exporting(server, tmp_path, retry_seconds=1.0)
    started = time.monotonic()
    exported.export()
    assert time.monotonic() - started < 6
    assert set(exported.failed) == runs
    assert all(isinstance(e, SourceUnavailableError) for e in exported.failed.values())
    assert "503" in str(exported.failed["r0"])
    assert exported.runs == set()


CANARY = "canary-7c1e55"


@pytest.mark.parametrize("case", ["fine", "refused", "400", "401", "503", "html", "downloads"])
def test_the_token_is_in_no_message_and_no_log(
    server: RunningServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    case: str,
) -> None:
    server.auth._keys[server.auth.user] = CANARY
    fill(server.store, 2)
    token = token_with(server, "not-" + CANARY if case == "refused" else CANARY)
    faults = {
        "400": Fault("attributes/query", status=400),
        "401": Fault("attributes/query", status=401),
        "503": Fault("attributes/query", status=503),
        "html": Fault("attributes/query", status=200, content=b"<html>"),
        "downloads": Fault("/storage/", status=500, times=2),
    }
    if case in faults:
        server.faults.add(faults[case])
    exported = exporting(server, tmp_path, api_token=token, retry_seconds=0.5)
    caplog.set_level(logging.DEBUG)
    said = []
    try:
        exported.export()
    except MigrationError as error:
        said.append(error)
    said += list(exported.failed.values())  # type: ignore[arg-type]
    assert bool(said) == (case not in ("fine", "downloads"))
    bearer = exported.source.client._client.get_httpx_client().auth._token
    secrets = [CANARY, token, token[20:60]]
    if bearer is not None:
        secrets += [bearer.access_token, bearer.refresh_token]
    messages = [repr(vars(e)) + str(e) + repr(e.__cause__) for e in said]
    logged = [r.getMessage() + str(r.exc_text) for r in caplog.records]
    assert logged, "nothing was logged, so nothing was tested"
    for secret in secrets:
        assert not [m for m in messages + logged if secret in m]
