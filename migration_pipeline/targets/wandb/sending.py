"""Sends one run to W&B: rows, parameters, files; the mark is the caller's.

`historyLineCount` says how many rows are there. The same archive gives the same rows in the same
order, so a load that was cut off goes on behind them, once they were read back and found the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.points import Rows
from migration_pipeline.mapping.scan import RunScan, line_rows
from migration_pipeline.mapping.values import to_text
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.resume import ContradictionError, Held
from migration_pipeline.targets.remote.sending import (
    Parameter,
    RemoteSender,
    Upload,
)
from migration_pipeline.targets.target import Meter
from migration_pipeline.targets.wandb.capabilities import REQUEST_BYTES, STEP
from migration_pipeline.targets.wandb.histograms import cell_of, kept_in, line_of, step_number
from migration_pipeline.targets.wandb.rows import Row, lines_of, same
from migration_pipeline.targets.wandb.runs import FoundRun, Place

NOT_EVERY_RUN_HAS = (sidecar.POINTS, sidecar.PARAMETERS, sidecar.FILES)
_WHOLE = 2**53
"""Above it JSON's numbers are not exact everywhere."""


class Sender(RemoteSender):
    """Sends the rows of one run, which begin at the offset 0 and have no gaps."""

    file_series = ("string_series",)

    def __init__(
        self,
        place: Place,
        run: FoundRun,
        scan: RunScan,
        scratch: Path,
        meter: Meter | None,
        held: Held,
    ) -> None:
        super().__init__(scan, scratch, meter, held)
        self._place, self._run = place, run
        self._there = _rows_of(place, run)
        self.rows = 0
        """That were sent, or passed over."""
        self.parameters: dict[str, Any] = {}
        self.steps_grow = True
        """From row to row: then those up to a step are the first ones."""
        self._top: int | None = None
        self.beside: list[str] = []
        """Names of files of ours that not every run has."""
        self._last: dict[str, tuple[int, int, float]] = {}

    def encode(self, kind: str, value: Any, text: str, cut: bool) -> tuple[Any, bool]:
        if cut:
            return text, False
        if kind == "int":
            return (value if abs(value) <= _WHOLE else text), True
        if kind == "float":
            plain = np.isfinite(value) and not (value == 0 and np.signbit(value))
            return (value if plain else to_text(kind, value)), True
        if kind == "string_set":
            return list(value), True
        return (value if kind == "bool" else text), True

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        """They leave with the mark, for config is written whole."""
        self.parameters |= {one.name: one.shown for one in parameters}

    def put_points(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._note_last(piece)
        steps = np.concatenate([piece.steps for piece in pieces])
        self._note_steps(int(steps.min()), int(steps.max()))
        self._put_rows(lines_of(pieces, self._run.first_row + self.rows))

    def put_lines(self, path: str, kind: str, batch: pa.RecordBatch, rows: Rows) -> None:
        """Histograms: what W&B can show of them, and all of it beside."""
        key, lines, count = self.keys[path, kind], list[str](), 0
        beside = self.scratch / kept_in(path)
        beside.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("ab") as stream:
            for step, time, value in line_rows(kind, batch, rows):
                sidecar.write_line(stream, sidecar.histogram_line(step, time, value))
                count += 1
                cell = cell_of(value)
                if cell is not None and step is not None:
                    at = self.scan.mapper.time_for_none if time is None else time
                    place = self._run.first_row + self.rows + len(lines)
                    lines.append(line_of(place, key, step, at, cell))
                    self._note_steps(step, step)
        if lines:
            self._put_rows(lines)
        self.count(points=count)

    def _note_steps(self, lowest: int, highest: int) -> None:
        """Of the next rows, which are in order."""
        self.steps_grow &= self._top is None or lowest >= self._top
        self._top = highest

    def _put_rows(self, lines: Sequence[str]) -> None:
        """
        Raises:
            ContradictionError: others are there.
        """
        first = self.rows
        self.rows += len(lines)
        start = self._pass_over(lines) if first < self._run.lines else 0
        size, begin = 0, start
        for i in range(start, len(lines)):
            more = _bytes(lines[i]) + 3
            if size + more > REQUEST_BYTES and i > begin:
                self._place.send_lines(self._run, first + begin, lines[begin:i])
                size, begin = 0, i
            size += more
        if begin < len(lines):
            self._place.send_lines(self._run, first + begin, lines[begin:])

    def _pass_over(self, lines: Sequence[str]) -> int:
        """How many of the next rows are there.

        Raises:
            ContradictionError: others are there.
        """
        there = self._run.lines - self.rows + len(lines)
        for i in range(min(there, len(lines))):
            if not same(lines[i], next(self._there, {})):
                raise ContradictionError
        return min(there, len(lines))

    def finish_points(self) -> None:
        if self._run.lines > self.rows:
            raise ContradictionError

    def put_files(self, files: Sequence[Upload]) -> None:
        self.beside += [file.name for file in files if file.name in NOT_EVERY_RUN_HAS]
        self._place.send_files(self._run, files)

    @property
    def series(self) -> list[str]:
        return sorted(name for (_, kind), name in self.keys.items() if kind == "float_series")

    def summary(self) -> str:
        """The last value of each series, which W&B leaves to its clients."""
        last: dict[str, Any] = {key: value for key, (_, _, value) in self._last.items()}
        facts = self.scan.facts
        if facts.start is not None and facts.end is not None:
            last["_runtime"] = (facts.end - facts.start) / 1000
        if self._last:
            step, time, _ = max(self._last.values(), key=lambda at: at[:2])
            place = self._run.first_row + self.rows - 1
            last |= {STEP: step_number(step), "_timestamp": time / 1000, "_step": place}
        return dumps(last, ensure_ascii=False)

    def _note_last(self, piece: Piece) -> None:
        """The latest point is that of the largest step, then time, then the last one."""
        order = np.lexsort((np.arange(len(piece)), piece.times, piece.steps))
        at = order[-1]
        found = (int(piece.steps[at]), int(piece.times[at]), float(piece.values[at]))
        before = self._last.get(piece.key)
        if before is None or found[:2] >= before[:2]:
            self._last[piece.key] = found


def _bytes(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode())


def _rows_of(place: Place, run: FoundRun) -> Iterator[Row]:
    """Rows that are there, asked for as they are needed."""
    for page in place.rows(run):
        yield from page


def rows_up_to(place: Place, run: FoundRun, step: float) -> int:
    """How many of a run's rows, whose steps grow, have at most this step; by halves."""
    low, high = 0, run.lines
    while low < high:
        middle = (low + high) // 2
        row = next((row for page in place.rows(run, middle) for row in page), {})
        if row.get(STEP, float("inf")) <= step:
            low = middle + 1
        else:
            high = middle
    return low
