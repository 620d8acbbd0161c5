"""Lightning AI: bad input and a service that misbehaves get one clear message, in words of its
settings and without secrets; no point is lost or sent twice."""

from __future__ import annotations

import inspect
import json
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import (
    ConfigError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.targets import registry
from migration_pipeline.targets.litlogger import connection
from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline.targets.litlogger.pace import Pace
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
)
from migration_pipeline_tests.servers.litlogger import LitloggerService
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.litlogger_backend import (
    account,
    configuration,
    make,
    service,
)
from migration_pipeline_tests.targets.loads import load

MAPPING = ProjectMapping()
KEY = RunKey(PROJECT, "one")
POINTS = "logger-metrics/"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData("one", tuple(curve("m/a", 2500))),)))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LitloggerService]:
    """Its faults are for one test; waits between tries are short."""
    monkeypatch.setattr(connection, "_WAIT_FIRST", 0.01)
    found = service()
    yield found
    found.faults.clear()


@pytest.fixture
def sdk(tmp_path: Path) -> None:
    """Imported as the target does it: otherwise it asks PyPI for its newest version."""
    assert make(tmp_path)._to.models


def with_settings(folder: Path, **settings: Any) -> LitloggerTarget:
    return LitloggerTarget(configuration(folder, **settings))


def points_there(folder: Path) -> dict[str, list[int]]:
    """Run id → the steps of all its points, in order."""
    found = {}
    for space in account(folder).teamspaces.values():
        for stream in space.streams.values():
            tags = {tag["name"]: tag["value"] for tag in stream.tags}
            steps = [step for of in stream.metrics().values() for step in of.steps]
            found[tags["neptune.run_id"]] = steps
    return found


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("sdk")
def test_no_key_and_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's SDK would open a browser and wait for ever."""
    from lightning_sdk.lightning_cloud.login import Auth

    monkeypatch.setattr(Auth, "secrets_file", tmp_path / "credentials.json")
    monkeypatch.setattr(webbrowser, "open", lambda *_: pytest.fail("a browser was opened"))
    target = with_settings(tmp_path, api_key="", user_id="")
    with pytest.raises(MissingSettingError, match=r"LIGHTNING_API_KEY.*`lightning login`"):
        target.check()


@pytest.mark.usefixtures("sdk")
def test_the_session_of_lightning_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_sdk.lightning_cloud.login import Auth

    session = tmp_path / "credentials.json"
    said = {"user_id": account(tmp_path).user_id, "api_key": account_key(tmp_path)}
    session.write_text(json.dumps(said))
    monkeypatch.setattr(Auth, "secrets_file", session)
    with_settings(tmp_path, api_key="", user_id="").check()


@pytest.mark.parametrize(
    "settings", [{"api_key": "c4n4ry-s3cr3t"}, {"user_id": "somebody"}], ids=["key", "user"]
)
def test_a_refused_key(settings: dict[str, str], tmp_path: Path, archive: Archive) -> None:
    target = with_settings(tmp_path, **settings)
    with pytest.raises(
        TargetRefusedError, match=r"refuses the credentials.*LIGHTNING_API_KEY"
    ) as error:
        plan_load(target, archive, PROJECT)
    assert "c4n4ry" not in str(error.value)
    assert account_key(tmp_path) not in str(error.value)


def test_an_owner_that_does_not_exist(tmp_path: Path, archive: Archive) -> None:
    target = with_settings(tmp_path, owner="nobody")
    with pytest.raises(TargetRefusedError, match=r"owner 'nobody' is neither.*LITLOGGER_OWNER"):
        target.check()
    with pytest.raises(TargetRefusedError, match="LITLOGGER_OWNER"):
        plan_load(target, archive, PROJECT)
    assert account(tmp_path).teamspaces == {}


def test_teamspaces_of_an_organization(tmp_path: Path, archive: Archive) -> None:
    ((name, number),) = account(tmp_path).organizations.items()
    assert load(with_settings(tmp_path, owner=name), archive) == []
    (space,) = account(tmp_path).teamspaces.values()
    assert (space.owner_id, space.owner_type, space.name) == (
        number,
        "organization",
        "team_project",
    )
    assert f"/{name}/team_project/" in with_settings(tmp_path, owner=name).find(KEY, MAPPING).url
    # That of the user is another one.
    assert make(tmp_path).find(KEY, MAPPING).state is LoadState.ABSENT


