"""What goes wrong at Pluto: one clear message each, in words of its settings, and nothing half done
that looks whole."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
from pydantic import SecretStr, ValidationError

from migration_pipeline.archive.archive import Archive
from migration_pipeline.errors import (
    ConfigError,
    MigrationError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.targets.loading import LoadResult
from migration_pipeline.targets.pluto import connection
from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
)
from migration_pipeline_tests.servers import standin
from migration_pipeline_tests.servers.pluto import PlutoStandIn
from migration_pipeline_tests.targets.pluto_backend import configuration

NO_MAPPING = ProjectMapping()
ROWS = (*curve("m", 3), Row("log", "string_series", "line", "1", START), Row("f", "file", b"file"))
KEY = "secret0123456789"


@pytest.fixture(scope="module")
def service() -> Iterator[PlutoStandIn]:
    with standin.serving(PlutoStandIn()) as served:
        yield served


@pytest.fixture
def server(service: PlutoStandIn) -> Iterator[PlutoStandIn]:
    yield service
    service.faults.clear()


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    """Waits between attempts are not what is looked at here."""
    with stamina.set_testing(True, attempts=connection.ATTEMPTS):
        yield


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("two", (RunData("one", ROWS), RunData("two", ROWS))))


@pytest.fixture
def target(server: PlutoStandIn, tmp_path: Path) -> PlutoTarget:
    return PlutoTarget(configuration(tmp_path, server.url))


def errors(result: LoadResult) -> dict[str, MigrationError]:
    return {run.key.run: run.error for run in result.runs if run.error}


def of_run(number: int) -> Callable[[bytes], bool]:
    """Bodies about the run with this number."""
    return lambda body: json.loads(body or b"{}").get("runId") == number


def test_a_refused_key(server: PlutoStandIn, archive: Archive) -> None:
    url, key = server.url, SecretStr(KEY)
    target = PlutoTarget(PlutoConfig(api_key=key, url_app=url, url_api=url, url_ingest=url))
    for call in (target.check, lambda: load_all(target, archive)):
        with pytest.raises(TargetRefusedError, match=r"refuses the API key.*Key not found") as got:
            call()
        assert f"{url}/api-keys" in str(got.value)
        assert "PLUTO_API_KEY" in str(got.value)
        assert KEY not in str(got.value)


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluto.query._resolve_api_token", lambda: None)
    with pytest.raises(MissingSettingError, match="PLUTO_API_KEY"):
        PlutoTarget(PlutoConfig()).check()


def test_the_plan_s_storage_is_used_up(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, tmp_path: Path
) -> None:
    server.account(standin.account_key(tmp_path)).at_limit = True
    found = errors(load_all(target, archive))
    assert set(found) == {"one", "two"}
    for error in found.values():
        assert isinstance(error, TargetRefusedError)
        assert "the storage of its plan is used up" in str(error)
    assert dict(target.runs(PROJECT, NO_MAPPING)) == {}


@pytest.mark.parametrize(
    ("path", "status", "content", "said"),
    [
        ("/ingest/metrics", 422, b'{"code":"PROCESSING_FAILED","message":"bad line"}', "bad line"),
        ("/config/update", 400, b'{"error":"Invalid config JSON"}', "Invalid config JSON"),
        ("/files", 413, b"length limit exceeded", "NEPTUNE_EXPORTER_PLUTO_FLUSH_EVERY"),
        ("/bucket/", 400, b"<Error/>", "sending a file"),
        (
            "/ingest/data",
            422,
            b'{"code":"PROCESSING_FAILED","message":"no"}',
            "text and histograms",
        ),
    ],
)
def test_what_pluto_rejects_fails_one_run_by_name(
    server: PlutoStandIn,
    target: PlutoTarget,
    archive: Archive,
    path: str,
    status: int,
    content: bytes,
    said: str,
) -> None:
    """It stays partial, the other is loaded, and once that is corrected both are whole."""
    server.faults.add(Fault(path, status=status, content=content, times=1))
    result = load_all(target, archive)
    (failed,) = errors(result)
    assert isinstance(errors(result)[failed], TargetRefusedError)
    assert said in str(errors(result)[failed])
    states = {key.run: run.state for key, run in target.runs(PROJECT, NO_MAPPING).items()}
    assert states.get(failed, LoadState.ABSENT) is not LoadState.COMPLETE
    assert [run for run, state in states.items() if state is LoadState.COMPLETE] != []
    assert errors(load_all(target, archive)) == {}
    assert {run.state for run in target.runs(PROJECT, NO_MAPPING).values()} == {LoadState.COMPLETE}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, status: int
) -> None:
    server.faults.add(Fault("", status=status, times=2))
    server.faults.add(Fault("/ingest/metrics", status=status, times=2))
    server.faults.add(Fault("/bucket/", reset=True, times=1))
    assert errors(load_all(target, archive)) == {}


def test_a_server_that_asks_for_silence_is_obeyed(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive
) -> None:
    server.faults.violations.clear()
    server.faults.add(Fault("/ingest/metrics", status=429, retry_after=0.3, times=2))
    with stamina.set_testing(False):
        assert errors(load_all(target, archive)) == {}
    assert server.faults.violations == []
    assert server.faults.injected["429"] >= 2


def test_a_key_that_was_taken_before_may_be_refused_for_a_moment(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive
) -> None:
    """As the SDK has it; if it goes on, it is refused."""
    target.check()
    server.faults.add(Fault("/config/update", status=401, times=2))
    assert errors(load_all(target, archive)) == {}
    server.faults.add(Fault("/api/runs/list", status=401))
    with pytest.raises(TargetRefusedError, match="refuses the API key"):
        target.runs(PROJECT, NO_MAPPING)


def test_text_is_not_sent_again_when_nobody_knows_whether_it_arrived(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, tmp_path: Path
) -> None:
    server.faults.add(Fault("/ingest/data", reset=True, times=1))
    server.faults.add(Fault("/ingest/data", status=503, times=1))
    found = errors(load_all(target, archive))
    assert all(isinstance(error, TargetUnavailableError) for error in found.values())
    assert len(found) == 2
    assert any("it is not known whether the last lines arrived" in str(e) for e in found.values())
    assert errors(load_all(target, archive)) == {}
    account = server.account(standin.account_key(tmp_path))
    lines = {
        run.external_id: len(account.of(run.project, run.id).data)
        for run in account.runs.values()
        if (run.config or {})["neptune"]["state"] == "complete"
    }
    assert list(lines.values()) == [1, 1]


def test_an_error_of_the_api_is_never_absence(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive
) -> None:
    assert errors(load_all(target, archive)) == {}
    (key, *_) = target.runs(PROJECT, NO_MAPPING)
    for fault in (
        Fault("/list", status=404),
        Fault("/list", status=500),
        Fault("/list", reset=True),
    ):
        server.faults.add(fault)
        for call in (
            lambda: target.find(key, NO_MAPPING),
            lambda: target.runs(PROJECT, NO_MAPPING),
        ):
            with pytest.raises((TargetRefusedError, TargetUnavailableError)):
                call()
        server.faults.clear()


def test_a_connection_that_hangs_is_given_up(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    server.faults.add(Fault("/ingest/metrics", latency=30.0))
    found = errors(load_all(target, archive))
    assert set(found) == {"one", "two"}
    assert all("ReadTimeout" in str(error) for error in found.values())


def test_nobody_answers(archive: Archive) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://user:pass@127.0.0.1:{bound.getsockname()[1]}"
        settings = PlutoConfig(api_key=SecretStr(KEY), url_app=url, url_api=url, url_ingest=url)
        target = PlutoTarget(settings)
        with pytest.raises(TargetUnavailableError, match="ConnectError") as got:
            load_all(target, archive)
    for secret in (KEY, "pass"):
        assert secret not in str(got.value)


def test_what_answers_is_a_page(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "page_of_html", True)
    for call in (target.check, lambda: target.runs(PROJECT, NO_MAPPING)):
        with pytest.raises(TargetRefusedError, match=r"is not Pluto's API.*a page") as got:
            call()
        assert "PLUTO_URL_API" in str(got.value)
    monkeypatch.setattr(server, "page_of_html", False)
    server.faults.add(Fault("/list", status=404, content=b"<html>", content_type="text/html"))
    with pytest.raises(TargetRefusedError, match="is not Pluto's API"):
        target.runs(PROJECT, NO_MAPPING)


def test_a_file_that_was_announced_and_never_sent_is_a_finding(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, tmp_path: Path
) -> None:
    assert errors(load_all(target, archive)) == {}
    account = server.account(standin.account_key(tmp_path))
    for key in [key for key in account.objects if key.endswith("/files/f/f")]:
        del account.objects[key]
    from migration_pipeline.targets.loading import verify_runs

    keys = list(target.runs(PROJECT, NO_MAPPING))
    for run in verify_runs(target, archive, NO_MAPPING, keys).runs:
        assert run.verdict
        assert [(f.kind, f.attribute) for f in run.verdict.findings] == [("missing", "f")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url_api": "pluto.example.com"}, "PLUTO_URL_API: Pluto cannot be reached by"),
        ({"url_api": "ftp://pluto.example.com"}, "PLUTO_URL_API"),
        ({"url_api": "https://api.example.com"}, "PLUTO_URL_APP, PLUTO_URL_INGEST is missing"),
    ],
)
def test_addresses_that_are_none(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PlutoTarget(PlutoConfig(api_key=SecretStr(KEY), **settings))


@pytest.mark.parametrize(
    "settings",
    [{"log_every": 0}, {"flush_every": -1}, {"file_chunk_size": 1001}, {"file_chunk_sleep": -1}],
    ids=str,
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PlutoConfig(**settings)


def test_the_key_is_in_no_message_and_not_at_the_object_store(
    server: PlutoStandIn, target: PlutoTarget, archive: Archive, tmp_path: Path
) -> None:
    key = standin.account_key(tmp_path)
    echo = json.dumps({"error": f"no {key}"}).encode()
    server.faults.add(Fault("/config/update", status=400, content=echo, times=1))
    seen: list[Any] = []
    send = target._to.client.send

    def noted(request: Any, **options: Any) -> Any:
        seen.append(request)
        return send(request, **options)

    target._to.client.send = noted  # type: ignore[method-assign]
    found = errors(load_all(target, archive))
    assert len(found) == 1
    assert not [error for error in found.values() if key in str(error)]
    stored = [request for request in seen if request.url.path.startswith("/bucket/")]
    assert stored
    assert not [request for request in stored if "authorization" in request.headers]
    assert key not in repr(target._config)
