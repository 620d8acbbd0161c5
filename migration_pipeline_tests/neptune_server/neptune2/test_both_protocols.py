"""One store under both protocols: each shows what its clients know, and nothing in disguise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from neptune import management
from neptune_query import runs
from neptune_scale.projects import list_projects

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.neptune2.creation import (
    create_model,
    create_model_version,
    create_run,
    metadata,
)
from migration_pipeline.neptune_server.store import FileSetValue, HistogramValue
from migration_pipeline_tests.neptune_server.conftest import Api, forget_query, point_query_at

from .clients import PROJECT, open_run
from .looking import attributes, search


@pytest.fixture
def queried(server: RunningServer) -> Iterator[RunningServer]:
    point_query_at(server)
    yield server
    forget_query()


def test_3x_sees_the_runs_of_a_2x_project_and_their_common_types(queried: RunningServer) -> None:
    project = queried.store.projects[PROJECT]
    run = create_run(project, "mine", git={"commit": {"commitId": "abc"}})
    run.set("lr", "float", 0.5)
    run.set("set", "file_set", FileSetValue())
    run.set("art", "artifact", "00ff")
    model = create_model(project, "NET")
    create_model_version(model).set("of a version", "float", 0.5)
    metadata(project).set("of the project", "float", 0.5)
    assert runs.list_runs(project=PROJECT) == ["mine"]
    names = runs.list_attributes(project=PROJECT)
    assert {n for n in names if not n.startswith("sys/")} == {"lr"}
    assert "sys/state" not in names
    assert "sys/stage" not in names
    table = runs.fetch_runs_table(
        project=PROJECT, attributes=["lr", "art", "set", "source_code/git", "of the project"]
    )
    assert table.index.tolist() == ["mine"]
    assert table.columns.tolist() == ["lr"]
    assert runs.list_runs(project=PROJECT, runs=["TAB-NET", "TAB", "TAB-NET-1"]) == []


def test_3x_finds_no_model_by_its_id(server: RunningServer) -> None:
    project = server.store.projects[PROJECT]
    create_run(project).set("of a run", "int", 1)
    create_model(project, "NET").set("of a model", "int", 1)
    metadata(project)
    ids = [f"{PROJECT}/{sys_id}" for sys_id in ("TAB-1", "TAB-NET", "TAB")]
    params = {"projectIdentifiers": [PROJECT], "experimentIdsFilter": ids}
    answer = Api(server).post("/leaderboard/attributes/definitions/query", params).json()
    names = {one["name"] for one in answer["entries"]}
    assert {name for name in names if not name.startswith("sys/")} == {"of a run"}


def test_2x_sees_a_3x_run_without_what_it_does_not_know(server: RunningServer) -> None:
    run = server.store.project("acme/vision", key="VIS").create_run("r", experiment="e")
    run.set("lr", "float", 0.5)
    run.set_file("f", b"abc", "files/x.tar", "application/x-tar")
    run.extend_series("h", "histogram_series", [(0, 1, HistogramValue("COUNTING", (0, 1), (1,)))])
    with open_run(server, project="acme/vision", with_id="VIS-1", mode="read-only") as opened:
        assert opened["lr"].fetch() == 0.5
        assert opened["f"].fetch_extension() == "tar"
        assert not opened.exists("h")
        assert opened["sys/custom_run_id"].fetch() == "r"


def test_both_clients_are_told_the_versions_of_projects(queried: RunningServer) -> None:
    queried.store.project("acme/vision", key="VIS")
    assert list_projects(api_token=queried.token) == [PROJECT, "acme/vision"]
    assert management.get_project_list(api_token=queried.token) == [PROJECT, "acme/vision"]
    listed = Api(queried).http.get("/api/backend/v1/projects").json()["entries"]
    assert [(one["name"], one["version"]) for one in listed] == [("tabular", 2), ("vision", 3)]


def test_one_runs_series_are_refused_and_no_others(server: RunningServer) -> None:
    project = server.store.projects[PROJECT]
    for _ in range(2):
        create_run(project).extend_float_series("loss", [0], [0], [1.5])
    server.refuse_series(PROJECT, "TAB-1", status=403)
    codes: dict[str, set[int]] = {}
    for sys_id, run in project.runs.items():
        for holder in (run.uuid, f"{PROJECT}/{sys_id}"):
            for path in ("series/float", "floatSeries", "floatSeries/csv"):
                answer = Api(server).http.get(
                    f"/api/leaderboard/v1/attributes/{path}",
                    params={"experimentId": holder, "attribute": "loss"},
                )
                codes.setdefault(sys_id, set()).add(answer.status_code)
    assert codes == {"TAB-1": {403}, "TAB-2": {200}}
    assert attributes(server, "TAB-1")["loss"]["last"] == 1.5
    assert search(server).json()["matchingItemCount"] == 2


def test_refusals_of_one_address_tell_requests_apart(server: RunningServer) -> None:
    """Only the same request again, its query included, repeats one that had to wait."""
    project = server.store.projects[PROJECT]
    for _ in range(2):
        create_run(project).extend_float_series("loss", [0], [0], [1.5])
    api = Api(server).http
    server.faults.in_flight = 0.0
    server.faults.unavailable(429, path="series/float", times=1, retry_after=60)
    asked = [{"experimentId": f"{PROJECT}/TAB-{n}", "attribute": "loss"} for n in (1, 2, 1)]
    for params in asked:
        api.get("/api/leaderboard/v1/attributes/series/float", params=params)
    assert [violation.repeated for violation in server.faults.violations] == [False, True]
