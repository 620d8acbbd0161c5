"""What a server of Neptune 2.x shows of runs that were loaded, and which projects they get."""

from __future__ import annotations

import base64
import gc
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_pipeline import plain_http
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import (
    ConfigError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2.creation import create_run
from migration_pipeline.neptune_server.store import Project, Run
from migration_pipeline.targets import registry
from migration_pipeline.targets.loading import LoadResult, load_runs, plan_load
from migration_pipeline.targets.neptune.client import NeptuneTarget
from migration_pipeline.targets.neptune.config import NeptuneConfig
from migration_pipeline.targets.neptune.naming import project_name
from migration_pipeline.targets.neptune2.naming import custom_id
from migration_pipeline.targets.target import LoadState, Target
from migration_pipeline_tests.contract.disturbing import in_another_process
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    param,
)
from migration_pipeline_tests.over_http import over_http
from migration_pipeline_tests.servers.neptune import Neptune, token_of
from migration_pipeline_tests.servers.standin import account_key, start
from migration_pipeline_tests.targets.neptune_backend import (
    configuration,
    make,
    projects,
    server,
)

NO_MAPPING = ProjectMapping()
KEY = RunKey(PROJECT, "RUN-1")
ODD = (math.nan, math.inf, -math.inf, -0.0, 1.5)
ROWS = (
    *floats("m/a", [(str(i), START + i, value) for i, value in enumerate(ODD)]),
    *(param(f"p/{i}", "float", value) for i, value in enumerate(ODD)),
    Row("log", "string_series", "short", "0", START),
    Row("log", "string_series", "x" * 1_001, "1", START + 1),
    Row("tables", "file_series", b"a,b", "1", START, extension=".csv"),
    Row("model/weights", "file", b"\x80", extension=".pkl"),
)
CREATE = Fault(r"/api/backend/v1/projects$", method="POST")


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    server().faults.clear()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))


def load(target: Target, archive: Archive) -> LoadResult:
    result = LoadResult()
    for name in archive.projects():
        plan = plan_load(target, archive, name)
        result.runs += load_runs(target, archive, plan.mapping, plan.due, parallel=1).runs
    return result


def loaded(target: Target, archive: Archive) -> LoadResult:
    result = load(target, archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    return result


def failed(target: Target, archive: Archive) -> str:
    """What is said of the one run."""
    [(_, error)] = load(target, archive).failures
    assert isinstance(error, TargetRefusedError)
    return str(error)


# --- projects ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "prefix", "name"),
    [
        ("acme/vision", "", "vision"),
        ("acme/example_project", "", "example-project"),
        ("acme/my project.v2", "try_1", "try-1-my-project.v2"),
        ("no slash_at-all", "", "no-slash-at-all"),
        ("acme/größe", "", "gr--e-a0f6c858"),
        ("acme/日本", "", "project-ce47dfba"),
        ("acme/" + "x" * 90, "", "x" * 71 + "-47c11cec"),
    ],
)
def test_names_of_projects(given: str, prefix: str, name: str) -> None:
    assert project_name(given, ProjectMapping(name_prefix=prefix)) == name


def test_a_project_for_each_project(tmp_path: Path) -> None:
    names = ("acme/a_b", "acme/vision", "other/vision")
    runs = tuple(RunData("RUN-1", tuple(curve(f"m/{n[0]}", 3)), project=n) for n in names)
    archive = build(tmp_path, DataSet("three", runs))
    result = loaded(make(tmp_path), archive)
    made = projects(tmp_path)
    assert {name: len(project.runs) for name, project in made.items()} == {"a-b": 1, "vision": 2}
    assert {
        run.attributes["import/original_project_id"].value for run in made["vision"].runs.values()
    } == {"acme/vision", "other/vision"}
    assert {project.visibility for project in made.values()} == {"priv"}
    assert made["a-b"].description == "Runs of acme/a_b, put here by migration_pipeline"
    assert made["a-b"].version == 2
    assert result.runs[0].url == (
        f"{server().url}/{account_key(tmp_path)}/a-b/e/{next(iter(made['a-b'].runs))}"
    )
    assert loaded(make(tmp_path), archive).runs == []


