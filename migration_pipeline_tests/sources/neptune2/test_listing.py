"""Which objects a 2.x project has: kinds, ids, queries, trash, windows, and what is said."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime, timedelta

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    IncompleteAnswerError,
    InvalidQueryError,
    SourceRefusedError,
    UnknownProjectError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2 import creation
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Project, Run
from migration_pipeline.sources.neptune2 import listing
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline_tests.sources.serving import PROJECT, source_of, warnings_of

SEARCH = "POST /api/leaderboard/v1/leaderboard/entries/search"
EVERYTHING = Selection()
RUNS = Selection(kinds=("run",))


def listed(server: RunningServer, selection: Selection = EVERYTHING) -> list[RunRef]:
    return source_of(server, "neptune2").list_runs(PROJECT, selection)


def ids(server: RunningServer, selection: Selection = EVERYTHING) -> list[str]:
    return [ref.key.run for ref in listed(server, selection)]


@pytest.fixture
def objects(project: Project) -> dict[str, Run]:
    """Two runs, two models, three versions; the project's own metadata is its eighth object."""
    runs = [creation.create_run(project) for _ in range(2)]
    models = [creation.create_model(project, key) for key in ("NET", "TREE")]
    versions = [creation.create_model_version(models[i]) for i in (0, 0, 1)]
    return {one.sys_id: one for one in (*runs, *models, *versions)}


ALL = ["TAB-1", "TAB-2", "TAB-NET", "TAB-TREE", "TAB-NET-1", "TAB-NET-2", "TAB-TREE-1", "TAB"]


def test_everything_that_a_listing_says(server: RunningServer, objects: dict[str, Run]) -> None:
    found = {ref.key: ref for ref in listed(server)}
    expected = {
        RunKey(PROJECT, "TAB-1"),
        RunKey(PROJECT, "TAB-2"),
        RunKey(PROJECT, "TAB-NET", "model"),
        RunKey(PROJECT, "TAB-TREE", "model"),
        RunKey(PROJECT, "TAB-NET-1", "model_version"),
        RunKey(PROJECT, "TAB-NET-2", "model_version"),
        RunKey(PROJECT, "TAB-TREE-1", "model_version"),
        RunKey(PROJECT, "TAB", "project"),
    }
    assert set(found) == expected
    for key, ref in found.items():
        of_store = server.store.projects[PROJECT].runs[key.run]
        at = of_store.attributes["sys/modification_time"].value
        assert ref.handle == of_store.uuid
        assert ref.modified == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
        assert ref.parent is None


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ALL),
        (Selection(kinds=("run",)), ["TAB-1", "TAB-2"]),
        (Selection(kinds=("model",)), ["TAB-NET", "TAB-TREE"]),
        (Selection(kinds=("model_version",)), ["TAB-NET-1", "TAB-NET-2", "TAB-TREE-1"]),
        (Selection(kinds=("project",)), ["TAB"]),
        (Selection(kinds=("project", "run")), ["TAB-1", "TAB-2", "TAB"]),
        (Selection(run_regex="-2$"), ["TAB-2", "TAB-NET-2"]),
        (Selection(run_regex="(?i)tree"), ["TAB-TREE", "TAB-TREE-1"]),
        (Selection(run_regex="^TAB$"), ["TAB"]),
        (Selection(run_ids=("TAB-NET-2", "TAB-2", "TAB")), ["TAB-2", "TAB-NET-2", "TAB"]),
        (Selection(run_ids=("TAB-2",), kinds=("model",)), []),
        (Selection(runs_query="`sys/id`:string = TAB-1", kinds=("run",)), ["TAB-1"]),
        (Selection(runs_query="`sys/id`:string = TAB-1"), ["TAB-1", *ALL[2:]]),
        (
            Selection(models_query="`sys/id`:string CONTAINS NET"),
            ["TAB-1", "TAB-2", "TAB-NET", "TAB-NET-1", "TAB-NET-2", "TAB"],
        ),
        (
            Selection(models_query='sys/stage:string = "none" OR sys/stage:string = "x"'),
            ["TAB-1", "TAB-2", "TAB-NET-1", "TAB-NET-2", "TAB-TREE-1", "TAB"],
        ),
        (Selection(runs_query="`sys/id`:string = TAB-1", run_ids=("TAB-1", "TAB-2")), ["TAB-1"]),
    ],
)
@pytest.mark.usefixtures("objects")
def test_selected(server: RunningServer, selection: Selection, expected: list[str]) -> None:
    assert ids(server, selection) == expected


