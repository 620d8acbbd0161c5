"""What Comet refuses, or does not answer: one clear message each, and nothing sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import (
    ConfigError,
    MigrationError,
    MissingExtraError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.targets import registry
from migration_pipeline.targets.comet import connection
from migration_pipeline.targets.comet.client import CometTarget
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline.targets.comet.records import Records
from migration_pipeline.targets.loading import load_runs, plan_load
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
    param,
)
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.comet_backend import account, configuration, make, server
from migration_pipeline_tests.targets.loads import THREE, failed, states

CANARY = "accnobodyc4n4rys3cr3tk3y"
NO_MAPPING = ProjectMapping()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(connection, "_FIRST_WAIT", 0.01)
    yield
    server().faults.clear()
    server().forget(account_key(tmp_path))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, THREE)


def test_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    with pytest.raises(MissingSettingError, match="COMET_API_KEY is not set"):
        registry.open_target("comet")
    monkeypatch.setenv("COMET_API_KEY", "k")
    assert registry.open_target("comet").address == "https://www.comet.com"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="uv sync --extra comet"):
        registry.open_target("comet")


@pytest.mark.parametrize("url", ["comet", "ftp://host", "https://", "sqlite:///x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="COMET_URL_OVERRIDE: Comet cannot be reached by"):
        CometTarget(CometConfig(api_key="k", url=url))


@pytest.mark.parametrize("ask", ["check", "runs", "find"])
def test_a_key_that_nobody_has(tmp_path: Path, ask: str) -> None:
    config = CometConfig(api_key=CANARY, workspace="team", url=server().url)
    target = CometTarget(config)
    calls: dict[str, Any] = {
        "check": target.check,
        "runs": lambda: target.runs(PROJECT, NO_MAPPING),
        "find": lambda: target.find(RunKey(PROJECT, "a"), NO_MAPPING),
    }
    with pytest.raises(TargetRefusedError, match="refuses the API key") as raised:
        calls[ask]()
    assert "COMET_API_KEY" in str(raised.value)
    assert CANARY not in f"{raised.value} {raised.value!r} {config} {config!r}"


def test_a_key_is_in_no_message(tmp_path: Path) -> None:
    to = connection.Connection(CometConfig(api_key=CANARY, url=server().url))
    text = str(to._named(ValueError(f"cannot use {CANARY} here"), "reading"))
    assert CANARY not in text
    assert "cannot use *** here" in text


def test_a_workspace_that_is_none(archive: Archive, tmp_path: Path) -> None:
    target = CometTarget(configuration(tmp_path, workspace="nowhere"))
    for ask in (target.check, lambda: plan_load(target, archive, PROJECT)):
        with pytest.raises(TargetRefusedError, match="no workspace 'nowhere'") as raised:
            ask()
        assert "Set COMET_WORKSPACE" in str(raised.value)


def test_a_project_that_is_full(archive: Archive, tmp_path: Path) -> None:
    account(tmp_path).experiments_per_project = 2
    said = failed(load_all(make(tmp_path), archive))
    assert list(said) == ["c"]
    assert "as many experiments as Comet allows" in said["c"]
    assert "MIGRATION_NAME_PREFIX" in said["c"]
    assert list(states(make(tmp_path)).values()) == [LoadState.COMPLETE] * 2 + [LoadState.ABSENT]


@pytest.mark.parametrize("what", ["m/b", "p/b"])
def test_what_comet_rejects_fails_its_run_and_no_other(
    archive: Archive, tmp_path: Path, what: str
) -> None:
    account(tmp_path).rejects.add(what)
    said = failed(load_all(make(tmp_path), archive))
    assert list(said) == ["b"]
    assert f"status 400: value of '{what}' is not accepted" in said["b"]
    assert states(make(tmp_path)) == {
        "a": LoadState.COMPLETE,
        "b": LoadState.PARTIAL,
        "c": LoadState.COMPLETE,
    }
    account(tmp_path).rejects.clear()
    assert failed(load_all(make(tmp_path), archive)) == {}
    assert set(states(make(tmp_path)).values()) == {LoadState.COMPLETE}
    assert len(account(tmp_path).experiments) == 3


def test_a_file_that_comet_does_not_take(tmp_path: Path) -> None:
    runs = (RunData("a", (Row("f", "file", b"x" * 100),)), RunData("b", tuple(curve("m", 2))))
    account(tmp_path).asset_max_bytes = 90
    # What is written beside is as large, so the other run is refused as well.
    said = failed(load_all(make(tmp_path), build(tmp_path, DataSet("file", runs))))
    assert list(said) == ["a", "b"]
    assert "sending the file 'files/f'" in said["a"]
    assert "assets have at most 90 bytes" in said["a"]
    assert states(make(tmp_path))["a"] is LoadState.PARTIAL


def test_who_hangs_is_not_waited_for(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMET_TIMEOUT_HTTP", "1")
    monkeypatch.setattr(connection, "_TRIES", 2)
    target = make(tmp_path)
    server().faults.add(Fault(path="/projects|/account-details", latency=30))
    with pytest.raises(TargetUnavailableError, match=r"cannot be reached.*Timeout"):
        plan_load(target, archive, PROJECT)


@pytest.mark.parametrize("status", [200, 404])
def test_a_service_that_answers_html(archive: Archive, tmp_path: Path, status: int) -> None:
    html = b"<html>Welcome</html>"
    server().faults.add(Fault(path="/api/", status=status, content=html, content_type="text/html"))
    with pytest.raises(TargetRefusedError, match="is not Comet") as raised:
        make(tmp_path).check()
    assert "COMET_URL_OVERRIDE" in str(raised.value)


def test_html_for_a_batch_is_no_success(archive: Archive, tmp_path: Path) -> None:
    server().faults.add(
        Fault(path="/batch/", status=200, content=b"<html>", content_type="text/html", times=1)
    )
    said = failed(load_all(make(tmp_path), archive))
    assert list(said) == ["a"]
    assert "is not Comet (status 200, sending parameters)" in said["a"]


def test_another_json_service(tmp_path: Path) -> None:
    server().faults.add(Fault(path="account-details", status=200, content=b'{"hello": 1}'))
    with pytest.raises(TargetRefusedError, match="is not Comet"):
        make(tmp_path).check()


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TRIES", 2)
    target = CometTarget(CometConfig(api_key="k", url="http://127.0.0.1:9"))
    with pytest.raises(TargetUnavailableError, match=r"127\.0\.0\.1:9 cannot be reached"):
        target.check()


def points_of(folder: Path) -> dict[str, int]:
    return {
        name: len(points)
        for one in account(folder).experiments.values()
        for name, points in one.metrics.items()
    }


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": True},
        {"status": 503},
        {"status": 500, "content": b"<html>", "content_type": "text/html"},
        {"truncate": 0.0},
        {"truncate": 0.5},
    ],
    ids=str,
)
def test_a_batch_without_an_answer_is_there_once(
    archive: Archive, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """Whether it arrived (the answer was cut) or not."""
    server().faults.add(Fault(path="/batch/.*/metric", times=1, **fault))
    assert failed(load_all(make(tmp_path), archive)) == {}
    assert points_of(tmp_path) == {"m/a": 30, "m/b": 30, "m/c": 30}


def test_what_cannot_be_told_fails_its_run(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comet shows a sample: whether a batch is there does not show."""
    target = make(tmp_path)
    target.capabilities = target.capabilities.model_copy(update={"points_kept_per_series": 10})
    server().faults.add(Fault(path="/batch/.*/metric", times=1, truncate=0.0))
    said = failed(load_all(target, archive))
    assert list(said) == ["a"]
    assert "whether they arrived cannot be told" in said["a"]
    assert failed(load_all(make(tmp_path), archive)) == {}
    assert points_of(tmp_path) == {"m/a": 30, "m/b": 30, "m/c": 30}


