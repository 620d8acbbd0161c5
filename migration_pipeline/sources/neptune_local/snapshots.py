"""The 3.x client's operations, whose points are read straight from their bytes into columns.

A database holds a message for each call of the client, mostly a step, a time and some numbers.
Messages are walked through side by side, a field of each at a time, so that the work is numpy's.
One that holds anything else is handed back, for protobuf. Tests hold both against each other.

The message is neptune-query's generated `UpdateRunSnapshot` (`ingest/v1/common_pb2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from migration_pipeline.archive.schema import MICROS
from migration_pipeline.sources.neptune_local.spans import Ints, Mask, Words, names

_STEP, _TIME, _APPEND, _PREVIEW = 0x0A, 0x12, 0x42, 0x52
_PADDING = bytes(24)
"""Behind the last message, so that looking ahead of its end does not leave the block."""


@dataclass(frozen=True)
class Numbers:
    """Points of float series, in the order of their messages.

    Args:
        paths: attributes that occur.
        codes: of each point, which of `paths`.
        steps: millionths.
        times: nanoseconds since 1970.
        previews: which points are.
        messages: of each point, which message holds it.
    """

    paths: list[str]
    codes: Ints
    steps: Ints
    times: Ints
    values: npt.NDArray[np.float64]
    previews: Mask
    messages: Ints


def decode(messages: Sequence[bytes]) -> tuple[Numbers | None, list[int]]:
    """The points of messages that hold nothing else, and which messages hold something else."""
    if not messages:
        return None, []
    block = b"".join([*messages, _PADDING])
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    walk = _Walk(block, lengths)
    walk.go()
    others = np.flatnonzero(walk.other)
    if not walk.found:
        return None, others.tolist()
    of, start, size, value = (np.concatenate(parts) for parts in zip(*walk.found, strict=True))
    kept = ~walk.other[of]
    order = np.argsort(start[kept])
    of, start, size, value = (each[kept][order] for each in (of, start, size, value))
    if not len(of):
        return None, others.tolist()
    try:
        paths, codes = names(block, start, start + size)
    except ValueError:
        return None, list(range(len(messages)))
    steps, times, previews = walk.steps[of], walk.times[of], walk.previews[of]
    values = Words(block).doubles(value)
    return Numbers(paths, codes, steps, times, values, previews, of), others.tolist()


@dataclass
class _Walk:
    """How far each message has been read.

    Args:
        block: all messages, one after another.
        lengths: of each.
    """

    block: bytes
    lengths: Ints
    found: list[tuple[Ints, Ints, Ints, Ints]] = field(default_factory=list)
    """Message, where its key begins, its length, where its value begins; of one point a message."""

    def __post_init__(self) -> None:
        self.text = np.frombuffer(self.block, np.uint8)
        self.end = np.cumsum(self.lengths)
        self.at = self.end - self.lengths
        self.steps = np.full(len(self.lengths), -1, np.int64)
        self.times = np.full(len(self.lengths), -1, np.int64)
        self.previews = np.zeros(len(self.lengths), bool)
        self.other = np.zeros(len(self.lengths), bool)
        """Messages that are left to protobuf."""

    def go(self) -> None:
        unread = np.flatnonzero(self.lengths > 0)
        while len(unread):
            tags = self.text[self.at[unread]]
            known = np.zeros(len(unread), bool)
            for tag, read in (
                (_STEP, self._step),
                (_TIME, self._time),
                (_APPEND, self._append),
                (_PREVIEW, self._preview),
            ):
                its = tags == tag
                if its.any():
                    read(unread if its.all() else unread[its])
                    known |= its
            self.other[unread[~known]] = True
            unread = unread[~self.other[unread]]
            unread = unread[self.at[unread] < self.end[unread]]
        self.other |= (self.at != self.end) | (self.steps < 0) | (self.times < 0)

    def _step(self, of: Ints) -> None:
        whole, micro = self._two(of)
        self.steps[of] = whole * MICROS + micro
        self.other[of[(whole >= 9_200_000_000_000) | (micro >= MICROS)]] = True

    def _time(self, of: Ints) -> None:
        seconds, nanos = self._two(of)
        self.times[of] = seconds * 10**9 + nanos
        self.other[of[(seconds >= 9_200_000_000) | (nanos >= 10**9)]] = True

    def _preview(self, of: Ints) -> None:
        """`is_preview` and the completion, a float of four bytes."""
        at = self.at[of]
        size = self.text[at + 1].astype(np.int64)
        flagged = (self.text[at + 2] == 0x08) & (self.text[at + 3] == 1)
        rest = at + 2 + 2 * flagged
        fits = (size == 2 * flagged) | ((size == 2 * flagged + 5) & (self.text[rest] == 0x15))
        self.other[of[~fits]] = True
        self.previews[of] = flagged
        self.at[of] = at + 2 + size

    def _append(self, of: Ints) -> None:
        """An entry of the map: its key, and a value that is one double."""
        size, inner = self._varint(self.at[of] + 1)
        size_of_key, key = self._varint(inner + 1)
        value = key + size_of_key
        fits = (self.text[inner] == 0x0A) & (size == value - inner + 11)
        fits &= value + 11 <= self.end[of]
        value[~fits] = 0
        fits &= self.text[value] == 0x12
        fits &= (self.text[value + 1] == 9) & (self.text[value + 2] == 0x09)
        self.other[of[~fits]] = True
        good = of[fits]
        self.found.append((good, key[fits], size_of_key[fits], value[fits] + 3))
        self.at[good] = value[fits] + 11

    def _two(self, of: Ints) -> tuple[Ints, Ints]:
        """The varints with the numbers 1 and 2 of an inner message of less than 128 bytes."""
        size, at = self.text[self.at[of] + 1].astype(np.int64), self.at[of] + 2
        end = at + size
        both = []
        for tag in (0x08, 0x10):
            value = np.zeros(len(of), np.int64)
            its = (at < end) & (self.text[at] == tag)
            value[its], at[its] = self._varint(at[its] + 1)
            both.append(value)
        self.other[of[(at != end) | (end > self.end[of])]] = True
        self.at[of] = end
        return both[0], both[1]

    def _varint(self, at: Ints) -> tuple[Ints, Ints]:
        """The numbers that begin at these places, and where they end; at most nine bytes each."""
        at = np.minimum(at, len(self.text) - 12)
        byte = self.text[at].astype(np.int64)
        value, at = byte & 0x7F, at + 1
        more = np.flatnonzero(byte & 0x80)
        shift = 7
        while len(more) and shift < 63:
            byte = self.text[at[more]].astype(np.int64)
            value[more] |= (byte & 0x7F) << shift
            at[more] += 1
            more = more[(byte & 0x80) != 0]
            shift += 7
        value[more] = -1  # no number that stands in a step, a time or a length
        return value, at
