"""Points of float series as rows of W&B's history, and back.

A row holds all series that have a point of one step and time; of equal points each has a row of its
own. Rows are made as JSON text at once: dictionaries of them would take most of the time of a load.
The same points in the same order always give the same rows, which is what lets a load go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from json import dumps, loads
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from migration_pipeline.archive.schema import MICROS, float_to_micros
from migration_pipeline.mapping.steps import Int64s, as_doubles
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.wandb.capabilities import POINTS_OF_A_ROW, ROW_BYTES, STEP

_NUMBER_BYTES = 30
"""Of a value in a row, with quotes, colon and comma; and of the quotes' escapes."""
_ODD = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
Row = dict[str, Any]


def lines_of(pieces: Sequence[Piece], first: int) -> list[str]:
    """Rows, by step and time, as JSON.

    Args:
        first: `_step` of the first one: the number of rows before it.
    """
    keys = {piece.key: None for piece in pieces}
    number = {key: i for i, key in enumerate(keys)}
    series = np.concatenate([np.full(len(p), number[p.key], dtype=np.int64) for p in pieces])
    steps = np.concatenate([p.steps for p in pieces])
    times = np.concatenate([p.times for p in pieces])
    values = np.concatenate([p.values for p in pieces])
    turn = _turns(series, steps, times)
    order = np.lexsort((series, turn, times, steps))
    series, steps, times, turn = series[order], steps[order], times[order], turn[order]
    new = (steps[1:] != steps[:-1]) | (times[1:] != times[:-1]) | (turn[1:] != turn[:-1])
    starts = np.concatenate(([0], np.flatnonzero(new) + 1))
    longest = max(map(len, (key.encode() for key in keys)))
    most = min(POINTS_OF_A_ROW, ROW_BYTES // (longest + _NUMBER_BYTES))
    starts, stops = _not_too_long(starts, len(steps), most)
    heads = zip(_step_texts(steps[starts]), _texts(times[starts] / 1000), strict=True)
    names = [f"{dumps(key, ensure_ascii=False)}:" for key in keys]
    texts = [
        names[key] + value
        for key, value in zip(series.tolist(), _value_texts(values[order]), strict=True)
    ]
    return [
        f'{{"_step":{first + row},"_timestamp":{time},"{STEP}":{step},'
        f"{','.join(texts[start:stop])}}}"
        for row, ((step, time), start, stop) in enumerate(
            zip(heads, starts.tolist(), stops.tolist(), strict=True)
        )
    ]


def _turns(series: Int64s, steps: Int64s, times: Int64s) -> Int64s:
    """0 for the first point of a series, step and time, 1 for the second, and so on."""
    order = np.lexsort((times, steps, series))
    s, t, u = series[order], steps[order], times[order]
    same = (s[1:] == s[:-1]) & (t[1:] == t[:-1]) & (u[1:] == u[:-1])
    turns = np.zeros(len(series), dtype=np.int64)
    if same.any():
        place = np.arange(len(series))
        begins = np.where(np.concatenate(([True], ~same)), place, 0)
        turns[order] = place - np.maximum.accumulate(begins)
    return turns


def _not_too_long(starts: Int64s, total: int, most: int) -> tuple[Int64s, Int64s]:
    """Beginnings and ends of rows, none of them with more points than `most`."""
    stops = np.append(starts[1:], total)
    if (stops - starts).max() > most:
        starts = np.concatenate(
            [
                np.arange(start, stop, most)
                for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
            ]
        )
        stops = np.append(starts[1:], total)
    return starts, stops


def _step_texts(micros: Int64s) -> list[str]:
    if not (micros % MICROS).any():
        return list(map(str, (micros // MICROS).tolist()))
    return _texts(as_doubles(micros))


def _value_texts(values: npt.NDArray[np.float64]) -> list[str]:
    texts = _texts(values)
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[place] = _ODD[repr(float(values[place]))]
    return texts


def _texts(numbers: npt.NDArray[np.float64]) -> list[str]:
    """Each as the shortest JSON that gives it back; several times as fast as `repr`."""
    whole = orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)
    return whole[1:-1].decode().split(",")


def same(line: str, shown: Row) -> bool:
    """Whether a row as it is shown is the one that a line says."""
    return {key: _plain(value) for key, value in loads(line).items()} == {
        key: _plain(value) for key, value in shown.items()
    }


def _plain(value: Any) -> Any:
    """A number, so that those which JSON has no sign for are equal however they are shown."""
    if isinstance(value, str) and value in _ODD.values():
        value = float(value)
    return "NaN" if isinstance(value, float) and value != value else value


def pieces_of(rows: Sequence[Row], wanted: Callable[[str], bool]) -> Iterator[Piece]:
    """The points of some rows, series by series; cells that are no numbers are left out."""
    found: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for row in rows:
        step, time = row.get(STEP), row.get("_timestamp")
        for key, cell in row.items():
            if key == STEP or (key[:1] == "_" and key in OWN) or not wanted(key):
                continue
            value = _number(cell)
            if value is None:
                continue
            columns = found.get(key)
            if columns is None:
                columns = found[key] = ([], [], [])
            columns[0].append(_number(step) or 0.0)
            columns[1].append(_number(time) or 0.0)
            columns[2].append(value)
    for key, (steps, times, values) in found.items():
        yield Piece(
            key,
            float_to_micros(np.array(steps, dtype=np.float64)),
            np.rint(np.array(times, dtype=np.float64) * 1000).astype(np.int64),
            np.array(values, dtype=np.float64),
        )


OWN = frozenset(("_step", "_timestamp", "_runtime", "_wandb"))


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, str) and cell in _ODD.values():
        return float(cell)
    return None
