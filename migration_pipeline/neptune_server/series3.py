"""3.x endpoints that tell the points of series, and buckets of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    requests_pb2,
    series_values_pb2,
)
from starlette.requests import Request
from starlette.responses import Response

from . import wire
from .faults import Faults
from .lineage import ObjectPoints, Scope, float_points, object_points
from .retrieval3 import PROTOBUF, _json
from .store import Store
from .types3 import bad_request, point_value
from .wire import FloatPoints

MAX_OBJECT_SERIES = 2000
"""Series in one request of string, histogram or file series; one more is an error (measured)."""
MAX_BUCKET_SERIES = 1000
_POINTS_IN_ALL = 1_000_000
_BYTES_IN_ALL = 16_000_000
_FORMULA = re.compile(r"\$\{((?:[^\\{}$]|\\.)*)\}", re.DOTALL)


class Series:
    """Points and buckets. One instance per server."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults

    def floats(self, _: Request, body: bytes) -> Response:
        """Pages of float series: `afterStep` is exclusive in the order's direction.

        A series that does not exist is left out of the answer.
        """
        params = _json(body)
        requests = params.get("requests") or []
        limit = params.get("perSeriesPointsLimit")
        limit = max(1, _POINTS_IN_ALL // max(1, len(requests))) if limit is None else limit
        cap = self.faults.limits.float_points
        limit = limit if cap is None else min(limit, cap)
        answers = []
        with self.store.lock:
            for one in requests:
                points = self._float_points(one["series"])
                if points is not None:
                    points = _in_range(points, params)
                    page = _page(points, params, one.get("afterStep"), limit)
                    answers.append((one["requestId"], len(points), page))
        return Response(wire.encode_response(answers), media_type=PROTOBUF)

    def objects(self, _: Request, body: bytes) -> Response:
        """Pages of string, histogram and file series.

        An answer holds a bounded number of points and bytes; series that it did not reach come
        without `searchAfter` and are asked for again. Series that do not exist are left out.
        """
        params = _json(body)
        requests = params.get("requests") or []
        if len(requests) > MAX_OBJECT_SERIES:
            raise bad_request(f"At most {MAX_OBJECT_SERIES} series are allowed in a request")
        result = series_values_pb2.ProtoSeriesValuesResponseDTO()
        budget = _Budget(self.faults.limits.series_points, _BYTES_IN_ALL)
        with self.store.lock:
            for one in requests:
                series = one["series"]
                run = self.store.resolve(series["holder"]["identifier"])
                if run is None:
                    continue
                points = object_points(run, series["attribute"], _scope(series))
                if points is None:
                    continue
                answer = result.series.add(requestId=one["requestId"])
                if not budget.spent:
                    _object_page(points, params, one.get("searchAfter"), budget, answer)
        return Response(result.SerializeToString(), media_type=PROTOBUF)

    def buckets(self, _: Request, body: bytes) -> Response:
        """Every request gets an entry; one for a series that does not exist has no buckets."""
        asked = requests_pb2.ProtoGetTimeseriesBucketsRequest()
        try:
            asked.ParseFromString(body)
        except DecodeError as error:
            raise bad_request(f"The request's body is not protobuf: {error}") from error
        if len(asked.expressions) > MAX_BUCKET_SERIES:
            raise bad_request(f"At most {MAX_BUCKET_SERIES} series are allowed in a request")
        with self.store.lock:
            series = [(one.requestId, self._expression(one)) for one in asked.expressions]
        bounds = _bounds(asked.view, [points for _, points in series])
        result = series_values_pb2.ProtoTimeseriesBucketsDTO()
        for request_id, points in series:
            entry = result.entries.add(requestId=request_id)
            if bounds is not None and points is not None:
                _fill_buckets(points, bounds, asked.view.maxBuckets, entry)
        return Response(result.SerializeToString(), media_type=PROTOBUF)

    def _float_points(self, series: dict[str, Any]) -> FloatPoints | None:
        run = self.store.resolve(series["holder"]["identifier"])
        if run is None:
            return None
        previews = bool(series.get("includePreview"))
        return float_points(run, series["attribute"], _scope(series), previews)

    def _expression(self, one: requests_pb2.ProtoCustomExpression) -> FloatPoints | None:
        run = self.store.resolve(one.runId)
        formula = _FORMULA.fullmatch(one.customYFormula)
        if formula is None:
            raise bad_request(f"Unsupported formula {one.customYFormula!r}")
        if run is None:
            return None
        path = re.sub(r"\\(.)", r"\1", formula[1], flags=re.DOTALL)
        scope = Scope(
            full=one.lineage == requests_pb2.ProtoLineage.FULL,
            experiment=one.entityType == requests_pb2.LineageEntityType.EXPERIMENT,
        )
        return float_points(run, path, scope, one.includePreview)


class _Budget:
    """What is left of an answer's size. At least one point always goes through."""

    def __init__(self, points: int, size: int) -> None:
        self.points = points
        self.size = size

    @property
    def spent(self) -> bool:
        return self.points <= 0 or self.size <= 0

    def use(self, size: int) -> None:
        self.points -= 1
        self.size -= size


def _scope(series: dict[str, Any]) -> Scope:
    return Scope(
        full=series.get("lineage") == "FULL",
        experiment=series.get("lineageEntityType") == "EXPERIMENT",
    )


def _range(params: dict[str, Any]) -> tuple[float, float]:
    given = params.get("stepRange") or {}
    low, high = given.get("from"), given.get("to")
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _in_range(points: FloatPoints, params: dict[str, Any]) -> FloatPoints:
    low, high = _range(params)
    start = int(np.searchsorted(points.steps, low, side="left"))
    end = int(np.searchsorted(points.steps, high, side="right"))
    return points.take(slice(start, max(start, end)))


def _page(
    points: FloatPoints, params: dict[str, Any], after: float | None, limit: int
) -> FloatPoints:
    if params.get("order") == "descending":
        end = len(points)
        if after is not None:
            end = int(np.searchsorted(points.steps, after, side="left"))
        return points.take(slice(max(0, end - limit), end)).take(slice(None, None, -1))
    start = 0
    if after is not None:
        start = int(np.searchsorted(points.steps, after, side="right"))
    return points.take(slice(start, start + limit))


def _object_page(
    points: ObjectPoints,
    params: dict[str, Any],
    search_after: dict[str, Any] | None,
    budget: _Budget,
    answer: Any,
) -> None:
    """The next points of one series. The token holds the last step and the number sent."""
    limit = params.get("perSeriesPointsLimit")
    sent, last = 0, None
    if search_after:
        try:
            last, sent = json.loads(search_after["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request("The searchAfter token is not one of this server's") from error
    finished = True
    answer.seriesValues.SetInParent()
    for index in _in_order(points, params, last):
        if limit is not None and sent >= limit:
            break
        if budget.spent:
            finished = False
            break
        value = answer.seriesValues.values.add(
            timestamp_millis=points.timestamps[index],
            step=points.steps[index],
            completion_ratio=1.0,
        )
        point_value(points.type, points.values[index], value.object)
        budget.use(value.ByteSize())
        sent, last = sent + 1, points.steps[index]
    answer.searchAfter.finished = finished
    answer.searchAfter.token = json.dumps([last, sent])


def _in_order(points: ObjectPoints, params: dict[str, Any], after: float | None) -> Iterator[int]:
    low, high = _range(params)
    descending = params.get("order") == "descending"
    indices = range(len(points.steps))
    for index in reversed(indices) if descending else indices:
        step = points.steps[index]
        beyond = after is None or (step < after if descending else step > after)
        if low <= step <= high and beyond:
            yield index


def _bounds(view: Any, series: list[FloatPoints | None]) -> tuple[float, float] | None:
    """The view's range, where it is open the steps of all series; None without any point."""
    filled = [points for points in series if points is not None and len(points)]
    if not filled:
        return None
    low = min(float(points.steps[0]) for points in filled)
    high = max(float(points.steps[-1]) for points in filled)
    return (
        getattr(view, "from") if view.HasField("from") else low,
        view.to if view.HasField("to") else high,
    )


def _fill_buckets(points: FloatPoints, bounds: tuple[float, float], count: int, entry: Any) -> None:
    """Bucket 0 ends at the lower bound, 1 to count-1 part the range (open left, closed right),
    the last begins at the upper bound. A range of no width is one bucket, index 0 (measured)."""
    low, high = bounds
    if low == high:
        edges = np.array([low])
        numbers = np.zeros(len(points), np.int64)
    else:
        edges = np.linspace(low, high, max(2, count))
        numbers = np.searchsorted(edges, points.steps, side="left")
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(points)], strict=False):
        number = int(numbers[start])
        bucket = entry.bucket.add(index=number)
        if low == high:
            bucket.fromX, bucket.toX = low, math.inf
        else:
            bucket.fromX = -math.inf if number == 0 else edges[number - 1]
            bucket.toX = edges[number] if number < len(edges) else math.inf
        _describe(points.steps[start:end], points.values[start:end], bucket)


def _describe(steps: Any, values: Any, bucket: Any) -> None:
    finite = np.isfinite(values)
    bucket.finitePointCount = int(finite.sum())
    bucket.nanCount = int(np.isnan(values).sum())
    bucket.positiveInfCount = int(np.isposinf(values).sum())
    bucket.negativeInfCount = int(np.isneginf(values).sum())
    if not bucket.finitePointCount:
        return
    steps, values = steps[finite], values[finite]
    bucket.first.x, bucket.first.y = steps[0], values[0]
    bucket.last.x, bucket.last.y = steps[-1], values[-1]
    bucket.localMin, bucket.localMax = values.min(), values.max()
    with np.errstate(over="ignore"):
        bucket.localSum = values.sum()
