"""Points of many series at once, page by page.

A request names many series of many runs; each keeps a cursor, and a series leaves the request when
it has ended. The next page is asked for from the last step received, never from the page size that
was asked for, so a server that gives less than asked loses nothing. Lineage NONE of the run itself:
inherited points belong to the parent, which is exported too, and the fork point is an attribute.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.schema import (
    FloatSeriesBuilder,
    make_batch,
)
from migration_pipeline.errors import IncompleteAnswerError
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.neptune3.values import Series, StoredFile
from migration_pipeline.sources.neptune3.wire import Points, decode_float_series
from migration_pipeline.sources.source import Rows, RunRef
from migration_pipeline.sources.steps import check_step, to_micros

FLOAT_SERIES_PER_REQUEST = 2_000
OTHER_SERIES_PER_REQUEST = 2_000
"""The server refuses more in one request for string, histogram and file series."""
POINTS_PER_REQUEST = 200_000
"""Keeps an answer near 6 MB; neptune-query asks for up to a million."""


@dataclass
class Cursor:
    """How far one series has been read."""

    series: Series
    after_step: float | None = None
    token: str | None = None
    points: int = 0
    previews: int = 0

    @property
    def run(self) -> RunRef:
        return self.series.run


def _request(cursor: Cursor, request_id: str) -> dict[str, Any]:
    run = cursor.run
    return {
        "requestId": request_id,
        "series": {
            "holder": {"identifier": f"{run.key.project}/{run.handle}", "type": "experiment"},
            "attribute": cursor.series.attribute,
            "lineage": "NONE",
            "lineageEntityType": "RUN",
        },
    }


def float_page(
    client: Neptune3Client, cursors: Sequence[Cursor], previews: bool
) -> tuple[list[Rows], list[Cursor]]:
    """One page for all cursors: their rows by run, and the cursors that are not at their end."""
    limit = max(1, POINTS_PER_REQUEST // len(cursors))
    requests = []
    for i, cursor in enumerate(cursors):
        request = _request(cursor, str(i))
        request["series"]["includePreview"] = previews
        if cursor.after_step is not None:
            request["afterStep"] = cursor.after_step
        requests.append(request)
    answer = client.float_series(
        cursors[0].run.key.project,
        {
            "requests": requests,
            "stepRange": {"from": None, "to": None},
            "order": "ascending",
            "perSeriesPointsLimit": limit,
        },
    )
    received: dict[int, Points] = {}
    for points in decode_float_series(answer):
        if len(points):
            series = cursors[int(points.request_id)].series
            for step in (points.first_step, points.highest_step):  # they ascend
                check_step(series.run, series.attribute, step)
            received[int(points.request_id)] = points
    unfinished = []
    for i, points in received.items():
        cursor = cursors[i]
        cursor.after_step = points.last_step
        cursor.points += len(points)
        cursor.previews += points.previews
        # A server's last step is that of the last ordinary point: previews end with an empty page.
        if previews or not _ended(cursor, points, limit):
            unfinished.append(cursor)
    rows = []
    for run, group in itertools.groupby(sorted(received), key=lambda i: cursors[i].run):
        members = list(group)
        rows.append(_float_rows(run, [(cursors[i].series.attribute, received[i]) for i in members]))
    return rows, unfinished


def _ended(cursor: Cursor, points: Points, limit: int) -> bool:
    """A page shorter than asked for ends a series, unless the server named a later step."""
    if len(points) >= limit:
        return False
    last = cursor.series.last_step
    return last is None or points.highest_step >= last


def _float_rows(run: RunRef, members: Sequence[tuple[str, Points]]) -> Rows:
    lengths = [len(points) for _, points in members]
    builder = FloatSeriesBuilder(sum(lengths))
    at = 0
    for (_, points), length in zip(members, lengths, strict=True):
        points.fill(builder, at)
        at += length
    codes = np.repeat(np.arange(len(members), dtype=np.int32), lengths)
    names = pa.array([path for path, _ in members], type=pa.string())
    paths = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    return Rows(run, builder.batch(run.key.project, run.key.run, paths))


def other_page(
    client: Neptune3Client, cursors: Sequence[Cursor]
) -> tuple[list[Rows], list[StoredFile], list[Cursor]]:
    """One page of string, histogram and file series: rows, files to download, what is left."""
    requests = []
    for i, cursor in enumerate(cursors):
        request = _request(cursor, str(i))
        if cursor.token is not None:
            request["searchAfter"] = {"finished": False, "token": cursor.token}
        requests.append(request)
    answer = client.series(
        cursors[0].run.key.project,
        {
            "requests": requests,
            "stepRange": {"from": None, "to": None},
            "order": "ascending",
        },
    )
    rows: dict[RunRef, list[dict[str, Any]]] = {}
    files: list[StoredFile] = []
    unfinished: list[Cursor] = []
    progress = False
    for series in answer.series:
        cursor = cursors[int(series.requestId)]
        cursor.points += len(series.seriesValues.values)
        for point in series.seriesValues.values:
            steps = np.array([point.step])
            micros = int(to_micros(cursor.run, cursor.series.attribute, steps)[0])
            _take(cursor, point, micros, rows, files)
        if not series.HasField("searchAfter"):
            unfinished.append(cursor)  # it exists and was not reached by this page
        elif not series.searchAfter.finished:
            progress = True
            cursor.token = series.searchAfter.token
            unfinished.append(cursor)
        else:
            progress = True
    batches = [Rows(run, make_batch(run.key.project, run.key.run, r)) for run, r in rows.items()]
    if progress:
        return batches, files, unfinished
    # As neptune-query, stop asking: a series that shows only its parent's points is never reached.
    # One that had begun must go on, though.
    if begun := [c.series.attribute for c in unfinished if c.points]:
        raise IncompleteAnswerError(
            f"the server stopped in the middle of {len(begun)} series, such as {begun[0]!r}"
        )
    return batches, files, []


def _take(
    cursor: Cursor,
    point: Any,
    micros: int,
    rows: dict[RunRef, list[dict[str, Any]]],
    files: list[StoredFile],
) -> None:
    series, value = cursor.series, point.object
    if value.HasField("fileRef"):
        stored = value.fileRef
        files.append(
            StoredFile(
                series.run,
                series.attribute,
                series.type,
                stored.path,
                stored.sizeBytes,
                stored.mimeType,
                micros,
                point.timestamp_millis,
            )
        )
        return
    content: Any
    if value.HasField("histogram"):
        histogram = value.histogram
        content = {
            "type": histogram.type,
            "edges": list(histogram.edges),
            "values": list(histogram.values),
        }
    else:
        content = value.stringValue
    rows.setdefault(series.run, []).append(
        {
            "path": series.attribute,
            "type": series.type,
            "value": content,
            "step": micros,
            "timestamp": point.timestamp_millis,
        }
    )


def in_groups(series: Sequence[Series], size: int) -> Iterator[list[Cursor]]:
    """Cursors of consecutive series, so that the series of one run stand together."""
    for start in range(0, len(series), size):
        yield [Cursor(s) for s in series[start : start + size]]
