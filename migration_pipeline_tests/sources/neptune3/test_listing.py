"""Which runs a project has: exact ids, a regular expression, parents, pages, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.leaderboard_entries_pb2 import (  # noqa: E501
    ProtoLeaderboardEntriesSearchResultDTO,
)

from migration_pipeline.errors import (
    ConfigError,
    IncompleteAnswerError,
    InvalidQueryError,
    InvalidRegexError,
    UnknownNameError,
    UnknownProjectError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Attribute, Project
from migration_pipeline.sources.neptune3 import listing
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline_tests.sources.serving import PROJECT, source_of, warnings_of

SEARCH = "POST /api/leaderboard/v1/proto/leaderboard/entries/search"
ABC = ["a", "b", "c"]
ODD = ['a"b', "a\\b", 'a\\"b', "it's", "ü実", "`tick`", "a b", "%", "a.b", "a_b", "(", "x" * 700]


def listed(server: RunningServer, selection: Selection = Selection()) -> list[RunRef]:  # noqa: B008
    return source_of(server).list_runs(PROJECT, selection)


def ids(server: RunningServer, selection: Selection = Selection()) -> list[str]:  # noqa: B008
    return [ref.key.run for ref in listed(server, selection)]


def test_everything_that_a_listing_says(server: RunningServer, project: Project) -> None:
    run = project.create_run("one")
    at = run.attributes["sys/modification_time"].value
    (ref,) = listed(server)
    assert (str(ref.key), ref.key.kind, ref.handle) == ("acme/vision|one", "run", "VISIO-1")
    assert ref.modified == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    assert ref.parent is None
    run.set("lr", "float", 0.1)
    (later,) = listed(server)
    assert later.modified is not None
    assert later.modified > ref.modified


def test_a_run_without_an_id_of_its_own_goes_by_its_sys_id(
    server: RunningServer, project: Project
) -> None:
    run = project.create_run("one")
    run.run_id = ""
    assert ids(server) == ["VISIO-1"]


@pytest.mark.parametrize("run", ODD)
def test_exact_ids(server: RunningServer, project: Project, run: str) -> None:
    for name in ODD:
        project.create_run(name)
    assert ids(server, Selection(run_ids=(run,))) == [run]


def test_many_exact_ids_in_several_queries(
    server: RunningServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_IDS_PER_QUERY", 3)
    for i in range(20):
        project.create_run(f"r{i}")
    wanted = tuple(f"r{i}" for i in range(0, 20, 2))
    assert ids(server, Selection(run_ids=wanted)) == sorted(
        wanted, key=lambda r: f"VISIO-{int(r[1:]) + 1}"
    )
    assert server.requests[SEARCH] == 4


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["resnet-1", "resnet-2", "vit-1", "a|b"]),
        ("net", ["resnet-1", "resnet-2"]),
        ("^1|t-1$", ["resnet-1", "vit-1"]),
        (r"\|", ["a|b"]),
        ("resnet-1 & vit", []),
        ("(?i)VIT", ["vit-1"]),
    ],
)
def test_a_regular_expression_means_what_python_says(
    server: RunningServer, project: Project, pattern: str, expected: list[str]
) -> None:
    for name in ("resnet-1", "resnet-2", "vit-1", "a|b"):
        project.create_run(name)
    assert ids(server, Selection(run_regex=pattern)) == expected


def test_archived_runs_come_unless_they_are_left_out(
    server: RunningServer, project: Project
) -> None:
    for name in ("kept", "archived", "trashed"):
        project.create_run(name)
    for name in ("archived", "trashed"):
        run = project.find(name)
        assert run is not None
        run.set(f"sys/{name}", "bool", True)
    assert ids(server) == ["kept", "archived", "trashed"]
    assert ids(server, Selection(archived=False)) == ["kept"]


@pytest.mark.parametrize("by", ["sys id", "run id"])
@pytest.mark.parametrize(
    "selection", [Selection(), Selection(run_regex="^child"), Selection(run_ids=("child",))]
)
def test_a_parent_is_named_by_its_run_id(
    server: RunningServer, project: Project, by: str, selection: Selection
) -> None:
    """Whichever of its two names the server gives, and whether or not it is selected itself."""
    project.create_run("root")
    child = project.create_run("child", parent="root", fork_step=3.0)
    named = "VISIO-1" if by == "sys id" else "root"
    child.attributes["sys/forking/parent"] = Attribute("string", named)
    parents = {ref.key.run: ref.parent for ref in listed(server, selection)}
    assert parents["child"] == "root"


@pytest.mark.parametrize(("page", "cap"), [(7, None), (10_000, 7), (7, 3), (25, None), (5, None)])
def test_pages_lose_no_run(
    server: RunningServer,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    page: int,
    cap: int | None,
) -> None:
    """As with more than 10,000 runs, and with a server that gives less than was asked for."""
    monkeypatch.setattr(listing, "_PAGE", page)
    server.faults.limits.search = cap
    expected = {project.create_run(f"r{i}").run_id for i in range(25)}
    found = ids(server)
    assert set(found) == expected
    assert len(found) == 25


def test_an_answer_that_counts_more_than_it_lists_is_incomplete(server: RunningServer) -> None:
    server.store.project(PROJECT)
    short = ProtoLeaderboardEntriesSearchResultDTO(matching_item_count=5).SerializeToString()
    server.faults.add(Fault("entries/search", status=200, content=short))
    with pytest.raises(IncompleteAnswerError, match="counts 5 runs and listed 0"):
        listed(server)


def test_filters_that_match_nothing_say_so(
    server: RunningServer, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.create_run("one").set("sys/archived", "bool", True)
    with warnings_of(caplog) as said:
        assert ids(server, Selection(run_ids=("one", "no such", "nor this"))) == ["one"]
    assert said == ["project acme/vision has no run 'no such', 'nor this'"]
    with warnings_of(caplog) as said:
        assert ids(server, Selection(run_regex="^x")) == []
    assert said == [
        "no run of project acme/vision is selected: 1 runs listed, runs='^x', archived=True"
    ]
    with warnings_of(caplog) as said:
        assert ids(server, Selection(archived=False)) == []
    assert said == [
        "no run of project acme/vision is selected: 1 runs listed, runs='', archived=False"
    ]
    with warnings_of(caplog) as said:
        assert ids(server) == ["one"]
    assert said == []


def test_an_empty_project_has_no_runs(server: RunningServer, project: Project) -> None:
    assert listed(server) == []


def test_an_unknown_project_is_named(server: RunningServer) -> None:
    with pytest.raises(UnknownProjectError, match="'acme/vision' does not exist") as caught:
        listed(server)
    assert caught.value.project == PROJECT
    assert "workspace/project" in caught.value.remedy


def test_projects_are_listed(server: RunningServer) -> None:
    for name in ("acme/vision", "acme/a.b__c", "other/vision"):
        server.store.project(name)
    assert source_of(server).list_projects() == ["acme/a.b__c", "acme/vision", "other/vision"]


def test_a_bad_pattern_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(InvalidRegexError, match=r"runs: '\(' is not a regular expression"):
        Selection(run_regex="(")
    with pytest.raises(InvalidRegexError, match=r"attributes: '\*'"):
        Selection(attribute_regex="*")
    with pytest.raises(UnknownNameError, match=r"classes: .*'artifacts'.*Known: files, metrics"):
        Selection(classes=("artifacts",))
    with pytest.raises(UnknownNameError, match="exclude"):
        Selection(exclude=("metric",))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(runs_query="`lr`:float = 0.1"), ["a", "c"]),
        (Selection(runs_query='`lr`:float = 0.1 OR `sys/custom_run_id`:string == "b"'), ABC),
        (Selection(runs_query="`lr`:float > 0.2", run_ids=("a", "b")), ["b"]),
        (Selection(runs_query="`lr`:float = 0.1", run_regex="^c"), ["c"]),
        (Selection(runs_query="`lr`:float = 7"), []),
        (Selection(kinds=("run", "model")), ABC),
    ],
)
def test_a_query_is_the_servers_to_evaluate(
    server: RunningServer, project: Project, selection: Selection, expected: list[str]
) -> None:
    for name, rate in (("a", 0.1), ("b", 0.5), ("c", 0.1)):
        project.create_run(name).set("lr", "float", rate)
    assert ids(server, selection) == expected


def test_a_bad_query_is_refused_with_what_the_server_says(
    server: RunningServer, project: Project
) -> None:
    with pytest.raises(InvalidQueryError, match=r"^runs_query: .*'\(\(lr'.*400") as caught:
        ids(server, Selection(runs_query="((lr"))
    assert "NQL" in caught.value.remedy


def test_models_are_not_asked_for(
    server: RunningServer, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.create_run("a")
    with pytest.raises(ConfigError, match="models_query is set, and Neptune 3"):
        ids(server, Selection(models_query="`sys/stage`:string = x"))
    with warnings_of(caplog) as said:
        assert ids(server, Selection(kinds=("model", "project"))) == []
    assert said == ["project acme/vision is of Neptune 3.x, which has no objects but runs"]
