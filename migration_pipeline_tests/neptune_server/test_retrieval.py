"""Runs, experiments, attributes and values, asked for by the real neptune-query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import neptune_query
import numpy as np
import pytest
from neptune_query import runs
from neptune_query.exceptions import NeptuneProjectInaccessible
from neptune_query.experimental import fetch_experiments_table_global, fetch_runs_table_global
from neptune_query.filters import Attribute, AttributeFilter, Filter
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    attributes_pb2,
    leaderboard_entries_pb2,
)

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.store import HistogramValue

from .conftest import NOON, PROJECT, Api, add_points, forget_query, point_query_at

OTHER = "acme/other.project__2"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    store = Store()
    project = store.project(PROJECT)
    for number, experiment in enumerate(["exp-a", "exp-b", "exp-a"]):
        run = project.create_run(
            f"run-{number}", experiment=experiment, created=NOON + number, owner="ada"
        )
        run.set("lr", "float", 0.1 * number)
        run.set("big", "int", 2**53 + 1 + number)
        run.set("note", "string", f"text {number}")
        run.set("sys/archived", "bool", number == 1)
        add_points(run, "loss", range(4), [4.0, 1.0, 3.0, 2.0 + number])
    first = project.runs["VISIO-1"]
    first.set("only/first", "float", float("-inf"))
    first.set("nan", "float", float("nan"))
    first.set("when", "datetime", NOON)
    first.set("set", "string_set", ("b", "a"))
    first.set("empty set", "string_set", ())
    first.set("mixed", "int", 1)
    first.set("we`ird. (name) | é", "string", "odd")
    first.set_file("weights", b"12345", "a/weights.bin", "application/octet-stream")
    first.extend_series("log", "string_series", [(0, NOON, "x"), (1.5, NOON + 1, "y")])
    first.extend_series(
        "hist", "histogram_series", [(0, NOON, HistogramValue("COUNTING", (0.0, 1.0), (3.0,)))]
    )
    project.runs["VISIO-2"].set("mixed", "string", "one")
    project.runs["VISIO-2"].extend_float_series("odd", [0, 1], [1, 2], [1.0, np.nan])
    plain = project.create_run("no experiment", created=NOON + 10)
    plain.set("lr", "float", 9.0)
    elsewhere = store.project(OTHER).create_run("run-0", experiment="exp-a", created=NOON - 1)
    elsewhere.set("lr", "float", 5.0)
    with running_server(store) as server:
        point_query_at(server)
        yield server
        forget_query()


@pytest.fixture
def api(server: RunningServer) -> Api:
    return Api(server)


def test_runs_and_experiments_are_found(server: RunningServer) -> None:
    assert runs.list_runs(project=PROJECT) == ["no experiment", "run-0", "run-1", "run-2"]
    assert runs.list_runs(project=PROJECT, runs="run-[12] & !1$") == ["run-2"]
    assert runs.list_runs(project=PROJECT, runs=["run-0", "unknown"]) == ["run-0"]
    assert neptune_query.list_experiments(project=PROJECT) == ["exp-a", "exp-b"]
    assert runs.list_runs(project=PROJECT, runs=Filter.eq("sys/name", "exp-a")) == [
        "run-0",
        "run-2",
    ]


def test_an_unknown_project_is_like_one_without_permission(server: RunningServer) -> None:
    for project in ("acme/unknown", "nobody/vision"):
        with pytest.raises(NeptuneProjectInaccessible):
            runs.list_runs(project=project)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Filter.gt(Attribute("lr", type="float"), 0.1), ["no experiment", "run-2"]),
        (Filter.eq("big", 2**53 + 2), ["run-1"]),
        (Filter.exists("only/first"), ["run-0"]),
        (Filter.eq("sys/archived", True), ["run-1"]),
        (Filter.contains_all("set", ["a", "b"]), ["run-0"]),
        (Filter.contains_none("set", "a"), ["no experiment", "run-1", "run-2"]),
        (Filter.matches("note", "[02]$"), ["run-0", "run-2"]),
        (Filter.gt("loss", 2.5), ["run-1", "run-2"]),
        (Filter.eq("log", "y"), ["run-0"]),
        (Filter.le("when", datetime.fromtimestamp(NOON / 1000, tz=UTC)), ["run-0"]),
        (
            Filter.eq("note", "text 1") | (Filter.lt("lr", 5) & ~Filter.exists("odd")),
            ["run-0", "run-1", "run-2"],
        ),
    ],
)
def test_filters(server: RunningServer, condition: Filter, expected: list[str]) -> None:
    assert runs.list_runs(project=PROJECT, runs=condition) == expected


def test_a_table_has_exact_values_of_every_type(server: RunningServer) -> None:
    table = runs.fetch_runs_table(
        project=PROJECT, runs=["run-0"], attributes=".*", type_suffix_in_column_names=False
    )
    row = table.loc["run-0"]
    assert row["big"] == 2**53 + 1
    assert row["only/first"] == float("-inf")
    assert np.isnan(row["nan"])
    assert row["when"].timestamp() * 1000 == NOON
    assert row["set"] == {"a", "b"}
    assert row["we`ird. (name) | é"] == "odd"
    assert (row["weights"].path, row["weights"].size_bytes) == ("a/weights.bin", 5)
    assert row["loss"] == 2.0
    assert row["log"] == "y"
    assert row["hist"].values == [3.0]
    assert row["sys/id"] == "VISIO-1"
    assert row["sys/owner"] == "ada"


def test_aggregates(server: RunningServer, api: Api) -> None:
    (run,) = values_of(api, ["run-0"], names=["loss"])
    loss = run.attributes[0].float_series_properties
    assert (loss.last_step, loss.last, loss.min, loss.max) == (3, 2, 1, 4)
    assert loss.average == 2.5
    assert loss.variance == pytest.approx(np.var([4, 1, 3, 2]))
    (run,) = values_of(api, ["run-1"], names=["odd"])
    assert np.isnan(run.attributes[0].float_series_properties.last)


def test_experiments_are_their_newest_run(server: RunningServer) -> None:
    table = neptune_query.fetch_experiments_table(project=PROJECT, attributes=["sys/id", "note"])
    assert table.loc["exp-a"].to_dict() == {"sys/id": "VISIO-3", "note": "text 2"}
    assert "only/first" not in neptune_query.list_attributes(project=PROJECT, experiments=["exp-a"])
    project = server.store.project(PROJECT)
    marks = [run.attributes.get("sys/experiment/is_head") for run in project]
    assert [mark and mark.value for mark in marks] == [False, True, True, None]


def test_attributes_by_name_type_and_regex(server: RunningServer) -> None:
    assert runs.list_attributes(project=PROJECT, attributes=["lr", "we`ird. (name) | é"]) == [
        "lr",
        "we`ird. (name) | é",
    ]
    assert runs.list_attributes(project=PROJECT, attributes="^l & !g$ | ^hi") == [
        "hist",
        "loss",
        "lr",
    ]
    assert runs.list_attributes(
        project=PROJECT, attributes=AttributeFilter(type="string_series")
    ) == ["log"]
    times = runs.list_attributes(project=PROJECT, attributes="sys/.*_time$")
    assert times == ["sys/creation_time", "sys/modification_time", "sys/ping_time"]
    assert runs.list_attributes(project=PROJECT, attributes="sys/.*id$") == [
        "sys/custom_run_id",
        "sys/diagnostics/project_uuid",
        "sys/diagnostics/run_uuid",
        "sys/id",
    ]


@pytest.mark.parametrize(
    ("aggregation", "direction", "expected"),
    [
        ("desc", None, ["no experiment", "run-2", "run-1", "run-0"]),
        ("asc", None, ["run-0", "run-1", "run-2", "no experiment"]),
        ("asc", Attribute("lr", type="float"), ["run-0", "run-1", "run-2", "no experiment"]),
        ("desc", Attribute("lr", type="float"), ["no experiment", "run-2", "run-1", "run-0"]),
        ("asc", Attribute("big"), ["run-0", "run-1", "run-2", "no experiment"]),
        ("desc", Attribute("big"), ["run-2", "run-1", "run-0", "no experiment"]),
        ("desc", Attribute("loss"), ["run-2", "run-1", "run-0", "no experiment"]),
        ("asc", Attribute("sys/custom_run_id"), ["no experiment", "run-0", "run-1", "run-2"]),
    ],
)
def test_order(
    server: RunningServer, aggregation: str, direction: Attribute | None, expected: list[str]
) -> None:
    by = {} if direction is None else {"sort_by": direction}
    table = runs.fetch_runs_table(
        project=PROJECT, attributes=["lr"], sort_direction=aggregation, **by
    )
    assert table.index.to_list() == expected
    best = runs.fetch_runs_table(
        project=PROJECT, attributes=["lr"], sort_direction=aggregation, limit=2, **by
    )
    assert best.index.to_list() == expected[:2]


def test_search_over_all_projects(server: RunningServer) -> None:
    table = fetch_runs_table_global(
        runs=Filter.exists(Attribute("lr", type="float")), attributes=["lr"]
    )
    assert table.index.to_list() == [
        (PROJECT, "no experiment"),
        (PROJECT, "run-2"),
        (PROJECT, "run-1"),
        (PROJECT, "run-0"),
        (OTHER, "run-0"),
    ]
    by_lr = Attribute("lr", type="float")
    heads = fetch_experiments_table_global(attributes=["lr"], sort_by=by_lr, limit=2)
    assert heads.index.to_list() == [(OTHER, "exp-a"), (PROJECT, "exp-a")]


def test_pages_of_a_search(server: RunningServer, api: Api) -> None:
    seen = []
    for offset in range(0, 6, 2):
        answer = api.post(
            "/proto/leaderboard/entries/search/",
            {
                "attributeFilters": [{"path": "sys/custom_run_id"}],
                "pagination": {"limit": 2, "offset": offset},
                "sorting": {"dir": "ascending", "sortBy": {"name": "sys/id", "type": "string"}},
            },
            projectIdentifier=PROJECT,
        )
        page = leaderboard_entries_pb2.ProtoLeaderboardEntriesSearchResultDTO.FromString(
            answer.content
        )
        assert page.matching_item_count == 4
        seen.append([e.attributes[0].string_properties.value for e in page.entries])
    assert seen == [["run-0", "run-1"], ["run-2", "no experiment"], []]


def definitions(api: Api, **body: object) -> list[tuple[str, str]]:
    """All pages, one entry each."""
    found: list[tuple[str, str]] = []
    token = None
    while True:
        answer = api.post(
            "/leaderboard/attributes/definitions/query",
            {"projectIdentifiers": [PROJECT], "nextPage": {"limit": 1, "nextPageToken": token}}
            | body,
        )
        assert answer.status_code == 200, answer.text
        parsed = answer.json()
        found += [(e["name"], e["type"]) for e in parsed["entries"]]
        token = parsed["nextPage"].get("nextPageToken")
        if token is None:
            return found


def test_definitions(api: Api) -> None:
    named = {"attributeNameFilter": {"mustMatchAny": [{"mustMatchRegexes": ["^mi", "xed$"]}]}}
    assert definitions(api, **named) == [("mixed", "int"), ("mixed", "string")]
    assert definitions(api, attributeNameFilter={"mustMatchAny": []}) == []
    assert definitions(api, experimentIdsFilter=[]) == []
    holders = [f"{PROJECT}/VISIO-4", f"{PROJECT}/VISIO-99", f"CUSTOM/{PROJECT}/run-1"]
    found = definitions(
        api, experimentIdsFilter=holders, attributeFilter=[{"attributeType": "float"}]
    )
    assert found == [("lr", "float")]
    everywhere = definitions(api, projectIdentifiers=[PROJECT, PROJECT, "acme/typo", OTHER])
    assert len(everywhere) == len(set(everywhere)) == len(definitions(api))
    unknown = api.post(
        "/leaderboard/attributes/definitions/query", {"projectIdentifiers": ["acme/typo"]}
    )
    assert unknown.json()["errorType"] == "ACCESS_DENIED"


def test_four_thousand_names_and_a_bad_regex(api: Api) -> None:
    many = "|".join(["lr", *(f"name/{n}\\.x" for n in range(4000))])
    named = {"attributeNameFilter": {"mustMatchAny": [{"mustMatchRegexes": [f"^({many})$"]}]}}
    assert definitions(api, **named) == [("lr", "float")]
    bad = {"attributeNameFilter": {"mustMatchAny": [{"mustMatchRegexes": ["("]}]}}
    answer = api.post(
        "/leaderboard/attributes/definitions/query", {"projectIdentifiers": [PROJECT]} | bad
    )
    assert answer.status_code == 400
    assert "'('" in answer.json()["message"]


def values_of(
    api: Api, run_ids: list[str], *, names: list[str] | None = None, limit: int = 10_000
) -> list[attributes_pb2.ProtoQueryAttributesExperimentResultDTO]:
    """Entries of all pages; a run may come in several."""
    entries, token = [], None
    while True:
        answer = api.post(
            "/proto/leaderboard/attributes/query",
            {
                "experimentIdsFilter": [f"CUSTOM/{PROJECT}/{name}" for name in run_ids],
                "nextPage": {"limit": limit, "nextPageToken": token},
            }
            | ({} if names is None else {"attributeNamesFilter": names}),
            projectIdentifier=PROJECT,
        )
        assert answer.status_code == 200, answer.text
        parsed = attributes_pb2.ProtoQueryAttributesResultDTO.FromString(answer.content)
        assert sum(len(entry.attributes) for entry in parsed.entries) <= limit
        entries += parsed.entries
        token = parsed.nextPage.nextPageToken
        if not token:
            return entries


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_a_page_of_values_counts_attributes_not_runs(api: Api, limit: int) -> None:
    names = ["run-0", "run-1", "run-2"]
    found = [
        (entry.experimentShortId, attribute.name)
        for entry in values_of(api, names, limit=limit)
        for attribute in entry.attributes
    ]
    assert len(found) == len(set(found))
    whole = values_of(api, names)
    assert set(found) == {(e.experimentShortId, a.name) for e in whole for a in e.attributes}


def test_names_that_a_run_has_not_are_missing_and_each_has_its_own_type(api: Api) -> None:
    entries = values_of(api, ["run-0", "run-1", "run-2"], names=["mixed", "nowhere"])
    assert [(e.experimentShortId, [(a.name, a.type) for a in e.attributes]) for e in entries] == [
        ("VISIO-1", [("mixed", "int")]),
        ("VISIO-2", [("mixed", "string")]),
    ]


def test_a_query_that_is_none_is_refused_with_its_reason(api: Api) -> None:
    answer = api.post(
        "/proto/leaderboard/entries/search/",
        {"query": {"query": "`lr`:float >"}},
        projectIdentifier=PROJECT,
    )
    assert answer.status_code == 400
    assert "ends too early" in answer.json()["message"]


def test_the_projects(api: Api) -> None:
    listed = api.http.get("/api/backend/v1/projects").json()["entries"]
    assert [f"{p['organizationName']}/{p['name']}" for p in listed] == [PROJECT, OTHER]
    get = "/api/backend/v1/projects/get"
    assert api.http.get(get, params={"projectIdentifier": OTHER}).status_code == 200
    assert api.http.get(get, params={"projectIdentifier": "acme/no"}).status_code == 404
    new = {"organizationIdentifier": "acme", "name": "n.e__w" * 15, "visibility": "priv"}
    assert api.http.post("/api/backend/v1/projects", json=new).status_code == 200
    assert api.http.post("/api/backend/v1/projects", json=new).status_code == 409
