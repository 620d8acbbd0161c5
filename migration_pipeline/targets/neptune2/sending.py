"""Sends one run: attributes, points of series, files, and what is kept beside.

Points are appended, so a request that was cut off must not be sent again as it is: the server is
asked how far each series has come, and gets the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.points import Points, Rows, Sent
from migration_pipeline.mapping.scan import FileRow, RunScan, line_rows
from migration_pipeline.mapping.steps import Bools, as_double, as_doubles
from migration_pipeline.mapping.texts import TextRules, text_beside
from migration_pipeline.mapping.values import to_text
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.capabilities import (
    DATETIMES_MS,
    OPERATIONS_BYTES,
    TEXT_POINTS_PER_OPERATION,
    WHOLE_NUMBERS,
)
from migration_pipeline.targets.neptune2.connection import MaybeDoneError
from migration_pipeline.targets.neptune2.logs import Entry, Log
from migration_pipeline.targets.neptune2.numbers import all_encoded, decoded, encoded
from migration_pipeline.targets.neptune2.placing import PLACES, Placer
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.sending import (
    Parameter,
    RemoteSender,
    Upload,
)
from migration_pipeline.targets.target import Meter

_RESUMED = 5
"""How often one request is gone on with after it was cut off."""


class Sender(RemoteSender):
    """To one run, which has nothing of the archive yet.

    Args:
        run: the server's id of it.
    """

    file_series = ("histogram_series",)

    def __init__(
        self, api: Api, run: str, scan: RunScan, scratch: Path, meter: Meter | None
    ) -> None:
        super().__init__(scan, scratch, meter)
        self._api, self._run = api, run
        # Steps of a series of files must grow, and an archive has them in any order.
        self.files.rows.sort(key=lambda row_of: _in_series(row_of[0]))
        self._placer = Placer(api, run, scan, self.keys, self.append)
        self._text: list[Log] = []
        self._text_bytes = 0
        self._text_count = 0
        self._texts = TextRules(self.can)
        self._words = api.to.dialect.words

    # --- parameters -----------------------------------------------------------------------------

    def encode(self, kind: str, value: Any, text: str, cut: bool) -> tuple[Any, bool]:
        """Numbers, times and truth values natively, unless the protocol's are too small."""
        if kind == "float" and (self.can.nan or math.isfinite(value)):
            return self._encoded(value), True
        if kind == "bool":
            return bool(value), True
        of_its_kind = {"int": WHOLE_NUMBERS, "datetime": DATETIMES_MS}
        if value in of_its_kind.get(kind, ()):
            return int(value), True
        return text, not cut

    def _encoded(self, value: float) -> float | str:
        return encoded(value) if self._words else value

    def hides(self, points: Points, sent: Sent) -> Bools:
        """Infinities as well, where the server takes none: a stand-in would spoil the chart."""
        if self.can.infinity:
            return super().hides(points, sent)
        hidden: Bools = ~np.isfinite(points.values)
        return hidden

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        self._api.execute(self._run, [_assignment(one) for one in parameters])

    # --- points ---------------------------------------------------------------------------------

    def put_points(self, pieces: Sequence[Piece]) -> None:
        self.append([_floats(piece, self._words) for piece in pieces])

    def put_lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        """A text series; lines that the server would not take, or would cut, are kept beside."""
        name = self.keys[path, kind]
        entries: list[Entry] = []
        count = 0
        for step, at, text in line_rows(kind, batch, rows):
            count += 1
            if step is not None and not self._texts.reason(path, step, at, text):
                entry = {"value": text, "step": as_double(step), "timestampMilliseconds": at}
                entries.append(entry)
                self._text_bytes += len(text) + 80
                continue
            file = self.scratch / text_beside(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as stream:
                sidecar.write_line(stream, sidecar.text_line(step, at, text))
        for start in range(0, len(entries), TEXT_POINTS_PER_OPERATION):
            part = entries[start : start + TEXT_POINTS_PER_OPERATION]
            self._text.append(Log(name, "logStrings", part))
        self._text_count += len(entries)
        if self._text_count >= self.can.points_per_request or self._text_bytes > OPERATIONS_BYTES:
            self._flush_text()
        self.count(points=count)

    def _flush_text(self) -> None:
        if self._text:
            self.append(self._text)
            self._text, self._text_bytes, self._text_count = [], 0, 0

    def finish_points(self) -> None:
        self._flush_text()

    def append(self, logs: Sequence[Log]) -> None:
        """Appends points to series, each once."""
        left = list(logs)
        for tried in range(_RESUMED):
            body = orjson.dumps(
                [{"path": log.path, log.operation: {"entries": log.entries}} for log in left]
            )
            try:
                self._api.execute_raw(self._run, body, once=True)
                return
            except MaybeDoneError as error:
                if tried == _RESUMED - 1:
                    raise self._api.to.unavailable(str(error)) from error
                time.sleep(0.1 * 2**tried)
                left = self._not_there(left)
                if not left:
                    return

    def _not_there(self, logs: Sequence[Log]) -> list[Log]:
        there = self._api.attributes(self._run)
        left = [log.after(_last_step(there.get(log.path))) for log in logs]
        return [log for log in left if log.entries]

    # --- files ----------------------------------------------------------------------------------

    def put_files(self, files: Sequence[Upload]) -> None:
        places = self._placer.put(files)
        if places:
            listing = self.scratch / PLACES
            listing.parent.mkdir(parents=True, exist_ok=True)
            with listing.open("ab") as stream:
                for place in places:
                    sidecar.write_line(stream, place.line())


def _in_series(row: FileRow) -> tuple[str, float]:
    if row.type != "file_series":
        return "", 0
    return row.attribute, math.inf if row.step is None else row.step


def _assignment(one: Parameter) -> dict[str, Any]:
    if one.kind == "datetime" and isinstance(one.shown, int):
        return {"path": one.name, "assignDatetime": {"valueMilliseconds": one.shown}}
    operation = "assignString"
    if isinstance(one.shown, bool):
        operation = "assignBool"
    elif isinstance(one.shown, int):
        operation = "assignInt"
    elif one.kind == "float" and one.shown not in _TEXTS:
        operation = "assignFloat"
    return {"path": one.name, operation: {"value": one.shown}}


_TEXTS = frozenset(to_text("float", value) for value in (math.nan, math.inf, -math.inf))
"""Floats that are text where the server takes none of these."""


def _floats(piece: Piece, words: bool) -> Log:
    steps = as_doubles(piece.steps).tolist()
    values = all_encoded(piece.values) if words else piece.values.tolist()
    entries = [
        {"value": value, "step": step, "timestampMilliseconds": at}
        for value, step, at in zip(values, steps, piece.times.tolist(), strict=True)
    ]
    return Log(piece.key, "logFloats", entries)


def _last_step(attribute: dict[str, Any] | None) -> float | None:
    if attribute is None:
        return None
    step = (attribute.get(f"{attribute['type']}Properties") or {}).get("lastStep")
    return None if step is None else decoded(step)
