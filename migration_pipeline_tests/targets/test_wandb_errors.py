"""What goes wrong at W&B: one clear message each, in words of its settings, and only that run
fails."""

from __future__ import annotations

import json
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
from migration_pipeline.targets.target import LoadState
from migration_pipeline.targets.wandb import connection
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    RunData,
    build,
    curve,
    write_run,
)
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.servers.wandb.runs import File
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.targets import wandb_backend

GOOD, BAD = RunKey(PROJECT, "good"), RunKey(PROJECT, "bad")
NO_MAPPING = ProjectMapping()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    runs = (RunData("bad", tuple(curve("m/bad", 5))), RunData("good", tuple(curve("m/good", 5))))
    return build(tmp_path, DataSet("two", runs))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    yield wandb_backend.account(tmp_path)
    wandb_backend.server().forget(account_key(tmp_path))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Those of the stand-in; what is tried is tried twice."""
    monkeypatch.setattr(connection, "_ATTEMPTS", 2)
    server = wandb_backend.server()
    yield server.faults
    server.faults.clear()


def test_a_key_that_is_refused(tmp_path: Path) -> None:
    target = wandb_backend.make(tmp_path, api_key="0" * 40)
    with pytest.raises(TargetRefusedError, match=r"refuses the API key .*Set WANDB_API_KEY") as e:
        target.check()
    assert "0" * 40 not in str(e.value)


def test_no_key_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    target = wandb_backend.make(tmp_path, api_key="")
    with pytest.raises(MissingSettingError, match=r"WANDB_API_KEY is not set.*wandb login"):
        target.check()


def test_the_key_that_a_login_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = wandb_backend.server().url.removeprefix("http://")
    entry = f"machine {host}\n  login user\n  password {account_key(tmp_path)}\n"
    (tmp_path / "netrc").write_text(entry)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb_backend.make(tmp_path, api_key="").check()


def test_an_entity_that_there_is_not(tmp_path: Path, archive: Archive) -> None:
    target = wandb_backend.make(tmp_path, entity="strangers")
    with pytest.raises(TargetRefusedError, match=r"entity strangers.*Correct WANDB_ENTITY"):
        load_all(target, archive)


def test_a_limit_of_projects(tmp_path: Path, archive: Archive, account: Account) -> None:
    account.rules.most_projects = 0
    result = load_all(wandb_backend.make(tmp_path), archive)
    for run in result.runs:
        assert isinstance(run.error, TargetRefusedError)
        assert "takes no more for" in str(run.error)
        assert "Set WANDB_ENTITY to a team whose plan has room" in str(run.error)
    account.rules.most_projects = 1
    assert all(run.good for run in load_all(wandb_backend.make(tmp_path), archive).runs)


def test_what_is_rejected_fails_its_run_alone(
    tmp_path: Path, archive: Archive, account: Account
) -> None:
    account.rules.refuse_lines = lambda line: "m/bad" in line
    target = wandb_backend.make(tmp_path)
    errors = {run.key: run.error for run in load_all(target, archive).runs}
    assert errors[GOOD] is None
    assert isinstance(errors[BAD], TargetRefusedError)
    assert "refuses what was sent (status 400: invalid history line)" in str(errors[BAD])
    assert target.find(BAD, NO_MAPPING).state is LoadState.PARTIAL
    account.rules.refuse_lines = None
    assert [(run.key, run.good) for run in load_all(target, archive).runs] == [(BAD, True)]


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"WANDB_BASE_URL: .*Give an address"):
        assert WandbConfig(base_url="wandb.example.com").url


def test_a_service_that_answers_html(tmp_path: Path, faults: Any) -> None:
    page = {"content": b"<html>sign in</html>", "content_type": "text/html"}
    faults.add(Fault("/graphql", status=200, **page))
    with pytest.raises(TargetRefusedError, match=r"is not W&B \(status 200, text/html\)"):
        wandb_backend.make(tmp_path).check()
    faults.clear()
    faults.add(Fault("/graphql", status=404, **page))
    with pytest.raises(TargetRefusedError, match=r"is not W&B .*Correct WANDB_BASE_URL"):
        wandb_backend.make(tmp_path).check()


@pytest.mark.timeout(60)
def test_a_connection_that_hangs(tmp_path: Path, archive: Archive, faults: Any) -> None:
    faults.add(Fault("/file_stream", latency=300))
    result = load_all(wandb_backend.make(tmp_path, timeout=0.3), archive)
    for run in result.runs:
        assert isinstance(run.error, TargetUnavailableError)
        assert "ReadTimeout" in str(run.error)


def test_a_server_that_is_gone(tmp_path: Path, faults: Any) -> None:
    target = wandb_backend.make(tmp_path, base_url="http://127.0.0.1:9")
    with pytest.raises(TargetUnavailableError, match="cannot be reached"):
        target.check()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("", status=503, times=1),
        Fault("", status=502, content=b"<html>", content_type="text/html", times=1),
        Fault("", reset=True, times=1),
        Fault("/storage/", truncate=0.5, times=1),
        Fault("/storage/", method="PUT", status=503, times=1),
        Fault("/storage/", method="PUT", reset=True, times=1),
    ],
    ids=["503", "502", "reset", "cut", "upload 503", "upload reset"],
)
def test_what_passes_is_waited_for(
    tmp_path: Path, archive: Archive, faults: Any, fault: Fault
) -> None:
    faults.add(fault)
    assert all(run.good for run in load_all(wandb_backend.make(tmp_path), archive).runs)


def test_a_limit_of_requests_is_kept(tmp_path: Path, archive: Archive, account: Account) -> None:
    """As RateLimit-Reset says, without a refusal to the user."""
    account.rules.filestream_a_second = 2
    assert all(run.good for run in load_all(wandb_backend.make(tmp_path), archive).runs)


def test_retry_after_is_kept(tmp_path: Path, archive: Archive, faults: Any) -> None:
    faults.add(Fault("/file_stream", status=429, retry_after=0.4, times=1))
    assert all(run.good for run in load_all(wandb_backend.make(tmp_path), archive).runs)
    assert faults.violations == []


def test_a_wait_that_is_too_long_is_named(tmp_path: Path, faults: Any) -> None:
    faults.add(Fault("/graphql", status=429, retry_after=3600))
    with pytest.raises(TargetUnavailableError, match="status 429"):
        wandb_backend.make(tmp_path).check()


def test_a_deleted_run_is_loaded_under_another_id(
    tmp_path: Path, archive: Archive, account: Account
) -> None:
    target = wandb_backend.make(tmp_path)
    load_all(target, archive)
    (first,) = target.find(GOOD, NO_MAPPING).ids
    for attempt in (2, 3):
        target.discard(GOOD, NO_MAPPING)
        burnt = _answered(409)
        assert [(run.key, run.good) for run in load_all(target, archive).runs] == [(GOOD, True)]
        # Each id that is gone is asked for once; the SDK repeats that for 90 seconds.
        assert _answered(409) - burnt == attempt - 1
        assert target.find(GOOD, NO_MAPPING).ids == (f"{first}-{attempt}",)


def _answered(status: int) -> int:
    return wandb_backend.server().traffic.statuses[status]


def test_addresses_of_files_that_ran_out_are_asked_for_again(
    tmp_path: Path, archive: Archive, faults: Any
) -> None:
    target = wandb_backend.make(tmp_path)
    faults.add(Fault("/storage/", method="GET", status=403, content=b"<Error/>", times=1))
    assert all(run.good for run in load_all(target, archive).runs)


def test_secrets_stay_secret(tmp_path: Path, archive: Archive, faults: Any) -> None:
    """A service that quotes the key in its answer does not get it into a message."""
    key = account_key(tmp_path)
    said = json.dumps({"errors": [{"message": f"no such key: {key}"}]}).encode()
    target = wandb_backend.make(tmp_path)
    for status in (400, 401, 403, 404, 500):
        faults.clear()
        faults.add(Fault("/graphql", status=status, content=said))
        with pytest.raises((TargetRefusedError, TargetUnavailableError)) as error:
            target.check()
        assert "no such key: ***" in str(error.value)
        assert key not in str(error.value) + repr(target._config)


def test_signed_addresses_of_files_stay_secret(
    tmp_path: Path, archive: Archive, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has one may write the file; the store for files is another service than W&B."""
    monkeypatch.setattr(connection, "_ATTEMPTS", 1)
    signed = "http://127.0.0.1:9/bucket/file?X-Amz-Signature=53cr3t"
    monkeypatch.setattr(File, "uploadUrl", signed)
    for run in load_all(wandb_backend.make(tmp_path), archive).runs:
        assert isinstance(run.error, TargetUnavailableError)
        assert "/bucket/file?…" in str(run.error)
        assert "53cr3t" not in str(run.error)


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_the_store_for_files_is_not_taken_for_wandb(
    tmp_path: Path, archive: Archive, faults: Any, status: int
) -> None:
    said = {"content": b"<Error><Code>EntityTooLarge</Code></Error>"}
    faults.add(Fault("/storage/", "PUT", status=status, content_type="application/xml", **said))
    for run in load_all(wandb_backend.make(tmp_path), archive).runs:
        assert isinstance(run.error, TargetRefusedError)
        assert f"store for files of W&B at {wandb_backend.server().url} refuses" in str(run.error)
        assert "EntityTooLarge" in str(run.error)


