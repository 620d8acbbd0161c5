"""The trash, through the management functions: object by object, models with their versions."""

from __future__ import annotations

import logging
from typing import Any

import neptune
import pytest
from neptune import management
from neptune.management.exceptions import ProjectNotFound

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.neptune2.creation import (
    create_model,
    create_model_version,
    create_run,
    metadata,
)
from migration_pipeline.neptune_server.store import Project
from migration_pipeline_tests.neptune_server.conftest import Api

from .clients import PROJECT, open_run
from .looking import attributes, options


@pytest.fixture
def project(server: RunningServer) -> Project:
    """Two runs, a model with two versions, another without."""
    project = server.store.projects[PROJECT]
    create_run(project)
    create_run(project)
    model = create_model(project, "NET")
    create_model(project, "TREE")
    create_model_version(model)
    create_model_version(model)
    return project


def trashed(project: Project) -> set[str]:
    return {
        sys_id
        for sys_id, run in project.runs.items()
        if (mark := run.attributes.get("sys/trashed")) is not None and mark.value
    }


def send(server: RunningServer, path: str, *sys_ids: str) -> dict[str, Any]:
    names = [f"{PROJECT}/{sys_id}" for sys_id in sys_ids]
    answer = Api(server).post(f"/experiments/{path}", names, projectIdentifier=PROJECT)
    assert answer.status_code == 200
    parsed: dict[str, Any] = answer.json()
    return parsed


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    return {
        error["experimentIdentifier"].rsplit("/", 1)[-1]: error["reason"]
        for error in answer["errors"]
    }


def test_a_model_takes_its_versions_along(server: RunningServer, project: Project) -> None:
    management.trash_objects(PROJECT, ["TAB-1", "TAB-NET"], api_token=server.token)
    assert trashed(project) == {"TAB-1", "TAB-NET", "TAB-NET-1", "TAB-NET-2"}
    read_only = options(server, mode="read-only")
    with neptune.init_project(**read_only) as opened:
        table = opened.fetch_runs_table(columns=[], progress_bar=False, sort_by="sys/id")
        assert list(table.to_pandas()["sys/id"]) == ["TAB-2"]
        table = opened.fetch_models_table(columns=[], progress_bar=False, sort_by="sys/id")
        assert list(table.to_pandas()["sys/id"]) == ["TAB-TREE"]
    with neptune.init_model(with_id="TAB-NET", **read_only) as model:
        versions = model.fetch_model_versions_table(progress_bar=False, sort_by="sys/id")
        assert len(versions.to_pandas()) == 0
    with open_run(server, with_id="TAB-1", mode="read-only") as run:
        assert run["sys/trashed"].fetch() is True


def test_each_failure_is_told_and_the_others_succeed(
    server: RunningServer, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    metadata(project)
    answer = send(server, "trash", "TAB-1", "TAB-9", "TAB-1", "TAB", "TAB-2")
    assert reasons(answer) == {
        "TAB-9": "NOT_EXISTS",
        "TAB-1": "ALREADY_TRASHED",
        "TAB": "IS_PROJECT",
    }
    assert answer["updatedExperimentIdentifiers"] == [f"{PROJECT}/TAB-1", f"{PROJECT}/TAB-2"]
    with caplog.at_level(logging.INFO, logger="neptune"):
        management.trash_objects(PROJECT, ["TAB-1", "TAB-NET-1"], api_token=server.token)
    assert "Successfully trashed objects: 1. Number of failures: 1." in caplog.text
    assert trashed(project) == {"TAB-1", "TAB-2", "TAB-NET-1"}


def test_only_what_is_in_the_trash_is_deleted(server: RunningServer, project: Project) -> None:
    send(server, "trash", "TAB-1", "TAB-NET")
    answer = send(server, "trash/delete", "TAB-1", "TAB-2", "TAB-TREE", "TAB-NET-1")
    assert reasons(answer) == {"TAB-2": "NOT_IN_TRASH", "TAB-TREE": "NOT_IN_TRASH"}
    assert set(project.runs) == {"TAB-2", "TAB-NET", "TAB-NET-2", "TAB-TREE"}
    management.delete_objects_from_trash(PROJECT, "TAB-NET", api_token=server.token)
    assert set(project.runs) == {"TAB-2", "TAB-TREE"}


def test_clearing_deletes_all_of_it_for_good(server: RunningServer, project: Project) -> None:
    uuid = project.runs["TAB-1"].uuid
    management.trash_objects(PROJECT, ["TAB-1", "TAB-NET"], api_token=server.token)
    management.clear_trash(PROJECT, api_token=server.token)
    assert set(project.runs) == {"TAB-2", "TAB-TREE"}
    for identifier in (uuid, f"{PROJECT}/TAB-1"):
        answer = Api(server).http.get(
            "/api/leaderboard/v1/experiments", params={"experimentId": identifier}
        )
        assert (answer.status_code, answer.json()["errorType"]) == (404, "EXPERIMENT_NOT_FOUND")
    with neptune.init_project(**options(server, mode="read-only")) as opened:
        table = opened.fetch_runs_table(trashed=True, progress_bar=False, sort_by="sys/id")
        assert len(table.to_pandas()) == 0


def test_a_number_is_not_given_twice(server: RunningServer, project: Project) -> None:
    management.trash_objects(PROJECT, ["TAB-2", "TAB-NET-2"], api_token=server.token)
    management.clear_trash(PROJECT, api_token=server.token)
    with open_run(server, custom_run_id="again") as run:
        assert run["sys/id"].fetch() == "TAB-3"
    with neptune.init_model_version(model="TAB-NET", **options(server)) as version:
        assert version["sys/id"].fetch() == "TAB-NET-3"


def test_a_deleted_custom_id_is_free(server: RunningServer, project: Project) -> None:
    with open_run(server, custom_run_id="mine"):
        pass
    management.trash_objects(PROJECT, "TAB-3", api_token=server.token)
    with open_run(server, custom_run_id="mine") as resumed:
        assert resumed["sys/id"].fetch() == "TAB-3"
    management.clear_trash(PROJECT, api_token=server.token)
    with open_run(server, custom_run_id="mine") as fresh:
        assert fresh["sys/id"].fetch() == "TAB-4"


def test_trashing_moves_the_modification_time(server: RunningServer, project: Project) -> None:
    before = attributes(server, "TAB-1")["sys/modification_time"]["value"]
    send(server, "trash", "TAB-1")
    assert attributes(server, "TAB-1")["sys/modification_time"]["value"] > before


def test_the_trash_of_an_unknown_project(server: RunningServer) -> None:
    with pytest.raises(ProjectNotFound):
        management.trash_objects("acme/none", "NON-1", api_token=server.token)
