"""Sends one run to Lightning AI: points, files, what is kept beside; its parameters go with the
mark of completion, for an update replaces all tags at once.

Points are appended and never merged, so none is sent twice. Where an answer was lost, the summary
that the service keeps of each metric tells whether they arrived; the same summary is asked for
before the run is called complete, since readers see points seconds after they were taken.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline.errors import TargetRefusedError, TargetUnavailableError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.targets.litlogger.capabilities import MAX_PARTS, PART_BYTES
from migration_pipeline.targets.litlogger.connection import Connection
from migration_pipeline.targets.litlogger.records import Experiment, Records
from migration_pipeline.targets.litlogger.refusals import UnclearError
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.sending import Parameter, RemoteSender, Upload
from migration_pipeline.targets.target import Meter

_LOOK_FIRST, _LOOK_MOST = 0.1, 3.0
"""Seconds between looks at what has become visible."""
_UNCLEAR = 5
"""How often points are sent that nobody knows the fate of."""


class Sender(RemoteSender):
    """See `RemoteSender`; `parameters` is filled.

    Args:
        pool: of one thread; while points are on their way, the next ones are made ready.
    """

    points_at_a_time = 10_000

    def __init__(
        self,
        to: Connection,
        records: Records,
        experiment: Experiment,
        scan: RunScan,
        scratch: Path,
        meter: Meter | None,
        pool: Executor,
    ) -> None:
        super().__init__(scan, scratch, meter)
        self._to, self._records, self._experiment = to, records, experiment
        self._sent: dict[str, int] = {}
        self._pool = pool
        self._on_its_way: Future[None] | None = None
        self.parameters: dict[str, str] = {}

    # --- points ---------------------------------------------------------------------------------

    def put_points(self, pieces: Sequence[Piece]) -> None:
        bodies = requests_of(pieces, self.can.points_per_request)
        self._wait()
        self._on_its_way = self._pool.submit(self._append_all, bodies)

    def _wait(self) -> None:
        """For the points that are on their way; raises what became of them."""
        sent, self._on_its_way = self._on_its_way, None
        if sent:
            sent.result()

    def _append_all(self, bodies: Sequence[tuple[bytes, Mapping[str, int]]]) -> None:
        for body, new in bodies:
            self._append(body, new)

    def _append(self, body: bytes, new: Mapping[str, int]) -> None:
        for turn in range(_UNCLEAR):
            try:
                self._to.append(self._experiment.teamspace.id, self._experiment.id, body)
                break
            except UnclearError:
                after = {name: self._sent.get(name, 0) + count for name, count in new.items()}
                if self._visible(after):
                    break
                if turn == _UNCLEAR - 1:
                    raise
        for name, count in new.items():
            self._sent[name] = self._sent.get(name, 0) + count

    def finish_points(self) -> None:
        self._wait()
        if not self._visible(self._sent):
            raise TargetUnavailableError(
                "litlogger",
                self._to.address,
                f"run {self.scan.key}: not all of its points can be read "
                f"{self._to.visible_seconds:g} s after they were taken (LITLOGGER_VISIBLE_SECONDS)",
            )

    def _visible(self, counts: Mapping[str, int]) -> bool:
        """Waits until the service shows that many points of each metric; False: it does not.

        Raises:
            TargetRefusedError: it shows more, or a part of a request.
        """
        if not counts:
            return True
        until, wait = time.monotonic() + self._to.visible_seconds, _LOOK_FIRST
        while True:
            shown = self._records.counts(self._experiment)
            there = {name: int(shown.get(name, {}).get("numValues", 0)) for name in counts}
            more = sorted(name for name, count in counts.items() if there[name] > count)
            if more:
                raise TargetRefusedError(
                    f"target litlogger at {self._to.address}: {more[0]!r} of run {self.scan.key} "
                    f"has {there[more[0]]:,} points there, more than the {counts[more[0]]:,} that "
                    "were sent",
                    "Start again when nobody else writes to that experiment; it is then made anew.",
                )
            if there == counts:
                return True
            if (left := until - time.monotonic()) <= 0:
                return False
            time.sleep(min(wait, left))
            wait = min(2 * wait, _LOOK_MOST)

    # --- parameters and files -------------------------------------------------------------------

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        self.parameters |= {one.name: one.shown for one in parameters}

    def put_files(self, files: Sequence[Upload]) -> None:
        for file in files:
            self._to.patiently(partial(self._put_file, file), f"sending {file.name}")
            self._records.register_file(self._experiment, file.name)

    def _put_file(self, file: Upload) -> None:
        """To addresses that are signed anew for each try: they expire."""
        path = f"{self._experiment.folder}/{file.name}"
        if file.size <= PART_BYTES:
            _, urls = self._records.sign(self._experiment, path)
            with file.source.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                # An empty stream would go in chunks.
                self._put_to(urls[0], stream if size else b"", size)
            return
        each = max(PART_BYTES, math.ceil(file.size / MAX_PARTS))
        upload, urls = self._records.sign(self._experiment, path, math.ceil(file.size / each), each)
        done = []
        with file.source.open("rb") as stream:
            for url in sorted(urls, key=lambda url: int(url["part_number"])):
                content = stream.read(each)
                tag = self._put_to(url, content, len(content))
                done.append({"part_number": url["part_number"], "etag": tag})
        self._records.complete_upload(self._experiment, path, upload, done)

    def _put_to(self, url: Mapping[str, Any], content: Any, size: int) -> str:
        return self._to.put(str(url["url"]), dict(url.get("headers") or {}), content, size)


def requests_of(pieces: Sequence[Piece], most: int) -> list[tuple[bytes, dict[str, int]]]:
    """Requests of at most so many points, each series once in each, and how many points of which
    are in it: doubles to the last bit, steps as text, times in ms."""
    found: list[tuple[bytes, dict[str, int]]] = []
    values: dict[str, list[bytes]] = {}
    counts: dict[str, int] = {}
    room = most
    for piece in pieces:
        text, ends = _values_json(piece)
        first = 0
        while first < len(piece):
            last = min(first + room, len(piece))
            # Without the comma after the last one.
            values.setdefault(piece.key, []).append(text[ends[first] : ends[last] - 1])
            counts[piece.key] = counts.get(piece.key, 0) + last - first
            room -= last - first
            first = last
            if not room:
                found.append((_body(values), counts))
                values, counts, room = {}, {}, most
    if counts:
        found.append((_body(values), counts))
    return found


def _body(values: Mapping[str, list[bytes]]) -> bytes:
    metrics = (
        b'{"name":%b,"values":[%b]}' % (json.dumps(name).encode(), b",".join(of))
        for name, of in values.items()
    )
    return b'{"metrics":[%b]}' % b",".join(metrics)


def _values_json(piece: Piece) -> tuple[bytes, list[int]]:
    """Its points as JSON objects with a comma after each, and where each begins, and the end.

    Arrow writes columns as text three times as fast as Python does.
    """
    times = pa.array(piece.times, pa.timestamp("ms")).cast(pa.string())
    text = pc.binary_join_element_wise(
        '{"value":',
        pa.array(piece.values).cast(pa.string()),
        ',"step":"',
        pa.array(piece.steps).cast(pa.string()),
        '","createdAt":"',
        pc.replace_substring(times, " ", "T"),
        'Z"},',
        "",
    )
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    return text.buffers()[2].to_pybytes(), offsets.tolist()