def test_a_project_that_is_there_is_taken(tmp_path: Path, archive: Archive) -> None:
    place = f"{account_key(tmp_path)}/project"
    mine = server().store.project(place, version=2)
    mine.description = "by hand"
    create_run(mine, "somebody-elses")
    loaded(make(tmp_path), archive)
    assert projects(tmp_path) == {"project": mine}
    assert (len(mine.runs), mine.description) == (2, "by hand")


def test_a_project_of_the_other_protocol_is_refused(tmp_path: Path, archive: Archive) -> None:
    server().store.project(f"{account_key(tmp_path)}/project", version=3)
    with pytest.raises(TargetRefusedError, match=r"not of the protocol of Neptune 2\.x") as raised:
        load(make(tmp_path), archive)
    assert "set MIGRATION_NEPTUNE_WORKSPACE to another workspace" in str(raised.value)


@pytest.mark.parametrize("ask", ["check", "runs", "find"])
def test_a_workspace_that_is_not_there(tmp_path: Path, ask: str) -> None:
    target = NeptuneTarget(configuration(tmp_path, workspace="nowhere"))
    calls: dict[str, Any] = {
        "check": target.check,
        "runs": lambda: target.runs(PROJECT, NO_MAPPING),
        "find": lambda: target.find(KEY, NO_MAPPING),
    }
    with pytest.raises(TargetRefusedError, match="no workspace 'nowhere' for the token") as raised:
        calls[ask]()
    assert "Set MIGRATION_NEPTUNE_WORKSPACE to one of: acc" in str(raised.value)


def test_the_only_workspace_needs_no_name() -> None:
    own = start(Neptune())
    target = NeptuneTarget(NeptuneConfig(api_token=SecretStr(own.token), retry_seconds=0.3))
    with pytest.raises(TargetRefusedError, match=r"user has 0 workspaces at .* one of: none there"):
        target.check()
    assert own.accounts
    own.accounts.add_workspace("acme")
    target.check()
    assert target.address == f"{own.url}/acme"
    assert target.find(KEY, NO_MAPPING).state is LoadState.ABSENT
    assert own.store.projects == {}
    own.accounts.add_workspace("beta")
    with pytest.raises(TargetRefusedError, match=r"user has 2 workspaces at .* of: acme, beta"):
        target.check()


def test_without_the_right_to_make_projects(tmp_path: Path, archive: Archive) -> None:
    content = json.dumps({"errorType": "ACCESS_DENIED", "title": "no"}).encode()
    server().faults.add(Fault(CREATE.path, method="POST", status=403, content=content))
    message = failed(make(tmp_path), archive)
    place = f"{account_key(tmp_path)}/project"
    assert f"project {place} at {server().url}: its user has no right to create it" in message
    assert f"create {place} by hand" in message


def test_a_limit_of_projects(tmp_path: Path, archive: Archive) -> None:
    make(tmp_path)
    accounts = server().accounts
    assert accounts
    accounts.add_workspace(account_key(tmp_path)).project_limit = 0
    message = failed(make(tmp_path), archive)
    assert "the limit of projects is reached, and so nobody may create it" in message
    assert "Raise the limit, archive other projects, or set MIGRATION_NEPTUNE_WORKSPACE" in message


def test_a_workspace_with_its_own_visibilities(tmp_path: Path, archive: Archive) -> None:
    make(tmp_path)
    accounts = server().accounts
    assert accounts
    accounts.add_workspace(account_key(tmp_path)).visibilities = ("workspace",)
    message = failed(make(tmp_path), archive)
    assert "the workspace has no projects of visibility 'priv': create it" in message
    assert "Set MIGRATION_NEPTUNE_VISIBILITY to another one" in message
    loaded(NeptuneTarget(configuration(tmp_path, visibility="workspace")), archive)
    assert projects(tmp_path)["project"].visibility == "workspace"