@pytest.mark.parametrize("url", ["lightning.ai", "ftp://lightning.ai", "https://me:key@x.ai"])
def test_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LIGHTNING_CLOUD_URL") as error:
        with_settings(tmp_path, cloud_url=url)
    assert "me:key" not in str(error.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_API_KEY", "secret")
    monkeypatch.setenv("LITLOGGER_REQUESTS_PER_SECOND", "2.5")
    config = registry.config_class("litlogger").from_environment()
    assert isinstance(config, LitloggerConfig)
    assert (config.requests_per_second, config.address) == (2.5, "https://lightning.ai")
    assert "secret" not in repr(config)


# --- refusals -----------------------------------------------------------------------------------


def test_a_limit_of_teamspaces(tmp_path: Path, archive: Archive) -> None:
    account(tmp_path).max_teamspaces = 0
    (message,) = load(make(tmp_path), archive)
    assert "maximum number of teamspaces" in message
    assert "limits of the plan" in message


def test_a_limit_of_experiments(tmp_path: Path) -> None:
    """What fits is loaded; the others fail by name, and are loaded when there is room."""
    runs = tuple(RunData(name, tuple(curve("m", 3))) for name in ("a", "b", "c"))
    archive, target = build(tmp_path, DataSet("three", runs)), make(tmp_path)
    account(tmp_path).max_experiments = 2
    plan = plan_load(target, archive, PROJECT)
    done = {
        run.key.run: run.error
        for run in load_runs(target, archive, MAPPING, plan.due, parallel=1).runs
    }
    assert [name for name, error in done.items() if error] == ["c"]
    assert "maximum number of experiments" in str(done["c"])
    account(tmp_path).max_experiments = None
    assert load(target, archive) == []
    assert sorted(points_there(tmp_path)) == ["a", "b", "c"]


def test_a_payload_that_is_refused(tmp_path: Path, server: LitloggerService) -> None:
    """That run fails by name and stays partial, the others go on."""
    runs = tuple(RunData(n, (*curve(f"m/{n}", 3), param("p", "int", 1))) for n in ("bad", "good"))
    archive, target = build(tmp_path, DataSet("two", runs)), make(tmp_path)
    refusal = json.dumps({"code": 3, "message": "invalid value for field metrics"}).encode()
    server.faults.add(
        Fault(POINTS, "PUT", body=lambda b: b"m/bad" in b, status=400, content=refusal)
    )
    bad, good = load_runs(
        target, archive, MAPPING, [RunKey(PROJECT, n) for n in ("bad", "good")]
    ).runs
    assert isinstance(bad.error, TargetRefusedError)
    assert "invalid value for field metrics" in str(bad.error)
    assert good.good
    states = {key.run: run.state for key, run in make(tmp_path).runs(PROJECT, MAPPING).items()}
    assert states == {"bad": LoadState.PARTIAL, "good": LoadState.COMPLETE}
    server.faults.clear()
    assert load(make(tmp_path), archive) == []


def test_somebody_elses_experiment_of_that_name(tmp_path: Path, archive: Archive) -> None:
    target = make(tmp_path)
    assert load(target, archive) == []
    ((_, stream),) = next(iter(account(tmp_path).teamspaces.values())).streams.items()
    stream.tags = []
    for call in (target.find, target.discard):
        with pytest.raises(TargetRefusedError, match=f"{stream.name}.*MIGRATION_NAME_PREFIX"):
            call(KEY, MAPPING)
    assert dict(target.runs(PROJECT, MAPPING)) == {}


# --- a service that misbehaves ------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_service_that_answers_html(
    status: int, tmp_path: Path, archive: Archive, server: LitloggerService
) -> None:
    """It is never taken for "no such experiment"."""
    page = b"<html><title>Sign in</title></html>"
    server.faults.add(Fault("/v1/", status=status, content=page, content_type="text/html"))
    with pytest.raises(TargetRefusedError, match=r"is not Lightning AI.*LIGHTNING_CLOUD_URL"):
        make(tmp_path).check()
    with pytest.raises(TargetRefusedError, match="is not Lightning AI"):
        make(tmp_path).runs(PROJECT, MAPPING)
    server.faults.clear()
    target = make(tmp_path)
    assert load(target, archive) == []
    server.faults.add(
        Fault("metrics-streams", status=status, content=page, content_type="text/html")
    )
    with pytest.raises(TargetRefusedError, match="is not Lightning AI"):
        target.find(KEY, MAPPING)


@pytest.mark.parametrize("method", ["check", "points"])
def test_a_hung_connection_is_given_up(
    method: str,
    tmp_path: Path,
    archive: Archive,
    server: LitloggerService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_ATTEMPTS", 2)
    target = with_settings(tmp_path, read_timeout=0.2, visible_seconds=0.05)
    monkeypatch.setattr("migration_pipeline.targets.litlogger.sending._UNCLEAR", 2)
    server.faults.add(Fault("auth/user" if method == "check" else POINTS, latency=3600))
    if method == "check":
        with pytest.raises(TargetUnavailableError, match=r"asking who loads.*[Tt]imed? ?out"):
            target.check()
    else:
        (run,) = load_runs(target, archive, MAPPING, [KEY]).runs
        assert isinstance(run.error, TargetUnavailableError)
        assert "sending points" in str(run.error)
        assert target.find(KEY, MAPPING).state is LoadState.PARTIAL


def test_nobody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_WAIT_FIRST", 0.01)
    target = with_settings(tmp_path, cloud_url="http://127.0.0.1:9")
    with pytest.raises(TargetUnavailableError, match=r"127\.0\.0\.1:9 cannot be reached"):
        target.check()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(POINTS, "PUT", truncate=0.0, times=2),
        Fault(POINTS, "PUT", reset=True, times=1),
        Fault(POINTS, "PUT", status=500, times=1),
        Fault(POINTS, "PUT", status=503, retry_after=0.01, times=2),
    ],
    ids=["taken and the answer lost", "cut off", "500", "503"],
)
def test_no_point_is_lost_or_sent_twice(
    fault: Fault, tmp_path: Path, archive: Archive, server: LitloggerService
) -> None:
    """Points are appended there, never merged: what has arrived must be known."""
    server.faults.add(fault)
    assert load(with_settings(tmp_path, visible_seconds=0.2), archive) == []
    assert points_there(tmp_path) == {"one": [*range(2500)]}