def test_trashed_ones_come_unless_they_are_left_out(
    server: RunningServer, objects: dict[str, Run]
) -> None:
    for id_ in ("TAB-1", "TAB-NET", "TAB-NET-1", "TAB-NET-2"):
        objects[id_].set("sys/trashed", "bool", True)
    assert ids(server) == ALL
    assert ids(server, Selection(archived=False)) == ["TAB-2", "TAB-TREE", "TAB-TREE-1", "TAB"]
    query = "`sys/id`:string = TAB-1 OR `sys/id`:string = TAB-2"
    assert ids(server, Selection(runs_query=query, archived=False, kinds=("run",))) == ["TAB-2"]


def test_exact_ids_are_asked_for_by_name(server: RunningServer, project: Project) -> None:
    """Whatever the workspace holds: one request a kind, and no id is too odd to be asked for."""
    for _ in range(50):
        creation.create_run(project)
    odd = ('a"b', "a\\b", "TAB-7`", "ü", "TAB-1) OR (`sys/id`:string != ", "TAB-4")
    assert ids(server, Selection(run_ids=odd)) == ["TAB-4"]
    assert server.requests[SEARCH] == 3
    assert server.bytes_sent < 60_000  # 26 kB of them are the document with the addresses


def test_many_exact_ids_in_several_queries(
    server: RunningServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_IDS_PER_QUERY", 3)
    wanted = tuple(creation.create_run(project).sys_id for _ in range(10))[::2]
    assert set(ids(server, Selection(run_ids=wanted, kinds=("run",)))) == set(wanted)
    assert server.requests[SEARCH] == 2


@pytest.mark.parametrize("models", [2, 5])
def test_versions_of_many_models(
    server: RunningServer, project: Project, monkeypatch: pytest.MonkeyPatch, models: int
) -> None:
    monkeypatch.setattr(listing, "_IDS_PER_QUERY", 2)
    expected = [
        creation.create_model_version(creation.create_model(project, f"M{i}")).sys_id
        for i in range(models)
    ]
    assert ids(server, Selection(kinds=("model_version",))) == expected


@pytest.mark.parametrize(
    ("window", "page", "cap"),
    [(10_000, 7, None), (10_000, 1_000, 7), (8, 3, 2), (20, 4, None), (4, 4, 1), (5, 5, None)],
)
def test_windows_and_pages_lose_nothing(
    server: RunningServer,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    page: int,
    cap: int | None,
) -> None:
    """As with more than 10,000 runs, and with a server that gives less than was asked for."""
    monkeypatch.setattr(listing, "WINDOW", window)
    monkeypatch.setattr(listing, "PAGE", page)
    server.faults.limits.search = cap
    expected = sorted(creation.create_run(project).sys_id for _ in range(25))
    assert ids(server, RUNS) == expected


def test_twelve_thousand_runs(server: RunningServer, project: Project) -> None:
    expected = sorted(creation.create_run(project).sys_id for _ in range(12_000))
    assert ids(server, RUNS) == expected
    assert server.requests[SEARCH] == 12


def test_a_run_that_vanishes_between_two_pages_costs_no_other(
    server: RunningServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows after it move up: by offsets alone, the first of the next page would be missed."""
    monkeypatch.setattr(listing, "PAGE", 5)
    runs = [creation.create_run(project) for _ in range(12)]
    vanished = []

    def vanish(body: bytes) -> bool:
        if json.loads(body)["pagination"]["offset"] and not vanished:
            vanished.append(runs[0].sys_id)
            with server.store.lock:
                project.remove(runs[0])
                server.store.changes += 1
        return False

    server.faults.add(Fault("entries/search", body=vanish))
    assert ids(server, RUNS) == sorted(run.sys_id for run in runs[1:])
    assert vanished == ["TAB-1"]


def test_a_listing_that_is_shorter_than_its_count_is_incomplete(
    server: RunningServer, project: Project
) -> None:
    short = json.dumps({"matchingItemCount": 5, "entries": []}).encode()
    server.faults.add(Fault("entries/search", status=200, content=short))
    with pytest.raises(IncompleteAnswerError, match="counts 5 objects of kind run and listed 0"):
        listed(server)


@pytest.mark.parametrize("setting", ["runs_query", "models_query"])
def test_a_bad_query_is_refused_with_what_the_server_says(
    server: RunningServer, objects: dict[str, Run], setting: str
) -> None:
    with pytest.raises(InvalidQueryError, match=rf"^{setting}: .*'\(\(sys/id'") as caught:
        listed(server, Selection(**{setting: "((sys/id"}))  # type: ignore[arg-type]
    said = server.traffic.statuses[400]
    assert said == 1
    message = re.search(r"'\(\(sys/id': (.+?)\. Correct", str(caught.value))
    assert message is not None
    assert len(message[1]) > 5


@pytest.mark.parametrize("selection", [Selection(), Selection(models_query="sys/stage:string = x")])
@pytest.mark.usefixtures("objects")
def test_a_server_without_a_model_registry(
    server: RunningServer, caplog: pytest.LogCaptureFixture, selection: Selection
) -> None:
    server.store.model_registry = False
    with caplog.at_level(logging.INFO, "migration_pipeline"):
        assert ids(server, selection) == ["TAB-1", "TAB-2", "TAB"]
    assert "project acme/vision has no model registry" in caplog.text


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.usefixtures("objects")
def test_whatever_the_answer_for_want_of_a_model_registry_is(
    server: RunningServer, status: int
) -> None:
    """What a real server without one answers is not known."""
    models = Fault("entries/search", query=lambda q: q["type"] != ["run"], status=status)
    server.faults.add(models)
    assert ids(server) == ["TAB-1", "TAB-2", "TAB"]


@pytest.mark.usefixtures("objects")
def test_models_that_may_not_be_read_are_no_missing_registry(server: RunningServer) -> None:
    server.faults.add(Fault("entries/search", query=lambda q: q["type"] != ["run"], status=403))
    with pytest.raises(SourceRefusedError, match=r"acme/vision refused a request \(403"):
        ids(server)


@pytest.mark.parametrize("error_type", ["EXPERIMENT_NOT_FOUND", "ATTRIBUTE_NOT_FOUND"])
def test_a_server_that_keeps_no_metadata_of_projects(
    server: RunningServer,
    objects: dict[str, Run],
    caplog: pytest.LogCaptureFixture,
    error_type: str,
) -> None:
    content = json.dumps({"errorType": error_type}).encode()
    server.faults.add(Fault("attributes/datetimes", status=404, content=content))
    with caplog.at_level(logging.INFO, "migration_pipeline"):
        assert ids(server) == ALL[:-1]
    assert "project acme/vision has no metadata of its own" in caplog.text


def test_filters_that_match_nothing_say_so(
    server: RunningServer, objects: dict[str, Run], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings_of(caplog) as said:
        assert ids(server, Selection(run_ids=("TAB-1", "no such", "TAB-9"))) == ["TAB-1"]
    assert said == ["project acme/vision has no run 'no such', 'TAB-9'"]
    with warnings_of(caplog) as said:
        assert ids(server, Selection(run_regex="^x", kinds=("run",))) == []
    assert said == [
        "no run of project acme/vision is selected: 2 listed, runs='^x', archived=True, "
        "runs_query='', models_query=''"
    ]
    with warnings_of(caplog) as said:
        query = "`sys/id`:string = x"
        assert ids(server, Selection(runs_query=query, kinds=("run",))) == []
    assert said == [
        f"no run of project acme/vision is selected: 0 listed, runs='', archived=True, "
        f"runs_query={query!r}, models_query=''"
    ]
    with warnings_of(caplog) as said:
        ids(server)
    assert said == []


def test_an_empty_project_has_its_metadata_only(server: RunningServer, project: Project) -> None:
    assert ids(server) == ["TAB"]


def test_an_unknown_project_is_named(server: RunningServer) -> None:
    with pytest.raises(UnknownProjectError, match="'acme/vision' does not exist"):
        listed(server)
