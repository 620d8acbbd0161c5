"""Series of numbers and text: points as they were logged, pages, aggregates, CSV."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest
from neptune.exceptions import MetadataInconsistency
from neptune.types import FloatSeries, StringSeries

from migration_pipeline.neptune_server import RunningServer

from .clients import PROJECT, open_run
from .looking import attributes, execute, get

NOON = 1_700_000_000


def points(run: Any, path: str) -> list[tuple[float, Any]]:
    rows = run[path].fetch_values(progress_bar=False, include_timestamp=False)
    return list(zip(rows["step"].tolist(), rows["value"].tolist(), strict=True))


def logged(*entries: tuple[float | None, Any]) -> dict[str, Any]:
    return {
        "entries": [
            {"step": step, "value": value, "timestampMilliseconds": 5} for step, value in entries
        ]
    }


def test_points_keep_step_time_and_value(server: RunningServer) -> None:
    steps = [-2.5, 0.0, 0.125, 4_000_000_000.5]
    times = [NOON + 0.001, NOON + 5, NOON + 4, NOON + 6]
    with open_run(server) as run:
        run["loss"].extend([3.5, -1.0, 5e-324, 2.0], steps=steps, timestamps=times)
        run["log"].extend(["a", "", "ü\n漢"], steps=steps[1:], timestamps=times[1:])
    page = get(server, "series/float", "TAB-1", "loss").json()
    assert page == {
        "totalItemCount": 4,
        "values": [
            {"step": -2.5, "timestampMillis": NOON * 1000 + 1, "value": 3.5},
            {"step": 0.0, "timestampMillis": NOON * 1000 + 5000, "value": -1.0},
            {"step": 0.125, "timestampMillis": NOON * 1000 + 4000, "value": 5e-324},
            {"step": 4_000_000_000.5, "timestampMillis": NOON * 1000 + 6000, "value": 2.0},
        ],
    }
    page = get(server, "series/string", "TAB-1", "log").json()
    assert [one["value"] for one in page["values"]] == ["a", "", "ü\n漢"]
    assert [one["step"] for one in page["values"]] == steps[1:]


def test_long_series_come_whole_in_pages_of_a_thousand(server: RunningServer) -> None:
    values = [math.sin(i) for i in range(2_345)]
    with open_run(server, mode="async") as run:
        run["loss"].extend(values, steps=list(range(2_345)))
        run["log"].extend([f"line {i}" for i in range(1_001)])
        run.wait()
        server.traffic.reset()
        assert points(run, "loss") == [(float(i), value) for i, value in enumerate(values)]
        assert points(run, "log") == [(float(i), f"line {i}") for i in range(1_001)]
    assert server.requests["GET /api/leaderboard/v1/attributes/series/float"] == 3
    assert server.requests["GET /api/leaderboard/v1/attributes/series/string"] == 2


@pytest.mark.parametrize(
    ("asked", "cap", "got"),
    [
        ({}, 1_000, range(1_000)),
        ({"limit": 10_000}, 1_000, range(1_000)),
        ({"limit": 10_000}, 10_000, range(1_500)),
        ({"limit": 7, "offset": 1_490}, 5, range(1_490, 1_495)),
        ({"limit": 7, "offset": 1_498}, 5, range(1_498, 1_500)),
        ({"limit": 7, "offset": 2_000}, 5, range(0)),
        ({"limit": 0}, 5, range(0)),
    ],
)
def test_a_page_is_what_was_asked_for_and_not_more_than_the_cap(
    server: RunningServer, asked: dict[str, int], cap: int, got: range
) -> None:
    with open_run(server):
        pass
    run = server.store.projects[PROJECT].runs["TAB-1"]
    run.extend_float_series("loss", range(1_500), [0] * 1_500, range(1_500))
    server.faults.limits.points_of_one = cap
    page = get(server, "series/float", "TAB-1", "loss", **asked).json()
    assert page["totalItemCount"] == 1_500
    assert [one["step"] for one in page["values"]] == list(got)


@pytest.mark.parametrize("wrong", [{"limit": "all"}, {"offset": "-1"}])
def test_a_page_that_is_none_is_refused(server: RunningServer, wrong: dict[str, str]) -> None:
    with open_run(server) as run:
        run["loss"].append(1.0)
    assert get(server, "series/float", "TAB-1", "loss", **wrong).status_code == 400


def test_only_points_that_do_not_advance_are_skipped(server: RunningServer) -> None:
    with open_run(server) as run, open_run(server, with_id="TAB-1") as late:
        run["loss"].extend([1.0, 2.0], steps=[1, 5])
        run["log"].append("first", step=3)
        with pytest.raises(MetadataInconsistency, match=r"2 points .* the first at step 5"):
            late["loss"].extend([9.0, 9.0, 3.0], steps=[5, 4, 6])
        with pytest.raises(MetadataInconsistency, match="1 points were skipped"):
            late["log"].extend(["again", "then"], steps=[3, 4])
        assert points(run, "loss") == [(1.0, 1.0), (5.0, 2.0), (6.0, 3.0)]
        assert points(run, "log") == [(3.0, "first"), (4.0, "then")]


def test_a_point_without_a_step_follows_the_last(server: RunningServer) -> None:
    with open_run(server) as run:
        for value in (1.0, 2.0):
            run["loss"].append(value)
        run["loss"].append(3.0, step=7.5)
        run["loss"].append(4.0)
        assert points(run, "loss") == [(0.0, 1.0), (1.0, 2.0), (7.5, 3.0), (8.5, 4.0)]


def test_assigning_a_series_replaces_it(server: RunningServer) -> None:
    with open_run(server, mode="async") as run:
        run["loss"].extend([1.0, 2.0, 3.0])
        run["log"].extend(["a", "b"])
        run.wait()
        run["loss"] = FloatSeries([9.0, 8.0])
        run["log"] = StringSeries(["z"])
        run.wait()
        assert points(run, "loss") == [(0.0, 9.0), (1.0, 8.0)]
        assert points(run, "log") == [(0.0, "z")]


def test_an_empty_series_is_there(server: RunningServer) -> None:
    with open_run(server):
        pass
    nothing = {"entries": []}
    assert execute(server, "TAB-1", ("f", "logFloats", nothing), ("s", "logStrings", nothing)) == []
    assert execute(server, "TAB-1", ("none", "clearFloatSeries", {})) == []
    found = attributes(server, "TAB-1")
    assert (found["f"]["last"], found["f"]["lastStep"]) == (None, None)
    assert (found["s"]["last"], found["s"]["lastStep"]) == (None, None)
    assert "none" not in found
    for kind, path in (("float", "f"), ("string", "s")):
        page = get(server, f"series/{kind}", "TAB-1", path).json()
        assert page == {"totalItemCount": 0, "values": []}


def test_aggregates_and_how_a_series_is_drawn(server: RunningServer) -> None:
    with open_run(server) as run:
        run["loss"] = FloatSeries([1.0, 4.0, 1.0], min=0, max=10, unit="kg")
        assert run["loss"].fetch_last() == 1.0
        run["log"].extend(["a", "b"])
        assert run["log"].fetch_last() == "b"
    said = get(server, "floatSeries", "TAB-1", "loss").json()
    assert said["config"] == {"min": 0.0, "max": 10.0, "unit": "kg"}
    assert [said[name] for name in ("last", "lastStep", "min", "max")] == [1.0, 2.0, 1.0, 4.0]
    assert [said["average"], said["variance"]] == [2.0, 2.0]
    assert attributes(server, "TAB-1")["log"] == {
        "attributeName": "log",
        "attributeType": "stringSeries",
        "last": "b",
        "lastStep": 1.0,
    }


def test_what_json_does_not_have_is_text(server: RunningServer) -> None:
    """The vendor's client sends none of these; its fork does, by names of its own."""
    with open_run(server):
        pass
    odd = logged((0, "NaN"), (1, "PosInf"), (2, "NegInf"), (3, "NaN(9221120237041090561)"))
    refused = execute(
        server, "TAB-1", ("f", "logFloats", odd), ("zero", "assignFloat", {"value": "NegZero"})
    )
    assert refused == []
    values = get(server, "series/float", "TAB-1", "f").json()["values"]
    assert [one["value"] for one in values] == ["NaN", "Infinity", "-Infinity", "NaN"]
    assert attributes(server, "TAB-1")["f"]["last"] == "NaN"
    assert attributes(server, "TAB-1")["f"]["min"] is None
    assert math.copysign(1, attributes(server, "TAB-1")["zero"]["value"]) == -1


def test_csv_has_a_line_a_point(server: RunningServer) -> None:
    with open_run(server) as run:
        run["loss"].extend([1.5, 1e-300], steps=[0, 2.5], timestamps=[NOON, NOON + 1])
        run["log"].extend(['a,"b"', "c"], steps=[1, 2], timestamps=[NOON, NOON])
    answer = get(server, "floatSeries/csv", "TAB-1", "loss")
    assert answer.text == f"0.0,{NOON}000,1.5\n2.5,{NOON + 1}000,1e-300\n"
    assert answer.headers["content-disposition"] == 'attachment; filename="loss.csv"'
    answer = get(server, "floatSeries/csv", "TAB-1", "loss", gzipped="true")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.endswith("1e-300\n")
    answer = get(server, "stringSeries/csv", "TAB-1", "log")
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["1.0", f"{NOON}000", 'a,"b"'],
        ["2.0", f"{NOON}000", "c"],
    ]
