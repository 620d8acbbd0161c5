"""A server that gives less than it was asked for, at every endpoint: nothing is lost or doubled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.errors import IncompleteAnswerError, SourceRefusedError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2 import creation
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Project
from migration_pipeline.sources.neptune2 import listing, reader, source
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import (
    NOON,
    Exported,
    add_points,
    exporting,
    long_ago,
    points_of,
)

COUNTS = (0, 1, 6, 7, 8, 14, 50)
RUNS = ("TAB-1", "TAB-2")
SELECTED = Selection(kinds=("run",))
FLOATS = "GET /api/leaderboard/v1/attributes/series/float"


@pytest.fixture(autouse=True)
def runs(project: Project) -> Iterator[None]:
    with long_ago(project.store):
        for name in RUNS:
            run = creation.create_run(project)
            for count in COUNTS:
                run.set(f"n/{count}", "int", count)
                steps = [i * 0.29 for i in range(count)]
                add_points(run, f"loss/{count}", steps)
                texts = [(s, NOON + i, f"{name} {i}") for i, s in enumerate(steps)]
                run.extend_series(f"log/{count}", "string_series", texts)
            for i in range(4):
                run.set_file(f"f/{i}", b"%d" % i, f"{name}/{i}.txt", "")
        yield


def assert_complete(exported: Exported) -> None:
    assert exported.runs == set(RUNS)
    for name in RUNS:
        found = exported.values(name)
        assert [found[f"n/{count}"] for count in COUNTS] == list(COUNTS)
        assert [found[f"f/{i}"] for i in range(4)] == [b"%d" % i for i in range(4)]
        for count in COUNTS:
            steps = [i * 0.29 for i in range(count)]
            assert exported.series(name, f"loss/{count}") == points_of(steps)
            assert exported.series(name, f"log/{count}") == [
                (step, NOON + i, f"{name} {i}") for i, (step, _, _) in enumerate(points_of(steps))
            ]


@pytest.mark.parametrize(
    "limits",
    [
        {"points_of_one": 7},
        {"points_of_one": 1},
        {"search": 1},
        {"points_of_one": 3, "search": 1},
    ],
)
def test_pages_smaller_than_asked_for(exported: Exported, limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        setattr(exported.server.faults.limits, name, limit)
    exported.export_all(SELECTED)
    assert_complete(exported)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pages_of_our_own(exported: Exported, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(reader, "POINTS", (size,))
    monkeypatch.setattr(listing, "PAGE", size)
    monkeypatch.setattr(source, "GROUP_RUNS", 1)
    exported.export_all(SELECTED)
    assert_complete(exported)


def test_large_pages_are_asked_for_until_they_are_refused(
    server: RunningServer, tmp_path: Path
) -> None:
    """What a server gives at most is unknown; its clients ask for 1,000."""
    limits: list[int] = []

    def refuses(query: dict[str, list[str]]) -> bool:
        limits.append(int(query["limit"][0]))
        return limits[-1] > 1_000

    server.faults.add(Fault("series/(float|string)", query=refuses, status=400))
    exported = exporting(server, tmp_path, "neptune2", workers=1)
    exported.export_all(SELECTED)
    assert_complete(exported)
    assert limits[:2] == [10_000, 1_000]
    assert set(limits[2:]) == {1_000}


def test_a_run_that_is_refused_does_not_make_the_others_pages_smaller(exported: Exported) -> None:
    exported.server.refuse_series(exported.project, "TAB-1")
    exported.export(SELECTED)
    assert set(exported.failed) == {"TAB-1"}
    assert isinstance(exported.failed["TAB-1"], SourceRefusedError)
    exported.server.faults.clear()
    limits: list[str] = []
    look = Fault("series/", query=lambda query: bool(limits.extend(query["limit"])))
    exported.server.faults.add(look)
    exported.export_all(SELECTED)
    assert_complete(exported)
    assert set(limits) == {"10000"}


@pytest.mark.parametrize("where", ["float", "string"])
def test_a_series_that_stops_before_its_count_fails_its_run_by_name(
    exported: Exported, where: str
) -> None:
    nothing = json.dumps({"totalItemCount": 99, "values": []}).encode()
    stops = {"query": lambda q: q["offset"] != ["0"], "status": 200, "content": nothing}
    point: dict[str, Any] = {
        "step": 0,
        "timestampMillis": 1,
        "value": 1 if where == "float" else "",
    }
    begins = json.dumps({"totalItemCount": 99, "values": [point]}).encode()
    exported.server.faults.add(Fault(f"series/{where}", **stops))
    exported.server.faults.add(Fault(f"series/{where}", status=200, content=begins))
    exported.export(SELECTED)
    assert exported.runs == set()
    for run in RUNS:
        error = exported.failed[run]
        assert isinstance(error, IncompleteAnswerError)
        assert "the server counts 99 points and gives none after 1" in str(error)
        assert run in str(error)


def test_a_token_that_always_is_about_to_end_is_refreshed(exported: Exported) -> None:
    """The client refreshes half a minute before the end: here before every request."""
    exported.server.auth.lifetime = 20
    try:
        exported.export_all(SELECTED)
    finally:
        exported.server.auth.lifetime = 3_600
    assert_complete(exported)
    assert exported.server.auth.exchanges >= 1
    assert exported.server.auth.refreshes > 20
