"""Points of float and string series: pages of them, and all as CSV."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from migration_pipeline.neptune_server.faults import Faults
from migration_pipeline.neptune_server.series import FloatSeries, ObjectSeries
from migration_pipeline.neptune_server.store import Store

from .attributes import json_number
from .finding import find_attribute, number


class SeriesPoints:
    """One instance per server."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "getFloatSeriesValues": self.floats,
            "getStringSeriesValues": self.strings,
            "getFloatSeriesValuesCSV": self.floats_csv,
            "getStringSeriesValuesCSV": self.strings_csv,
        }

    def floats(self, request: Request, _: bytes) -> Response:
        """Points by offset and limit, which `Limits.points_of_one` bounds."""
        return self._page(request, "float_series")

    def strings(self, request: Request, _: bytes) -> Response:
        """The same of text."""
        return self._page(request, "string_series")

    def floats_csv(self, request: Request, _: bytes) -> Response:
        """All points, a line of step, timestamp and value each.

        The order is the one in which the older client picks the columns; how the server writes
        them is assumed: no header, numbers as in JSON.
        """
        return self._csv(request, "float_series")

    def strings_csv(self, request: Request, _: bytes) -> Response:
        """The same of text, quoted where it must be (assumed)."""
        return self._csv(request, "string_series")

    def _page(self, request: Request, type_: str) -> Response:
        cap = self.faults.limits.points_of_one
        start = number(request, "offset", 0)
        end = start + min(number(request, "limit", cap), cap)
        with self.store.lock:
            _run, _path, found = find_attribute(self.store, request, type_)
            total = len(found.value)
            rows = list(_rows(found.value, start, end))
        values = [{"step": s, "timestampMillis": t, "value": v} for s, t, v in rows]
        page = orjson.dumps({"totalItemCount": total, "values": values})
        return Response(page, media_type="application/json")

    def _csv(self, request: Request, type_: str) -> Response:
        text = io.StringIO()
        with self.store.lock:
            _run, path, found = find_attribute(self.store, request, type_)
            csv.writer(text, lineterminator="\n").writerows(_rows(found.value, 0, len(found.value)))
        content, headers = text.getvalue().encode(), {}
        if request.query_params.get("gzipped", "").lower() == "true":
            content, headers = gzip.compress(content, mtime=0), {"Content-Encoding": "gzip"}
        name = path.rsplit("/", 1)[-1].encode("ascii", "replace").decode().replace('"', "_")
        headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return Response(content, media_type="text/csv", headers=headers)


def _rows(
    series: FloatSeries | ObjectSeries, start: int, end: int
) -> Iterator[tuple[float, int, Any]]:
    """(step, timestamp in ms, value) as JSON can hold them."""
    if isinstance(series, ObjectSeries):
        return zip(
            series.steps[start:end],
            series.timestamps[start:end],
            series.values[start:end],
            strict=True,
        )
    values = series.values[start:end]
    plain: list[Any] = values.tolist()
    if not np.isfinite(values).all():
        plain = [json_number(value) for value in plain]
    return zip(
        series.steps[start:end].tolist(),
        series.timestamps[start:end].tolist(),
        plain,
        strict=True,
    )