@pytest.mark.parametrize("how", [{"reset": True}, {"truncate": 0.0}, {"status": 502}])
def test_an_answer_that_is_lost_makes_one_project(
    tmp_path: Path, archive: Archive, how: dict[str, Any]
) -> None:
    server().faults.add(Fault(CREATE.path, method="POST", times=1, **how))
    target = NeptuneTarget(configuration(tmp_path, retry_seconds=20.0))
    loaded(target, archive)
    assert list(projects(tmp_path)) == ["project"]


def test_a_project_that_cannot_be_seen(tmp_path: Path, archive: Archive) -> None:
    content = json.dumps({"errorType": "PROJECT_NAME_COLLISION", "title": "exists"}).encode()
    server().faults.add(Fault(CREATE.path, method="POST", status=409, content=content))
    message = failed(make(tmp_path), archive)
    assert "is there, and the token's user may not see it" in message
    assert "MIGRATION_NAME_PREFIX" in message


def test_runs_do_not_go_where_they_came_from(tmp_path: Path) -> None:
    place = f"{account_key(tmp_path)}/vision"
    source = server().store.project(place, version=2)
    run = create_run(source, created=START)
    make(tmp_path)
    rows = (param("sys/id", "string", run.sys_id), param("p", "int", 1))
    archive = build(tmp_path, DataSet("one", (RunData(run.sys_id, rows, project=place),)))
    message = failed(make(tmp_path), archive)
    assert f"run {place}" in message
    assert "would go to" in message
    assert "where it came from" in message
    assert list(source.runs) == [run.sys_id]
    assert "p" not in run.attributes

    run.set("sys/creation_time", "datetime", START + 1)  # another run that is called the same
    loaded(make(tmp_path), archive)
    assert len(source.runs) == 2


# --- what is there ----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, archive: Archive) -> Run:
    loaded(make(tmp_path), archive)
    [found] = only(tmp_path).runs.values()
    return found


def only(folder: Path) -> Project:
    [project] = projects(folder).values()
    return project


def test_what_the_client_would_not_send_is_beside(run: Run) -> None:
    """Of Neptune's own client come neither NaN nor infinities, nor long lines, nor other files in a
    series than images."""
    series = run.attributes["m/a"].value
    assert series.steps.tolist() == [3.0, 4.0]
    assert repr(series.values.tolist()) == "[-0.0, 1.5]"
    parameters = [(run.attributes[f"p/{i}"].type, run.attributes[f"p/{i}"].value) for i in range(5)]
    texts = [("string", text) for text in ("nan", "inf", "-inf")]
    assert repr(parameters) == repr([*texts, ("float", -0.0), ("float", 1.5)])
    assert run.attributes["log"].value.values == ["short"]
    assert "tables" not in run.attributes
    assert {path for path, one in run.attributes.items() if one.type == "file"} >= {
        "model/weights",
        "import/neptune/points.jsonl",
    }
    assert run.run_id == custom_id(KEY, NO_MAPPING)


def test_the_client_reads_what_was_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import neptune

    monkeypatch.chdir(tmp_path)
    with (
        over_http(),
        neptune.init_run(
            project=run.project.identifier,
            api_token=server().token,
            with_id=run.sys_id,
            mode="read-only",
        ) as found,
    ):
        assert found["sys/tags"].fetch() == {"one", "two, three"}
        assert found["p/4"].fetch() == 1.5
        points = found["m/a"].fetch_values(include_timestamp=False)
        assert points["step"].tolist() == [3.0, 4.0]
        assert found["log"].fetch_values(include_timestamp=False)["value"].tolist() == ["short"]
        found["model/weights"].download(str(tmp_path))
    assert (tmp_path / "weights.pkl").read_bytes() == b"\x80"


# --- settings ---------------------------------------------------------------------------------


