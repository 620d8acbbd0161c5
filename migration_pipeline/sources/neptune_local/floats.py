"""Lines of the 2.x client's log that log floats, straight into columns.

Nearly all of a log are such lines, `json.dumps` of one operation each; an object for every line and
point would be most of the work. The client always puts the same text between the numbers, so the
numbers lie at known distances from the colons of a line. Lines are looked at all at once: those
whose fixed text is where it must be are read as columns, all others are handed back. Tests hold
this against the client's own classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.sources.neptune_local.spans import Ints, Mask, Words, names, slices

_START = b'{"obj": {"type": "LogFloats", "path": ['
_HEAD = len(_START) - 1
"""Where the list of a path's parts begins."""
_NEWLINE, _COLON = 10, 58
_NULL = ord("n")
Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Floats:
    """Points of one block of a log, in its order.

    Args:
        paths: attributes that occur.
        codes: of each point, which of `paths`.
        versions: of each point, the number of its operation.
        steps: NaN where the client left the step to the server.
        times: seconds since 1970.
        operations: numbers of the block's operations that are read here, ascending.
    """

    paths: list[str]
    codes: Ints
    versions: Ints
    steps: Floats64
    times: Floats64
    values: Floats64
    operations: Ints


def parse(block: bytes) -> tuple[Floats | None, list[bytes]]:
    """The points of a block of whole lines, and the lines that say something else, in order."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    starts = np.concatenate(([0], ends[:-1] + 1))
    colons = np.flatnonzero(text == _COLON)
    last = np.searchsorted(colons, ends)
    first = np.concatenate(([0], last[:-1]))
    rows = _that_log_floats(block, starts, ends, colons, first, last)
    others = []
    if len(rows) < len(starts):
        rest = np.ones(len(starts), bool)
        rest[rows] = False
        others = [block[starts[i] : ends[i]] for i in np.flatnonzero(rest)]
        if not len(rows):
            return None, others
        starts, ends, first, last = starts[rows], ends[rows], first[rows], last[rows]
    try:
        return _read(block, starts, ends, colons, first, last), others
    except (pa.ArrowException, ValueError, TypeError):  # text where a number should be
        return None, block.split(b"\n")


def _that_log_floats(
    block: bytes, starts: Ints, ends: Ints, colons: Ints, first: Ints, last: Ints
) -> Ints:
    """The lines that have the client's text around their numbers, up to where numbers begin."""
    words, count = Words(block), last - first
    rows = np.flatnonzero((count >= 8) & (count % 3 != 1) & (ends - starts > _HEAD + 30))
    for end in (8, 24, 32, len(_START)):
        rows = _where(rows, words.are(starts[rows] + end, _START[max(0, end - 8) : end]))
    at = first[rows]
    values, value = colons[at + 3], colons[at + 4]
    fits = (value - values == 11) & words.are(value, b'{"value"')
    rows = _where(rows, fits & words.are(values - 4, b'"], "val'))
    tail = (count[rows] % 3 == 0).astype(np.int64)  # the newest clients' `at` follows
    version = colons[last[rows] - 1 - tail]
    fits = words.are(version, b'version"') & words.are(version - 8, b'}]}, "')
    return _where(rows, fits & words.are(ends[rows], b"}"))


def _where(rows: Ints, fits: Mask) -> Ints:
    return rows if fits.all() else rows[fits]


def _read(block: bytes, starts: Ints, ends: Ints, colons: Ints, first: Ints, last: Ints) -> Floats:
    words = Words(block)
    tail = ((last - first) % 3 == 0).astype(np.int64)
    counts = (last - first - 5 - tail) // 3
    if (counts < 1).any():
        raise ValueError
    of_line, nth = np.arange(len(starts)), np.zeros(len(starts), np.int64)
    if counts.max() > 1:
        of_line = np.repeat(of_line, counts)
        nth = np.arange(len(of_line)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first[of_line] + 4 + 3 * nth
    value, step, time = colons[at], colons[at + 1], colons[at + 2]
    after = colons[at + 3]  # of the next value, or of the version
    ends_op = nth == counts[of_line] - 1
    more = np.flatnonzero(nth)
    if not (
        words.are(step, b', "step"').all()
        and words.are(time, b', "ts"').all()
        and words.are(value[more], b'}, {"value"'[-8:]).all()
        and words.are(value[more] - 8, b"}, ").all()
    ):
        raise ValueError("other text between the numbers")
    version = colons[last - 1 - tail]
    version_end = np.where(tail == 1, colons[last - 1] - 6, ends - 1)
    text = np.frombuffer(block, np.uint8)
    given = text[step + 2] != _NULL
    numbers = _numbers(block, version + 2, version_end).astype(np.int64)
    heads, codes = names(block, starts + _HEAD, colons[first + 3] - 10)
    return Floats(
        ["/".join(json.loads(head)) for head in heads],
        codes[of_line],
        numbers[of_line],
        _numbers(block, step + 2, time - 6, given),
        _numbers(block, time + 2, after - np.where(ends_op, 14, 11)),
        _numbers(block, value + 2, step - 8),
        numbers,
    )


def _numbers(block: bytes, starts: Ints, ends: Ints, given: Mask | None = None) -> Floats64:
    """The numbers between these places, read as Arrow reads text: to the nearest double."""
    read = slices(block, starts, ends, given).cast(pa.float64())
    numbers = np.frombuffer(read.buffers()[1], np.float64)[1 : 2 * len(starts) : 2]
    return numbers if given is None else np.where(given, numbers, np.nan)
