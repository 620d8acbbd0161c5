"""Rows of an SQLite file that SQLite itself gives up on: every leaf page is looked at by itself.

A file that was cut off has lost the pages that say where others lie, and SQLite then stops at the
first that is missing. The rows of a leaf can be read without them (https://sqlite.org/fileformat2).
Only what has exactly the columns of one of the client's tables is taken.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

_LEAF = 0x0D
_WAL_HEADER, _FRAME_HEADER = 32, 24
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of the serial types 0 to 9."""
_OPERATION = (int, int, int, bytes, int)


class Leaves:
    """The leaf pages of tables in a database and in its log.

    Args:
        files: the database, and the write-ahead log, which may be missing.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [file for file in files if _opens(file)]
        self._size = page_size(self._files)

    def rows(self, types: tuple[type, ...]) -> Iterator[tuple[Any, ...]]:
        """Rows with exactly these columns, each id once; the first is the row's id."""
        seen: set[int] = set()
        for number, file in enumerate(self._files):
            with file.open("rb", buffering=0) as opened:
                for at in self._pages(number, opened):
                    for place in self._cells(opened, at):
                        row = self._row(opened, at, place)
                        if row and _has(row, types) and row[0] not in seen:
                            seen.add(row[0])
                            yield row

    def operations(self, after: int) -> Iterator[tuple[int, int, bytes]]:
        """Number, type and message of operations beyond a number, in their order."""
        ids, places = array("q"), array("q")
        for number, file in enumerate(self._files):
            with file.open("rb", buffering=0) as opened:
                for at in self._pages(number, opened):
                    for place in self._cells(opened, at):
                        row = self._row(opened, at, place)
                        if row and row[0] > after and _has(row, _OPERATION):
                            ids.append(row[0])
                            places.append((at << 20 | place) << 1 | number)
        found, first = np.unique(np.asarray(ids, np.int64), return_index=True)
        handles = [file.open("rb", buffering=0) for file in self._files]
        try:
            for i in range(len(found)):
                place = places[int(first[i])]
                opened, place = handles[place & 1], place >> 1
                row = self._row(opened, place >> 20, place & 0xFFFFF)
                if row:
                    yield row[0], row[2], row[3]
        finally:
            for opened in handles:
                opened.close()

    def _pages(self, number: int, opened: IO[bytes]) -> Iterator[int]:
        """Where pages begin."""
        if not self._size:
            return
        end = os.fstat(opened.fileno()).st_size
        wal = self._files[number].name.endswith("-wal")
        first = _WAL_HEADER + _FRAME_HEADER if wal else 0
        yield from range(first, end, self._size + (_FRAME_HEADER if wal else 0))

    def _cells(self, opened: IO[bytes], at: int) -> list[int]:
        """Where a leaf's rows begin, within its page."""
        page = self._read(opened, at, self._size)
        if len(page) < 8 or page[0] != _LEAF:
            return []
        count = struct.unpack_from(">H", page, 3)[0]
        pointers = page[8 : 8 + 2 * count]
        return [place for (place,) in struct.iter_unpack(">H", pointers[: len(pointers) & ~1])]

    def _row(self, opened: IO[bytes], at: int, place: int) -> tuple[Any, ...] | None:
        """The columns of a row; None where they cannot be read."""
        page = self._read(opened, at, self._size)
        try:
            length, place = _varint(page, place)
            rowid, place = _varint(page, place)
            payload = self._payload(opened, page, length, place)
            size, header = _varint(payload, 0)
            values: list[Any] = []
            body = size
            while header < size:
                kind, header = _varint(payload, header)
                value, body = _value(payload, kind, body)
                values.append(value)
        except (IndexError, ValueError, struct.error):
            return None
        if not values or values[0] is not None or body != length:
            return None
        return (rowid, *values[1:])

    def _payload(self, opened: IO[bytes], page: bytes, length: int, place: int) -> bytes:
        """A row's bytes, those on overflow pages too.

        Raises:
            ValueError: some of them are not there.
        """
        if length > self._size * 100_000:
            raise ValueError
        most = self._size - 35
        here = length
        if length > most:
            least = (self._size - 12) * 32 // 255 - 23
            here = least + (length - least) % (self._size - 4)
            here = least if here > most else here
        parts, left = [page[place : place + here]], length - here
        if left:
            (following,) = struct.unpack_from(">I", page, place + here)
            while left > 0 and following:
                more = self._read(opened, (following - 1) * self._size, self._size)
                (following,) = struct.unpack_from(">I", more, 0)
                parts.append(more[4 : 4 + left])
                if not parts[-1]:
                    raise ValueError
                left -= len(parts[-1])
        whole = b"".join(parts)
        if len(whole) != length:
            raise ValueError
        return whole

    @staticmethod
    def _read(opened: IO[bytes], at: int, size: int) -> bytes:
        """Nothing where it cannot be read, as on a bad sector."""
        opened.seek(at)
        try:
            return opened.read(size)
        except OSError:
            return b""


def _opens(file: Path) -> bool:
    try:
        file.open("rb").close()
    except OSError:
        return False
    return True


def page_size(files: Sequence[Path]) -> int:
    for file in files:
        try:
            with file.open("rb", buffering=0) as opened:
                head = opened.read(32)
        except OSError:
            continue
        if file.name.endswith("-wal") and len(head) >= 12:
            return int(struct.unpack_from(">I", head, 8)[0])
        if head.startswith(b"SQLite format 3\0") and len(head) >= 18:
            size = struct.unpack_from(">H", head, 16)[0]
            return 65536 if size == 1 else int(size)
    return 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError


def _value(data: bytes, kind: int, at: int) -> tuple[Any, int]:
    if kind in (8, 9):
        return kind - 8, at
    if kind < 8:
        end = at + _SIZES[kind]
        if kind == 0:
            return None, at
        if kind == 7:
            return struct.unpack(">d", data[at:end])[0], end
        return int.from_bytes(data[at:end], "big", signed=True), end
    if kind < 12:
        raise ValueError
    end = at + (kind - 12) // 2
    if end > len(data):
        raise ValueError
    content = data[at:end]
    return (content if kind % 2 == 0 else content.decode(errors="replace")), end


def _has(row: tuple[Any, ...], types: tuple[type, ...]) -> bool:
    return len(row) == len(types) and all(
        isinstance(value, kind) for value, kind in zip(row, types, strict=True)
    )
