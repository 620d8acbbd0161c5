"""Words and slices of a block of bytes, for all records in it at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Words:
    """Eight bytes at any place of a block, as a number."""

    def __init__(self, block: bytes) -> None:
        self._words = np.ndarray((max(0, len(block) - 7),), "<u8", block, 0, (1,))

    def are(self, places: Ints, expected: bytes) -> Mask:
        """Whether the bytes that end before these places are these, at most eight."""
        word = np.uint64(int.from_bytes(expected, "little"))
        found: Any = self._words[np.maximum(places - 8, 0)] >> np.uint64(64 - 8 * len(expected))
        return np.asarray((found == word) & (places >= 8))

    def doubles(self, places: Ints) -> npt.NDArray[np.float64]:
        """The little-endian doubles that begin at these places."""
        return self._words[places].view(np.float64)


def slices(block: bytes, starts: Ints, ends: Ints, given: Mask | None = None) -> pa.StringArray:
    """The texts between ascending places: at the odd positions; a null before each.

    Args:
        given: where there is a text; else there is a null.

    Raises:
        ValueError: the places do not ascend.
    """
    offsets = np.empty(2 * len(starts) + 1, np.int32)
    offsets[0], offsets[1::2], offsets[2::2] = 0, starts, ends
    if (np.diff(offsets) < 0).any():
        raise ValueError("places that do not ascend")
    valid = np.zeros(2 * len(starts), bool)
    valid[1::2] = True if given is None else given
    bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.StringArray.from_buffers(len(valid), pa.py_buffer(offsets), pa.py_buffer(block), bits)


def names(block: bytes, starts: Ints, ends: Ints) -> tuple[list[str], Ints]:
    """The different texts between ascending places, and which of them stands at each.

    Raises:
        ValueError: the places do not ascend, or a text is not UTF-8.
    """
    found = slices(block, starts, ends).dictionary_encode()
    codes = np.asarray(found.indices.fill_null(-1), np.int64)[1::2]
    return found.dictionary.to_pylist(), codes
