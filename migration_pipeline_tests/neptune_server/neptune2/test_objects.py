"""Runs, models, model versions and projects: ids, attributes from birth, whether they run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import neptune
import pytest
from neptune.common.exceptions import ClientHttpError
from neptune.exceptions import (
    MetadataContainerNotFound,
    MetadataInconsistency,
    NeptuneModelKeyAlreadyExistsError,
)
from neptune.internal.backends.hosted_neptune_backend import HostedNeptuneBackend
from neptune.internal.credentials import Credentials

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.neptune2.creation import create_run, metadata
from migration_pipeline_tests.neptune_server.conftest import Api

from .clients import PROJECT, open_run
from .looking import attributes, execute, options, search

EVERY = {
    "creation_time",
    "group_tags",
    "id",
    "modification_time",
    "monitoring_time",
    "ping_time",
    "running_time",
    "size",
    "state",
    "tags",
}
OWNED = EVERY | {"owner", "failed", "trashed"}


def system(server: RunningServer, object_id: str) -> set[str]:
    names = attributes(server, object_id)
    return {name.removeprefix("sys/") for name in names if name.startswith("sys/")}


def test_each_kind_is_born_with_the_attributes_of_its_own(server: RunningServer) -> None:
    with open_run(server, custom_run_id="mine"):
        pass
    with neptune.init_model(key="NET", **options(server)):
        pass
    with neptune.init_model_version(model="TAB-NET", **options(server)):
        pass
    with neptune.init_project(**options(server)):
        pass
    # The client itself writes a name and, for a run, a description.
    assert system(server, "TAB-1") == OWNED | {"custom_run_id", "name", "description"}
    assert system(server, "TAB-NET") == OWNED | {"name"}
    assert system(server, "TAB-NET-1") == OWNED | {"model_id", "stage"}
    assert system(server, "TAB") == EVERY | {"name", "visibility"}
    version = attributes(server, "TAB-NET-1")
    assert version["sys/model_id"]["value"] == "TAB-NET"
    assert version["sys/stage"]["value"] == "none"
    assert version["sys/owner"]["value"] == "owner"
    assert attributes(server, "TAB")["sys/name"]["value"] == "tabular"


def test_ids_count_from_one_for_each_project_and_model(server: RunningServer) -> None:
    server.store.project("acme/other", key="OTH", version=2)
    ids = []
    for project in (PROJECT, PROJECT, "acme/other"):
        with open_run(server, project=project) as run:
            ids.append(run["sys/id"].fetch())
    for key in ("A", "B"):
        with neptune.init_model(key=key, **options(server)):
            pass
    for model in ("TAB-A", "TAB-A", "TAB-B"):
        with neptune.init_model_version(model=model, **options(server)) as version:
            ids.append(version["sys/id"].fetch())
    with neptune.init_model(key="A", **options(server, project="acme/other")) as model:
        ids.append(model["sys/id"].fetch())
    assert ids == ["TAB-1", "TAB-2", "OTH-1", "TAB-A-1", "TAB-A-2", "TAB-B-1", "OTH-A"]


def test_a_models_key_is_given_once(server: RunningServer) -> None:
    with (
        neptune.init_model(key="NET", **options(server)),
        pytest.raises(NeptuneModelKeyAlreadyExistsError),
    ):
        neptune.init_model(key="NET", **options(server))
    with pytest.raises(ClientHttpError, match="capital letters"):
        neptune.init_model(key="no good", **options(server))


def test_the_same_custom_id_is_the_same_run(server: RunningServer) -> None:
    seen = []
    for custom_id in ("mine", "other", "mine"):
        with open_run(server, custom_run_id=custom_id) as run:
            seen.append((run["sys/id"].fetch(), run["sys/creation_time"].fetch()))
    assert [id_ for id_, _ in seen] == ["TAB-1", "TAB-2", "TAB-1"]
    assert seen[0][1] == seen[2][1]


def test_a_custom_id_may_look_like_another_runs_id(server: RunningServer) -> None:
    with open_run(server), open_run(server, custom_run_id="TAB-1") as second:
        assert second["sys/id"].fetch() == "TAB-2"
    with open_run(server, custom_run_id="TAB-1") as again:
        assert again["sys/id"].fetch() == "TAB-2"


def test_what_is_missing_or_of_another_kind_is_said_to_be(server: RunningServer) -> None:
    with neptune.init_model(key="NET", **options(server)):
        pass
    for missing in ("TAB-99", "TAB-NET"):
        with pytest.raises(MetadataContainerNotFound):
            neptune.init_run(with_id=missing, **options(server, mode="read-only"))
    with pytest.raises(MetadataContainerNotFound):
        neptune.init_model_version(model="TAB-NO", **options(server))


def test_the_state_follows_the_pings(server: RunningServer) -> None:
    now = [1_700_000_000_000]
    server.store.clock = lambda: now[0]
    with open_run(server) as run:
        states = []
        for passed in (0, 10_000, 29_999, 30_000):
            now[0] = 1_700_000_000_000 + passed
            states.append(attributes(server, "TAB-1")["sys/state"]["value"])
        assert states == ["running", "running", "running", "idle"]
        run.ping()
        now[0] += 10_000
        run.ping()
        found = attributes(server, "TAB-1")
    assert found["sys/state"]["value"] == "running"
    assert found["sys/running_time"]["value"] == 10.0
    assert found["sys/ping_time"]["value"] == "2023-11-14T22:14:00.000Z"


def test_stages_follow_each_other_in_any_order(server: RunningServer) -> None:
    with neptune.init_model(key="NET", **options(server)):
        pass
    with neptune.init_model_version(model="TAB-NET", **options(server)) as version:
        for stage in ("production", "staging", "none", "archived", "production"):
            version.change_stage(stage)
            assert attributes(server, "TAB-NET-1")["sys/stage"]["value"] == stage
        [refused] = execute(
            server, "TAB-NET-1", ("sys/stage", "assignString", {"value": "shelved"})
        )
    assert refused == "'shelved' is not a stage: none, staging, production, archived"
    assert attributes(server, "TAB-NET-1")["sys/stage"]["value"] == "production"


def test_what_the_server_writes_itself_nobody_else_writes(server: RunningServer) -> None:
    with open_run(server) as run:
        with pytest.raises(MetadataInconsistency, match="server alone"):
            run["sys/owner"] = "somebody"
        with pytest.raises(MetadataInconsistency, match="cannot be deleted"):
            del run["sys/id"]
    found = attributes(server, "TAB-1")
    assert (found["sys/id"]["value"], found["sys/owner"]["value"]) == ("TAB-1", "owner")


def test_a_run_that_an_exception_ends_has_failed_and_says_why(server: RunningServer) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_run(server, capture_traceback=True, monitoring_namespace="monitoring/x"),
    ):
        _ = 1 / 0
    found = attributes(server, "TAB-1")
    assert found["sys/failed"]["value"] is True
    assert found["monitoring/x/traceback"]["last"] == "division by zero"


def test_git_is_a_reference(server: RunningServer, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(tmp_path)]
    for words in (["init", "-q", "-b", "trunk"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    with open_run(server, git_ref=neptune.types.GitRef(repository_path=tmp_path)):
        pass
    said = attributes(server, "TAB-1")["source_code/git"]
    assert said["attributeType"] == "gitRef"
    assert said["commit"]["commitId"] == head.stdout.strip()
    assert (said["commit"]["authorName"], said["currentBranch"]) == ("Ada", "trunk")
    assert (said["repositoryDirty"], said["remotes"]) == (False, [])


def test_a_notebook_is_a_reference(server: RunningServer) -> None:
    backend = HostedNeptuneBackend(Credentials.from_token(server.token))
    notebook = "1c1c1c1c-0000-4000-8000-000000000000"
    checkpoint = backend.create_checkpoint(notebook, "work/study.ipynb")
    project = backend.get_project(PROJECT)
    backend.create_run(project.id, notebook_id=notebook, checkpoint_id=checkpoint)
    assert attributes(server, "TAB-1")["source_code/notebook"] == {
        "attributeName": "source_code/notebook",
        "attributeType": "notebookRef",
        "notebookId": notebook,
        "notebookName": "work/study.ipynb",
        "checkpointId": checkpoint,
    }


def test_the_older_api_finds_its_runs(server: RunningServer) -> None:
    """It creates without a type, and reads `systemAttributes`."""
    api = Api(server)
    params = {"projectIdentifier": PROJECT, "parentId": "", "cliVersion": "0.16"}
    made = api.post("/experiments", params).json()
    assert (made["type"], made["shortId"], made["trashed"]) == ("run", "TAB-1", False)
    assert made["projectId"] == made["parentId"] == server.store.projects[PROJECT].uuid
    tags = [{"path": "sys/tags", "insertStrings": {"values": ["b", "a"]}}]
    assert api.post("/attributes/operations", tags, experimentId=made["id"]).json() == []
    listed = api.http.get("/api/leaderboard/v1/attributes", params={"experimentId": made["id"]})
    said = listed.json()["systemAttributes"]
    assert said["shortId"] == {"value": "TAB-1"}
    assert said["owner"] == {"value": "owner"}
    assert said["tags"] == {"values": ["b", "a"]}
    assert said["size"] == said["runningTime"] == {"value": 0.0}
    assert said["state"] == {"value": "idle"}
    assert "hostname" not in said


def test_a_server_without_a_model_registry_says_so(server: RunningServer) -> None:
    server.store.model_registry = False
    with pytest.raises(ClientHttpError, match="MODEL_REGISTRY_NOT_AVAILABLE"):
        neptune.init_model(key="NET", **options(server))
    answer = search(server, kind="modelVersion")
    assert (answer.status_code, answer.json()["errorType"]) == (400, "MODEL_REGISTRY_NOT_AVAILABLE")
    with open_run(server) as run:
        assert run["sys/id"].fetch() == "TAB-1"


def test_a_script_makes_the_same_objects(server: RunningServer) -> None:
    project = server.store.projects[PROJECT]
    run = create_run(project, "mine", created=5)
    assert (run.sys_id, run.run_id) == ("TAB-1", "mine")
    with pytest.raises(ValueError, match="already has a run 'mine'"):
        create_run(project, "mine")
    with open_run(server, custom_run_id="mine") as again:
        assert again["sys/id"].fetch() == "TAB-1"
        assert again["sys/creation_time"].fetch().timestamp() == 0.005
    assert metadata(project) is metadata(project)
    assert metadata(project).uuid == project.uuid
