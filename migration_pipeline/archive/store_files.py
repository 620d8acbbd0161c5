"""Parquet and other files of an archive as this machine needs them, wherever they lie.

A file of a folder is what it is. Of an object store a part is read in ranges, and what has to be a
file of this machine is fetched for as long as a `with` block lasts.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive.location import Location
from migration_pipeline.archive.store import StorePath

_SMALL = 2 << 20
"""A part up to this size is read in one request."""
_TAIL = 1 << 16
_GROUPS = 8 << 20
"""Bytes of row groups, unpacked, that are asked for together."""
_REQUESTS = 16
"""Under way at once, where several are independent."""
T = TypeVar("T")
U = TypeVar("U")


class Ranges(io.RawIOBase):
    """An object as a file that can be read from anywhere: a request a read."""

    def __init__(self, path: StorePath, size: int) -> None:
        self._path, self._size, self._at = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        found = self._path.read_range(self._at, end)
        self._at += len(found)
        return found

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)


def arrow_file(path: Location) -> pa.NativeFile:
    """A file for Arrow to read from anywhere in it."""
    if isinstance(path, Path):
        return pa.OSFile(str(path))
    size = path.stat().st_size
    if size <= _SMALL:
        return pa.BufferReader(path.read_range(0, size) if size else b"")
    return pa.PythonFile(Ranges(path, size), mode="r")


def parquet_footer(path: Location) -> pq.FileMetaData:
    """The footer of a Parquet file; of one on a store, nothing but its end is read."""
    if isinstance(path, Path):
        with pa.OSFile(str(path)) as file:  # half the time of a path, which goes through layers
            return pq.read_metadata(file)
    size = path.stat().st_size
    tail = path.read_range(max(0, size - _TAIL), size) if size else b""
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] == b"PAR1" and len(tail) < length <= size:
        tail = path.read_range(size - length, size)
    return pq.read_metadata(pa.BufferReader(tail))


def parquet_file(path: Location, **options: object) -> pq.ParquetFile:
    """To read rows from. On a store the columns that are asked for come in few requests."""
    if isinstance(path, Path):
        return pq.ParquetFile(path, pre_buffer=False, **options)
    return pq.ParquetFile(arrow_file(path), pre_buffer=True, **options)


def parquet_batches(
    file: pq.ParquetFile, path: Location, rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """All batches of a file that `parquet_file` opened.

    Of one on a store a few row groups are asked for at a time: Arrow keeps what came for one call
    until the next, which for all groups would be the file.
    """
    if isinstance(path, Path):
        yield from file.iter_batches(rows, columns=columns)
        return
    for groups in _few_groups(file.metadata):
        yield from file.iter_batches(rows, groups, columns)


def _few_groups(footer: pq.FileMetaData) -> Iterator[list[int]]:
    some: list[int] = []
    size = 0
    for group in range(footer.num_row_groups):
        some.append(group)
        size += footer.row_group(group).total_byte_size
        if size >= _GROUPS:
            yield some
            some, size = [], 0
    if some:
        yield some


@contextlib.contextmanager
def on_this_machine(path: Location, scratch: Path | None = None) -> Iterator[Path]:
    """The file (or folder) itself, or a copy that goes with the block."""
    if isinstance(path, Path):
        yield path
        return
    if path.is_dir():
        with tempfile.TemporaryDirectory(dir=scratch, prefix="migration-") as folder:
            for name in path.walk():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                (path / name).fetch(file)
            yield Path(folder)
        return
    with tempfile.NamedTemporaryFile(
        dir=scratch, prefix="migration-", suffix=path.suffix
    ) as target:
        path.fetch_into(target.file)
        target.flush()
        yield Path(target.name)


def each(do: Callable[[T], U], of: Sequence[T], where: Location) -> Iterator[U]:
    """`map`, with several requests under way at once on a store."""
    if isinstance(where, Path) or len(of) < 2:
        yield from map(do, of)
        return
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for some in _slices(of, 8 * _REQUESTS):
            yield from pool.map(do, some)


def _slices(of: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(of)
    while some := list(islice(rest, size)):
        yield some
