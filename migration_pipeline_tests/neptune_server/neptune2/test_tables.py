"""Tables: queries, columns, order, pages, and the catalogue that the client sorts by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import neptune
import pytest
from neptune.exceptions import NeptuneInvalidQueryException
from neptune.internal.backends.api_model import LeaderboardEntry
from neptune.internal.backends.hosted_neptune_backend import HostedNeptuneBackend
from neptune.internal.backends.nql import RawNQLQuery
from neptune.internal.container_type import ContainerType
from neptune.internal.credentials import Credentials

from migration_pipeline.neptune_server import RunningServer, running_server
from migration_pipeline.neptune_server.neptune2.creation import (
    create_model,
    create_model_version,
    create_run,
)
from migration_pipeline.neptune_server.store import Project
from migration_pipeline_tests.neptune_server.conftest import Api
from migration_pipeline_tests.over_http import over_http

from .clients import PROJECT, open_run
from .looking import search

NOON = 1_700_000_000_000


def fill(server: RunningServer) -> Project:
    """Five runs a day apart; the third has no loss, the fourth is in the trash."""
    project = server.store.project(PROJECT, key="TAB", version=2)
    for number in range(1, 6):
        run = create_run(project, f"custom-{number}", created=NOON + number * 86_400_000)
        run.set("number", "int" if number % 2 else "float", 6 - number)
        run.set("text", "string", f"it's {'odd' if number % 2 else 'even'}")
        run.set("sys/tags", "string_set", ("all", "odd" if number % 2 else "even"))
        run.set("sys/group_tags", "string_set", (f"group {number // 3}",))
        if number != 3:
            run.set("loss", "float", [0, 2.2, 1.5, 0, 3.0, 0.5][number])
            run.extend_float_series("curve", [0], [NOON], [float(number)])
    project.runs["TAB-4"].set("sys/trashed", "bool", True)
    return project


@pytest.fixture(scope="module")
def filled() -> Iterator[RunningServer]:
    """For tests that only read."""
    with running_server() as server:
        fill(server)
        yield server


@pytest.fixture(scope="module")
def opened(filled: RunningServer) -> Iterator[Any]:
    with (
        over_http(),
        neptune.init_project(project=PROJECT, api_token=filled.token, mode="read-only") as opened,
    ):
        yield opened


def ids(opened: Any, **asked: Any) -> list[str]:
    table = opened.fetch_runs_table(columns=[], progress_bar=False, **asked).to_pandas()
    return [id_.removeprefix("TAB-") for id_ in table["sys/id"]] if len(table) else []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "5321"),
        ({"trashed": True}, "4"),
        ({"trashed": None}, "54321"),
        ({"id": ["TAB-1", "TAB-4"]}, "1"),
        ({"tag": ["all", "odd"]}, "531"),
        ({"tag": ["odd", "even"]}, ""),
        ({"owner": "owner"}, "5321"),
        ({"owner": "nobody"}, ""),
        ({"state": "inactive"}, "5321"),
        ({"state": "active"}, ""),
        ({"limit": 2}, "53"),
    ],
)
def test_the_clients_own_filters(opened: Any, asked: dict[str, Any], found: str) -> None:
    assert "".join(ids(opened, **asked)) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("(sys/tags: stringSet CONTAINS 'odd')", "531"),
        ("(`sys/group_tags`:stringSet CONTAINS 'group 1')", "53"),
        ("(loss: float = 2.2)", "1"),
        ("(`loss`:float != 2.2)", "532"),
        ("(loss:float >= 1.5) AND NOT (loss:float > 2)", "2"),
        ("number:integer = 1 OR number:integer = 3", "53"),
        ("(sys/custom_run_id:string CONTAINS 'custom-2')", "2"),
        ("""(text:string = "it's odd")""", "531"),
        ("(text:string MATCHES '^it.s e')", "2"),
        ("(text:string NOT MATCHES 'even')", "531"),
        ("(sys/state: experimentState = idle)", "5321"),
        ("(sys/creation_time:datetime > 2023-11-17T22:13:20Z)", "5"),
        ("(last(curve:floatSeries) < 3)", "21"),
        ("(sys/owner:string = owner)", "5321"),
        ("", "5321"),
    ],
)
def test_queries_as_people_write_them(opened: Any, query: str, found: str) -> None:
    assert "".join(ids(opened, query=query)) == found


def test_a_query_and_the_trash(opened: Any) -> None:
    even = "(sys/tags:stringSet CONTAINS even)"
    asked = {trashed: ids(opened, query=even, trashed=trashed) for trashed in (False, True, None)}
    assert asked == {False: ["2"], True: ["4"], None: ["4", "2"]}


@pytest.mark.parametrize(
    "query", ["loss = = 1", "(loss:float = 1", "loss:float", "a:float = 'x'", "(a:wat = 1)", "'"]
)
def test_a_bad_query_is_a_syntax_error(filled: RunningServer, opened: Any, query: str) -> None:
    with pytest.raises(NeptuneInvalidQueryException):
        ids(opened, query=query)
    with pytest.raises(NeptuneInvalidQueryException):
        opened.fetch_models_table(query=query, progress_bar=False, sort_by="sys/id").to_pandas()
    answer = search(filled, query={"query": query})
    assert (answer.status_code, answer.json()["title"]) == (400, "Syntax error")
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("by", "ascending", "found"),
    [
        ("sys/id", True, "1235"),
        ("sys/id", False, "5321"),
        ("sys/creation_time", True, "1235"),
        ("sys/creation_time", False, "5321"),
        ("loss", True, "5213"),
        ("loss", False, "1253"),
        ("number", True, "5321"),
        ("number", False, "1235"),
        ("text", True, "2135"),
        ("text", False, "5312"),
    ],
)
def test_order(opened: Any, by: str, ascending: bool, found: str) -> None:
    """Without a loss TAB-3 comes last; TAB-1, 3 and 5 have the same text."""
    assert "".join(ids(opened, sort_by=by, ascending=ascending)) == found


def test_a_series_sorts_by_its_last_value_while_no_other_name_has_its_in_it(
    server: RunningServer,
) -> None:
    """The client asks what types a column has, by a search that finds longer names, too."""
    project = fill(server)
    opened = neptune.init_project(project=PROJECT, api_token=server.token, mode="read-only")
    assert "".join(ids(opened, sort_by="curve", ascending=True)) == "1253"
    project.runs["TAB-1"].set("curve fit", "float", 1.0)
    with pytest.raises(ValueError, match="is a complex type"):
        ids(opened, sort_by="curve")


def test_columns(opened: Any) -> None:
    def columns(asked: list[str] | None) -> set[str]:
        table = opened.fetch_runs_table(columns=asked, progress_bar=False, limit=1, sort_by="loss")
        return set(table.to_pandas().columns)

    assert columns([]) == {"sys/id", "loss"}
    assert columns(["number", "not there"]) == {"sys/id", "loss", "number"}
    everything = columns(None)
    assert {"curve", "text", "sys/tags", "sys/state", "sys/custom_run_id"} < everything


def test_values_of_a_table(opened: Any) -> None:
    table = opened.fetch_runs_table(progress_bar=False, sort_by="sys/id", ascending=True)
    first = table.to_rows()[0]
    assert first.get_attribute_value("number") == 5
    assert first.get_attribute_value("loss") == 2.2
    assert first.get_attribute_value("curve") == 1.0
    assert first.get_attribute_value("sys/tags") == {"all", "odd"}
    assert first.get_attribute_value("sys/state") == "Inactive"
    assert first.get_attribute_value("sys/trashed") is False
    assert first.get_attribute_value("sys/creation_time") == datetime(2023, 11, 15, 22, 13, 20)


def test_models_and_versions_have_tables_of_their_own(server: RunningServer) -> None:
    project = fill(server)
    for key in ("NET", "TREE"):
        model = create_model(project, key)
        for number in range(3):
            create_model_version(model).set("acc", "float", number / 10)
    project.runs["TAB-NET-2"].set("sys/trashed", "bool", True)
    options = {"project": PROJECT, "api_token": server.token, "mode": "read-only"}
    quiet: dict[str, Any] = {"progress_bar": False, "sort_by": "sys/id", "ascending": True}
    with neptune.init_project(**options) as opened:
        assert ids(opened, sort_by="sys/id", ascending=True) == ["1", "2", "3", "5"]
        table = opened.fetch_models_table(columns=["sys/id"], **quiet).to_pandas()
        assert list(table["sys/id"]) == ["TAB-NET", "TAB-TREE"]
    with neptune.init_model(with_id="TAB-NET", **options) as model:
        table = model.fetch_model_versions_table(columns=["acc"], **quiet).to_pandas()
        assert list(table["sys/id"]) == ["TAB-NET-1", "TAB-NET-3"]
        assert list(table["acc"]) == [0.0, 0.2]
        table = model.fetch_model_versions_table(query="acc:float > 0", **quiet).to_pandas()
        assert list(table["sys/id"]) == ["TAB-NET-3"]


def test_an_empty_project_has_an_empty_table_by_id_alone(server: RunningServer) -> None:
    with neptune.init_project(project=PROJECT, api_token=server.token, mode="read-only") as opened:
        assert ids(opened, sort_by="sys/id") == []
        with pytest.raises(ValueError, match="not present in the table"):
            ids(opened)


def test_pages_end_at_ten_thousand_and_the_client_goes_on_from_there(
    server: RunningServer,
) -> None:
    project = server.store.projects[PROJECT]
    expected = [create_run(project).sys_id for _ in range(12_000)]
    backend = HostedNeptuneBackend(Credentials.from_token(server.token))
    rows: list[LeaderboardEntry] = list(
        backend.search_leaderboard_entries(
            project.uuid,
            types=[ContainerType.RUN],
            query=RawNQLQuery("(`sys/trashed`:bool = false)"),
            columns=["sys/id", "sys/modification_time"],
            sort_by="sys/id",
            ascending=True,
            step_size=1_000,
        )
    )
    found = [row.attributes[0].properties["value"] for row in rows]
    assert found == sorted(expected)
    assert server.requests["POST /api/leaderboard/v1/leaderboard/entries/search"] == 1 + 12 + 1
    for offset, limit, status in ((9_000, 1_000, 200), (9_001, 1_000, 400), (10_000, 1, 400)):
        answer = search(server, pagination={"offset": offset, "limit": limit})
        assert answer.status_code == status
    counted = search(server, pagination={"limit": 0}).json()
    assert (counted["matchingItemCount"], counted["entries"]) == (12_000, [])


def test_a_run_without_a_custom_id_is_not_found_by_one(server: RunningServer) -> None:
    create_run(server.store.projects[PROJECT])
    query = {"query": '(`sys/custom_run_id`:string CONTAINS "TAB")'}
    assert search(server, query=query).json()["entries"] == []


def test_a_page_may_be_shorter_than_asked_for(server: RunningServer) -> None:
    fill(server)
    server.faults.limits.search = 2
    page = search(server, pagination={"offset": 1, "limit": 100}).json()
    assert [entry["shortId"] for entry in page["entries"]] == ["TAB-4", "TAB-3"]
    assert page["matchingItemCount"] == 5


def test_a_kept_order_is_given_up_at_every_change(server: RunningServer) -> None:
    """Pages of one table are computed once; nothing that happened in between is missed."""

    def found() -> list[str]:
        query = {"query": "(a:int = 1) AND (sys/state:experimentState = running)"}
        return [one["shortId"] for one in search(server, query=query).json()["entries"]]

    now = [NOON]
    server.store.clock = lambda: now[0]
    with open_run(server) as run:
        assert found() == []
        run["a"] = 1
        assert found() == ["TAB-1"]
        with open_run(server, with_id="TAB-1") as other:
            other["a"] = 2
        assert found() == []
        run["a"] = 1
        now[0] += 30_000
        assert found() == []
        run.ping()
        assert found() == ["TAB-1"]
        server.store.projects[PROJECT].remove(server.store.projects[PROJECT].runs["TAB-1"])
        assert found() == []


def test_the_catalogue(server: RunningServer) -> None:
    project = fill(server)

    def names(search: str, **more: Any) -> list[tuple[str, str]]:
        params = {"projectIdentifier": PROJECT, "type": "run", "search": search} | more
        answer = Api(server).post("/leaderboard/attributes/search", {}, **params)
        assert answer.status_code == 200, answer.text
        return [(one["name"], one["type"]) for one in answer.json()["entries"]]

    assert names("u") == [
        ("curve", "floatSeries"),
        ("number", "float"),
        ("number", "int"),
        ("sys/custom_run_id", "string"),
        ("sys/group_tags", "stringSet"),
        ("sys/running_time", "float"),
    ]
    assert names("^n.*r$", limit=1) == [("number", "float")]
    assert names("loss", type="model") == []
    project.runs["TAB-4"].set("only in the trash", "int", 1)
    assert names("only in the trash") == [("only in the trash", "int")]
    refused = Api(server).post(
        "/leaderboard/attributes/search", {}, projectIdentifier=PROJECT, search="("
    )
    assert refused.status_code == 400


@pytest.mark.parametrize(
    "params",
    [
        {"pagination": {"limit": "all"}},
        {"pagination": {"offset": -1}},
        {"attributeFilters": ["sys/id"]},
        {"attributeFilters": [{"name": "sys/id"}]},
    ],
)
def test_a_request_that_is_none_is_refused(filled: RunningServer, params: dict[str, Any]) -> None:
    assert search(filled, **params).status_code == 400


def test_a_table_of_nothing_known_is_refused(server: RunningServer) -> None:
    assert search(server, kind="spaceship").status_code == 400
    lost = Api(server).post("/leaderboard/entries/search", {}, projectIdentifier="acme/none")
    assert (lost.status_code, lost.json()["errorType"]) == (404, "PROJECT_NOT_FOUND")