def test_the_settings_of_the_source_are_not_used(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEPTUNE_API_TOKEN", token_of("http://127.0.0.1:9"))
    monkeypatch.setenv("NEPTUNE_PROJECT", "the/source")
    with pytest.raises(MissingSettingError, match="MIGRATION_NEPTUNE_API_TOKEN is not set"):
        registry.open_target("neptune")
    monkeypatch.setenv("MIGRATION_NEPTUNE_API_TOKEN", server().token)
    monkeypatch.setenv("MIGRATION_NEPTUNE_WORKSPACE", configuration(tmp_path).workspace)
    loaded(registry.open_target("neptune"), archive)
    assert list(projects(tmp_path)) == ["project"]


def test_the_server_says_where_its_api_and_pages_are(tmp_path: Path) -> None:
    """The first address is only asked for these, as the client has it."""
    configuration(tmp_path)
    elsewhere = start(Neptune())
    said = {
        "apiUrl": server().url,
        "applicationUrl": "https://pages.example/",
        "pyLibVersions": None,
        "artifacts": {"enabled": True, "apiVersion": 2},
        "multiPartUpload": {"enabled": False},
    }
    elsewhere.faults.add(Fault("clients/config", status=200, content=json.dumps(said).encode()))
    elsewhere.auth._keys = server().auth._keys  # type: ignore[union-attr]
    elsewhere.auth._secret = server().auth._secret  # type: ignore[union-attr]
    config = configuration(tmp_path).model_copy(update={"api_token": SecretStr(elsewhere.token)})
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    [run] = loaded(NeptuneTarget(config), archive).runs
    assert run.url.startswith(f"https://pages.example/{account_key(tmp_path)}/project/e/")
    assert list(projects(tmp_path)) == ["project"]
    assert elsewhere.store.projects == {}


def test_a_server_for_newer_clients(tmp_path: Path) -> None:
    versions = {"minCompatibleVersion": "99.0.0"}
    said = {"apiUrl": server().url, "applicationUrl": server().url, "pyLibVersions": versions}
    server().faults.add(Fault("clients/config", status=200, content=json.dumps(said).encode()))
    with pytest.raises(ConfigError, match=r"does not take this client: .*99\.0\.0"):
        NeptuneTarget(configuration(tmp_path)).check()


def test_a_token_that_nobody_has(tmp_path: Path) -> None:
    content = {"api_address": server().url, "api_url": server().url, "api_key": "c4n4ry"}
    token = base64.b64encode(json.dumps(content).encode()).decode()
    config = configuration(tmp_path).model_copy(update={"api_token": SecretStr(token)})
    with pytest.raises(TargetRefusedError, match="does not accept the token") as raised:
        NeptuneTarget(config).check()
    assert "Set MIGRATION_NEPTUNE_API_TOKEN" in str(raised.value)
    assert token not in f"{raised.value} {config!r}"


def test_a_server_that_does_not_recover(tmp_path: Path, archive: Archive) -> None:
    target = make(tmp_path)
    server().faults.unavailable(503, path="projects")
    with pytest.raises(TargetUnavailableError, match=r"target neptune at http://127.*answered 503"):
        load(target, archive)


def test_plain_http_is_allowed_while_it_is_used(tmp_path: Path) -> None:
    """In a process of its own: other sessions of this one last."""
    config = configuration(tmp_path)

    def used() -> str:
        seen = []
        gc.collect()  # what the tests before have left
        plain_http._passes = 0

        def see() -> None:
            gc.collect()
            seen.append(os.environ.get(plain_http.VARIABLE))

        for before in (None, "0"):
            os.environ.pop(plain_http.VARIABLE, None)
            if before:
                os.environ[plain_http.VARIABLE] = before
            https = plain_http.Pass("https://neptune.example")
            target = NeptuneTarget(config)
            see()
            target.check()
            see()
            other = plain_http.Pass("http://10.0.0.1")
            del https, target
            see()
            del other
            see()
        return repr(seen)

    expected = [None, "1", "1", None, "0", "1", "1", "0"]
    assert in_another_process(used) == repr(expected)