def test_a_run_that_changes_on_the_way_is_begun_anew(
    tmp_path: Path, archive: Archive, account: Account
) -> None:
    """Rows that are there are compared with those that would be sent."""
    target = wandb_backend.make(tmp_path)
    account.rules.refuse_lines = lambda line: True
    load_all(target, archive)
    (run,) = [r for r in account.projects["team_project"].of.values() if r.displayName == "good"]
    run.lines = ['{"_step":0,"_timestamp":1,"neptune_step":0,"m/good":123.0}']
    account.rules.refuse_lines = None
    assert all(one.good for one in load_all(target, archive).runs)
    assert target.find(GOOD, NO_MAPPING).ids == (f"{run.name}-2",)
    assert target.find(BAD, NO_MAPPING).ids[0].count("-") == 1


def test_what_is_there_is_not_sent_again(
    tmp_path: Path, archive: Archive, account: Account
) -> None:
    key = write_run(archive, RunData("long", tuple(curve("m/long", 50))))
    target = wandb_backend.make(tmp_path)
    load_all(target, archive)
    project = account.projects["team_project"]
    run = project.of[target.find(key, NO_MAPPING).ids[0]]
    config = json.loads(run.config)
    config["neptune"]["value"]["state"] = "loading"
    del config["neptune"]["value"]["verified"]
    run.config, whole = json.dumps(config), list(run.lines)
    del run.lines[30:]
    server = wandb_backend.server()
    server.recorder.on = True
    try:
        assert [(one.key, one.good) for one in load_all(target, archive).runs] == [(key, True)]
        sent = [one.json for one in server.recorder.of("file_stream") if run.name in one.path]
    finally:
        server.recorder.on = False
        server.recorder.requests.clear()
    history = [one["files"]["wandb-history.jsonl"] for one in sent if "complete" not in one]
    assert [(part["offset"], part["content"]) for part in history] == [(30, whole[30:])]
    assert run.lines == whole