def test_a_batch_that_shows_up_late_is_not_there_twice(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked at once, Comet does not show it yet, so it is sent again; then both are there."""
    points, asked = Records.points, []

    def late(self: Records, key: str, metric: str) -> list[dict[str, Any]]:
        asked.append(metric)
        return points(self, key, metric) if len(asked) > 1 else []

    monkeypatch.setattr(Records, "points", late)
    server().faults.add(Fault(path="/batch/.*/metric", times=1, truncate=0.0))
    said = failed(load_all(make(tmp_path), archive))
    assert list(said) == ["a"]
    assert "'m/a' arrived twice" in said["a"]
    assert states(make(tmp_path))["a"] is LoadState.PARTIAL
    assert failed(load_all(make(tmp_path), archive)) == {}
    assert points_of(tmp_path) == {"m/a": 30, "m/b": 30, "m/c": 30}


@pytest.mark.parametrize("path", ["add/run", "parameter", "log-other", "upload-asset", "tags"])
@pytest.mark.parametrize("fault", [{"status": 502}, {"truncate": 0.0}], ids=str)
def test_other_requests_are_made_again(tmp_path: Path, path: str, fault: dict[str, Any]) -> None:
    rows = (
        *curve("m", 3),
        param("p", "int", 1),
        param("sys/tags", "string_set", ["t"]),
        Row("f", "file", b"x"),
        Row("log", "string_series", "l", "1", START),
    )
    archive = build(tmp_path, DataSet("one", (RunData("a", rows),)))
    server().faults.add(Fault(path=path, times=1, **fault))
    assert failed(load_all(make(tmp_path), archive)) == {}
    (one,) = account(tmp_path).experiments.values()
    names = [asset.name for asset in one.assets.values()]
    assert sorted(names) == sorted(set(names))


def test_a_server_that_stays_away(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_TRIES", 2)
    target = make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    server().faults.add(Fault(path="/batch/", status=503))
    result = load_runs(target, archive, plan.mapping, plan.due, parallel=1)
    assert all(isinstance(e, TargetUnavailableError) for _, e in result.failures)
    assert "sending parameters: it answers with status 503" in failed(result)["a"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After-Custom": "7.25"}, 7.75),
        ({"Retry-After": "3"}, 3.5),
        ({"Retry-After-Custom": "1", "Retry-After": "9"}, 1.5),
        ({}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60.0),
    ],
    ids=str,
)
def test_how_long_comet_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert connection._asked_wait(headers) == seconds


def test_who_asks_to_wait_is_waited_for(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(connection, "_WAIT_UNSAID", 0.05)
    target = make(tmp_path)
    monkeypatch.setattr(connection.log, "info", lambda *said: waits.append(said[-1]))
    server().faults.add(Fault(path="/batch/.*/metric", status=429, times=2))
    assert failed(load_all(target, archive)) == {}
    assert waits == [0.05, 0.05]
    assert points_of(tmp_path) == {"m/a": 30, "m/b": 30, "m/c": 30}


def test_it_is_not_waited_for_ever(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.02)
    monkeypatch.setattr(connection, "_WAIT_UNSAID", 0.05)
    target = make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    server().faults.add(Fault(path="/batch/.*/parameter", status=429))
    key = plan.due[0]
    (run,) = load_runs(target, archive, plan.mapping, [key]).runs
    assert isinstance(run.error, TargetUnavailableError)
    assert "has answered 429 for 0 seconds" in str(run.error)


def test_an_error_is_never_absent(archive: Archive, tmp_path: Path) -> None:
    assert failed(load_all(make(tmp_path), archive)) == {}
    key = RunKey(PROJECT, "a")
    for status, content in ((500, b""), (403, b'{"msg": "no"}'), (400, b'{"sdk_error_code": 1}')):
        server().faults.clear()
        server().faults.add(Fault(path="/api/rest", status=status, content=content))
        for ask in (
            lambda: make(tmp_path).runs(PROJECT, NO_MAPPING),
            lambda: make(tmp_path).find(key, NO_MAPPING),
        ):
            with pytest.raises(MigrationError, match="comet"):
                ask()


def test_what_says_which_is_which_is_gone(archive: Archive, tmp_path: Path) -> None:
    assert failed(load_all(make(tmp_path), archive)) == {}
    for one in account(tmp_path).experiments.values():
        one.assets = {k: a for k, a in one.assets.items() if a.name != "neptune/migration.json"}
    target = make(tmp_path)
    with pytest.raises(TargetRefusedError, match=r"neptune/migration\.json among its files"):
        list(target.read_back(RunKey(PROJECT, "a"), NO_MAPPING, tmp_path / "into"))
