"""Points: pages in both orders, ranges, tails, previews, buckets, limits."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import neptune_query
import numpy as np
import pytest
from neptune_query import runs
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import requests_pb2
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoTimeseriesBucketsDTO,
)
from neptune_query.internal.retrieval import metrics as query_metrics

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.series import FloatSeries
from migration_pipeline.neptune_server.store import HistogramValue

from .conftest import NOON, PROJECT, Api, add_points, forget_query, point_query_at

HOLDER = f"{PROJECT}/VISIO-1"
ODD = [float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 5e-324]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    store = Store()
    run = store.project(PROJECT).create_run("run", experiment="exp")
    add_points(run, "ten", range(10))
    add_points(run, "decimal", [0, 0.1, 0.25, 123456789.123456])
    add_points(run, "odd", range(6), ODD)
    run.extend_series("log", "string_series", [(s, NOON + s, f"line {s}") for s in range(7)])
    run.extend_series("big", "string_series", [(s, NOON, "x" * 3_000_000) for s in range(8)])
    histogram = HistogramValue("COUNTING", (0.0, 1.0, 2.5), (1.0, 2.0))
    run.extend_series("hist", "histogram_series", [(0.5, NOON, histogram)])
    ahead = run.float_series("ten")
    ahead.previews[12.0] = (NOON + 12, 0.5, 0.25)
    with running_server(store) as server:
        point_query_at(server)
        yield server
        forget_query()


@pytest.fixture
def api(server: RunningServer) -> Iterator[Api]:
    yield Api(server)
    server.faults.clear()


def steps(points: list[tuple[float, float]]) -> list[float]:
    return [step for step, _ in points]


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("page", [1, 3, 5, 10, 11])
def test_pages_neither_lose_nor_repeat(api: Api, order: str, page: int) -> None:
    seen: list[float] = []
    more: dict[str, Any] = {}
    while points := api.floats(HOLDER, "ten", order=order, perSeriesPointsLimit=page, **more):
        assert len(points) <= page
        seen += steps(points)
        more = {"afterStep": seen[-1]}
    assert seen == (list(range(10)) if order == "ascending" else list(range(9, -1, -1)))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (None, 3, [0, 1, 2, 3]),
        (8, None, [8, 9]),
        (5, 5, [5]),
        (2.5, 3.5, [3]),
        (100, None, []),
        (7, 3, []),
    ],
)
def test_a_step_range_is_closed(
    api: Api, low: float | None, high: float | None, expected: list[float]
) -> None:
    limits = {"from": low, "to": high}
    assert steps(api.floats(HOLDER, "ten", order="ascending", stepRange=limits)) == expected
    tail = api.floats(HOLDER, "ten", order="descending", stepRange=limits, perSeriesPointsLimit=2)
    assert steps(tail) == expected[::-1][:2]


def test_the_client_gets_all_pages_exactly(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_metrics, "TOTAL_POINT_LIMIT", 8)
    frame = runs.fetch_metrics(project=PROJECT, runs="run", attributes="^(ten|odd|decimal)$")
    assert frame["ten"].dropna().index.get_level_values("step").to_list() == list(range(10))
    assert frame["decimal"].dropna().index.get_level_values("step").to_list() == [
        0,
        0.1,
        0.25,
        123456789.123456,
    ]


def test_values_arrive_bit_by_bit(api: Api, server: RunningServer) -> None:
    values = [value for _, value in api.floats(HOLDER, "odd", order="ascending")]
    assert np.array(values).tobytes() == np.array(ODD).tobytes()


def test_what_does_not_exist_is_no_error(api: Api) -> None:
    assert api.floats(HOLDER, "unknown") == []
    assert api.floats(HOLDER, "log") == []
    assert api.floats(f"{PROJECT}/VISIO-99", "ten") == []
    assert api.floats("acme/unknown/X-1", "ten") == []
    assert not api.objects([request(HOLDER, "ten"), request(HOLDER, "unknown")]).series


def test_previews_come_when_asked_for(server: RunningServer) -> None:
    frame = runs.fetch_metrics(
        project=PROJECT, runs="run", attributes=["ten"], include_point_previews=True
    )
    assert frame.loc[("run", 12.0)].to_list() == [0.5, True, 0.25]
    assert frame.loc[("run", 9.0)].to_list() == [9.0, False, 1.0]
    without = runs.fetch_metrics(project=PROJECT, runs="run", attributes=["ten"])
    assert len(without) == 10


def request(holder: str, path: str, **more: Any) -> dict[str, Any]:
    series = {
        "holder": {"identifier": holder, "type": "experiment"},
        "attribute": path,
        "lineage": "FULL",
        "lineageEntityType": "RUN",
    }
    return {"requestId": path, "series": series, **more}


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("limit", [None, 0, 1, 4, 7, 100])
def test_pages_of_a_string_series(
    api: Api, server: RunningServer, order: str, limit: int | None
) -> None:
    server.faults.limits.series_points = 3
    seen, more, pages = [], {}, 0
    while True:
        answer = api.objects(
            [request(HOLDER, "log", **more)], order=order, perSeriesPointsLimit=limit
        )
        (series,) = answer.series
        seen += [p.object.stringValue for p in series.seriesValues.values]
        pages += 1
        if series.searchAfter.finished:
            break
        more = {"searchAfter": {"finished": False, "token": series.searchAfter.token}}
    lines = [f"line {n}" for n in range(7)]
    assert seen == (lines if order == "ascending" else lines[::-1])[:limit]
    assert pages == max(1, math.ceil(len(seen) / 3))


def test_series_beyond_the_answer_are_present_without_a_mark(
    api: Api, server: RunningServer
) -> None:
    answer = api.objects([request(HOLDER, "big"), request(HOLDER, "log")], order="descending")
    big, log = answer.series
    assert not big.searchAfter.finished
    assert 5 <= len(big.seriesValues.values) < 8
    assert not log.HasField("searchAfter")
    frame = runs.fetch_series(project=PROJECT, runs="run", attributes=["big", "log"])
    assert frame["log"].dropna().to_list() == [f"line {n}" for n in range(7)]
    assert frame["big"].dropna().map(len).to_list() == [3_000_000] * 8


def test_histograms_and_tails(server: RunningServer) -> None:
    (histogram,) = runs.fetch_series(project=PROJECT, runs="run", attributes=["hist"])["hist"]
    assert (histogram.type, histogram.edges, histogram.values) == (
        "COUNTING",
        [0.0, 1.0, 2.5],
        [1.0, 2.0],
    )
    tail = runs.fetch_series(
        project=PROJECT, runs="run", attributes=["log"], tail_limit=2, step_range=(None, 4)
    )
    assert tail["log"].to_list() == ["line 3", "line 4"]


def test_at_most_2000_object_series_in_a_request(api: Api) -> None:
    one = request(HOLDER, "hist")
    assert len(api.objects([one] * 2000).series) == 2000
    refused = api.post("/proto/attributes/series", {"requests": [one] * 2001})
    assert refused.status_code == 400
    assert len(api.floats(HOLDER, "ten")) == 10


# Buckets


def buckets_of(
    api: Api, paths: list[str], count: int, low: float | None = None, high: float | None = None
) -> list[list[Any]]:
    asked = requests_pb2.ProtoGetTimeseriesBucketsRequest()
    asked.view.maxBuckets = count
    asked.view.xAxis.steps.SetInParent()
    if low is not None:
        setattr(asked.view, "from", low)
    if high is not None:
        asked.view.to = high
    for path in paths:
        asked.expressions.add(
            requestId=str(uuid.uuid4()), runId=HOLDER, customYFormula=f"${{{path}}}"
        )
    answer = api.http.post(
        "/api/leaderboard/v1/proto/attributes/timeseries/buckets",
        content=asked.SerializeToString(),
    )
    assert answer.status_code == 200, answer.text
    entries = ProtoTimeseriesBucketsDTO.FromString(answer.content).entries
    assert [e.requestId for e in entries] == [e.requestId for e in asked.expressions]
    return [list(entry.bucket) for entry in entries]


def test_buckets_part_the_range_of_all_series(api: Api) -> None:
    ten, odd, none = buckets_of(api, ["ten", "odd", "unknown"], 4)
    assert none == []
    assert [(b.index, b.fromX, b.toX) for b in ten] == [
        (0, -math.inf, 0.0),
        (1, 0.0, 3.0),
        (2, 3.0, 6.0),
        (3, 6.0, 9.0),
    ]
    assert [(b.first.x, b.last.x, b.finitePointCount, b.localSum) for b in ten] == [
        (0, 0, 1, 0),
        (1, 3, 3, 6),
        (4, 6, 3, 15),
        (7, 9, 3, 24),
    ]
    assert [b.index for b in odd] == [0, 1, 2]
    assert not odd[0].HasField("first")
    assert (odd[0].nanCount, odd[1].positiveInfCount, odd[1].negativeInfCount) == (1, 1, 1)
    assert (odd[1].first.x, odd[1].finitePointCount) == (3, 1)


def test_points_outside_an_explicit_range_are_in_the_outer_buckets(api: Api) -> None:
    (ten,) = buckets_of(api, ["ten"], 2, low=3, high=5)
    assert [(b.index, b.fromX, b.toX, b.finitePointCount) for b in ten] == [
        (0, -math.inf, 3, 4),
        (1, 3, 5, 2),
        (2, 5, math.inf, 4),
    ]


def test_a_range_of_no_width_is_one_bucket(api: Api, server: RunningServer) -> None:
    add_points(server.store.project(PROJECT).runs["VISIO-1"], "single point", [4])
    (single,) = buckets_of(api, ["single point"], 5)
    assert [(b.index, b.fromX, b.toX, b.first.x) for b in single] == [(0, 4, math.inf, 4)]


def test_buckets_through_the_client(server: RunningServer) -> None:
    run = server.store.project(PROJECT).runs["VISIO-1"]
    add_points(run, "a ${odd} \\ {name}", [0, 1, 2])
    frame = neptune_query.fetch_metric_buckets(
        project=PROJECT, experiments=["exp"], y=["ten", "a ${odd} \\ {name}"], x="step", limit=3
    )
    assert frame[("exp", "ten", "y")].to_list() == [0.0, 6.0, 9.0]


# The arrays below


def test_a_long_series_is_taken_without_copying_and_grows() -> None:
    series = FloatSeries()
    given = np.arange(1_000_000, dtype=float)
    series.extend(given, np.zeros(1_000_000, np.int64), given)
    assert np.shares_memory(series.values, given)
    series.append(1e6, 1, 1e6)
    series.extend(np.array([1e6 + 1]), np.array([2]), np.array([0.0]))
    assert len(series) == 1_000_002
    assert given[-1] == 999_999
    assert series.steps[-3:].tolist() == [999_999, 1e6, 1e6 + 1]
    with pytest.raises(ValueError, match="decrease"):
        series.extend(np.array([5.0]), np.array([2]), np.array([0.0]))


def test_aggregates_of_blocks_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, 2_500_000)
    series = FloatSeries()
    series.extend(np.arange(len(values), dtype=float), np.zeros(len(values), np.int64), values)
    found = series.aggregates()
    assert found is not None
    assert found.variance == pytest.approx(values.var(), rel=1e-9)
    assert found.average == pytest.approx(values.mean(), rel=1e-12)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
