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
    good = _are_floats(block, starts, ends, colons, first, last)
    others = [block[starts[i] : ends[i]] for i in np.flatnonzero(~good)]
    if not good.any():
        return None, others
    try:
        return _read(block, starts[good], ends[good], colons, first[good], last[good]), others
    except (pa.ArrowException, ValueError, TypeError):  # text where a number should be
        return None, block.splitlines()


def _are_floats(
    block: bytes, starts: Ints, ends: Ints, colons: Ints, first: Ints, last: Ints
) -> Mask:
    """Which lines have the client's text around their numbers, up to where numbers begin."""
    words = Words(block)
    count = last - first
    good: Mask = (count >= 8) & (count % 3 != 1) & (ends - starts > _HEAD + 30)
    for end in (*range(8, len(_START), 8), len(_START)):
        good[good] = words.are(starts[good] + end, _START[max(0, end - 8) : end])
    at = first[good]
    values, value = colons[at + 3], colons[at + 4]
    fits = (value - values == 11) & words.are(value, b'{"value"')
    good[good] = fits & words.are(values, b'"values"') & words.are(values - 4, b'"], "val')
    tail = (count[good] % 3 == 0).astype(np.int64)  # the newest clients' `at` follows
    version = colons[last[good] - 1 - tail]
    fits = words.are(version, b'version"') & words.are(version - 8, b'}]}, "')
    good[good] = fits & words.are(ends[good], b"}")
    return good


def _read(block: bytes, starts: Ints, ends: Ints, colons: Ints, first: Ints, last: Ints) -> Floats:
    words = Words(block)
    tail = ((last - first) % 3 == 0).astype(np.int64)
    counts = (last - first - 5 - tail) // 3
    if (counts < 1).any():
        raise ValueError
    of_line = np.repeat(np.arange(len(starts)), counts)
    nth = np.arange(len(of_line)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first[of_line] + 4 + 3 * nth
    value, step, time = colons[at], colons[at + 1], colons[at + 2]
    after = colons[at + 3]  # of the next value, or of the version
    ends_op = nth == counts[of_line] - 1
    if not (
        words.are(step, b', "step"').all()
        and words.are(time, b', "ts"').all()
        and words.are(value, b'{"value"').all()
        and words.are(after[~ends_op] - 8, b"}, ").all()
    ):
        raise ValueError
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
    return np.asarray(read.fill_null(np.nan))[1::2]