def test_a_request_that_makes_something_is_not_repeated(
    tmp_path: Path, archive: Archive, server: LitloggerService
) -> None:
    """The answer to "make" is lost, twice: both were done, and are found."""
    server.faults.add(Fault("/v1/projects$", "POST", truncate=0.0, times=1))
    server.faults.add(Fault("metrics-stream/create", "POST", truncate=0.0, times=1))
    assert load(make(tmp_path), archive) == []
    assert points_there(tmp_path) == {"one": [*range(2500)]}


@pytest.mark.parametrize("status", [403, 500])
def test_a_signed_address_that_expired(
    status: int, tmp_path: Path, server: LitloggerService
) -> None:
    """Another one is asked for."""
    archive = build(tmp_path, DataSet("one", (RunData("one", (Row("f", "file", b"content"),)),)))
    server.faults.add(Fault("^/storage/", status=status, content=b"<Error/>", times=2))
    assert load(make(tmp_path), archive) == []
    (space,) = account(tmp_path).teamspaces.values()
    assert b"content" in space.blobs.values()


def test_a_store_that_refuses_files(tmp_path: Path, server: LitloggerService) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("one", (Row("f", "file", b"content"),)),)))
    page = b"<Error><Code>EntityTooLarge</Code></Error>"
    server.faults.add(Fault("^/storage/", status=400, content=page))
    (message,) = load(make(tmp_path), archive)
    assert "the store for files answers 400" in message
    assert "EntityTooLarge" in message
    assert make(tmp_path).find(KEY, MAPPING).state is LoadState.PARTIAL


def test_points_that_become_visible_late(tmp_path: Path, archive: Archive) -> None:
    """Readers see points seconds after they were taken; a run is complete when they do."""
    account(tmp_path).lag = 0.4
    assert load(make(tmp_path), archive) == []


def test_points_that_stay_out_of_sight(tmp_path: Path, archive: Archive) -> None:
    account(tmp_path).lag = 3600
    target = with_settings(tmp_path, visible_seconds=0.1)
    (message,) = load(target, archive)
    assert "not all of its points can be read 0.1 s" in message
    assert "LITLOGGER_VISIBLE_SECONDS" in message
    assert target.find(KEY, MAPPING).state is LoadState.PARTIAL


def test_somebody_else_adds_points(
    tmp_path: Path, archive: Archive, server: LitloggerService
) -> None:
    """What is there is more than was sent: the run does not become complete."""
    target = make(tmp_path)
    append = target._to.append

    def twice(teamspace: str, stream: str, body: bytes) -> None:
        append(teamspace, stream, body)
        append(teamspace, stream, body)

    target._to.append = twice  # type: ignore[method-assign]
    (message,) = load(target, archive)
    assert "'m/a' of run team/project|one has 5,000 points there" in message
    assert target.find(KEY, MAPPING).state is LoadState.PARTIAL


# --- pace ---------------------------------------------------------------------------------------


def test_the_pace_of_the_service_is_kept(
    tmp_path: Path, archive: Archive, server: LitloggerService
) -> None:
    """Without a pace of ours it answers 429, whose Retry-After is honoured."""
    account(tmp_path).pace = (1000, 0.1)
    refused = server.traffic.statuses[429]
    assert load(make(tmp_path), archive) == []
    assert server.traffic.statuses[429] > refused
    assert points_there(tmp_path) == {"one": [*range(2500)]}


def test_a_pace_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are apart as was asked for, for all threads together, and after what the service
    asked for."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    pace, turns = Pace(4), []
    for number in range(5):
        pace.wait()
        turns.append(now[0])
        if number == 2:
            pace.hold(3)
        if number == 3:
            now[0] += 10
    assert turns == [100.0, 100.25, 100.5, 103.5, 113.5]


@pytest.mark.usefixtures("sdk")
def test_the_pace_of_lightnings_own_client_is_the_default() -> None:
    from litlogger.experiment import Experiment

    from migration_pipeline.targets.litlogger.capabilities import CAPABILITIES

    theirs = inspect.signature(Experiment.__init__).parameters
    assert 1 / LitloggerConfig().requests_per_second == theirs["rate_limiting_interval"].default
    assert CAPABILITIES.points_per_request == theirs["max_batch_size"].default
