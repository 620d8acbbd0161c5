"""Digests of what a run holds that do not depend on the order of rows.

Each row is hashed to 64 bits from its step, its time and the bits of its value; an attribute keeps
the number of its rows, the sum and the exclusive-or of their hashes. Sums can be made part by part,
in any order, by any number of workers, and compared attribute by attribute: that is how an export
is compared with another one, and a target with the archive. A changed, lost, repeated or moved
point changes count, sum or exclusive-or.

Files count by their bytes (size and digest), not by the name they were given.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.location import Location, files_below
from migration_pipeline.archive.schema import micros_from_steps
from migration_pipeline.archive.store import StorePath

UInt64s = npt.NDArray[np.uint64]
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_NO_STEP = np.uint64(0xA5A5_5A5A_0F0F_F0F1)
_NO_TIME = np.uint64(0xC3C3_3C3C_9696_6969)
_NO_VALUE = np.uint64(0x5851_F42D_4C95_7F2D)
_NAN_BITS = np.uint64(0x7FF8_0000_0000_0000)
_MASK64 = (1 << 64) - 1
_BLOCK = 32_768  # rows hashed at a time, so that the intermediate arrays stay in the cache


@dataclass(frozen=True)
class FileInfo:
    """Size in bytes and blake2b (16 bytes, hex) of a file."""

    size: int
    digest: str


def digest_file(path: Location) -> FileInfo:
    """Reads a file once, a megabyte at a time.

    A directory (neptune-exporter unpacks file sets) counts by the names and digests of its files.
    """
    hasher, size = hashlib.blake2b(digest_size=16), 0
    found = path.stat() if isinstance(path, StorePath) else None
    if stat.S_ISDIR(found.st_mode) if found else path.is_dir():
        for name in files_below(path):
            info = digest_file(path / name)
            size += info.size
            hasher.update(f"{name}\0{info.digest}\n".encode())
        return FileInfo(size, hasher.hexdigest())
    if isinstance(path, StorePath) and found:
        for block in path.blocks(found.st_size):
            hasher.update(block)
        return FileInfo(found.st_size, hasher.hexdigest())
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            hasher.update(block)
            size += len(block)
    return FileInfo(size, hasher.hexdigest())


def digest_bytes(content: bytes) -> FileInfo:
    return FileInfo(len(content), hashlib.blake2b(content, digest_size=16).hexdigest())


def mix(h: UInt64s) -> UInt64s:
    """splitmix64's finalizer, in place."""
    h ^= h >> _S30
    h *= _M1
    h ^= h >> _S27
    h *= _M2
    h ^= h >> _S31
    return h


def _hash_text(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass
class AttributeSum:
    """What is known of one attribute of one run after all its rows were seen."""

    type: str
    rows: int = 0
    sum: int = 0
    xor: int = 0
    step_min: int | None = None
    step_max: int | None = None
    time_min: int | None = None
    time_max: int | None = None

    def key(self) -> tuple[str, int, int, int]:
        """What must be equal for two attributes to be equal."""
        return (self.type, self.rows, self.sum, self.xor)


@dataclass
class RunSums:
    """Order-free sums of all attributes of one run, filled batch by batch.

    Args:
        file_info: file_value.path → size and digest of that file's content. A missing file is
            the caller's to raise.
    """

    file_info: Callable[[str], FileInfo]
    attributes: dict[tuple[str, str], AttributeSum] = field(default_factory=dict)
    step_decimals: dict[str, int] = field(default_factory=dict)
    """Attribute type → how many decimals its finest step has (0 to 6)."""

    @property
    def rows(self) -> int:
        return sum(a.rows for a in self.attributes.values())

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch (`SCHEMA` or `BATCH_SCHEMA`); all of one run."""
        for start in range(0, batch.num_rows, _BLOCK):
            self._update(batch.slice(start, _BLOCK))

    def _update(self, batch: pa.RecordBatch) -> None:
        micros, no_step = micros_from_steps(batch.column("step"))
        times, no_time = int64_column(batch.column("timestamp"))
        hashes = mix(micros.view(np.uint64) + _SEED)
        hashes[no_step] = _NO_STEP
        hashes ^= times.view(np.uint64)
        hashes[no_time] ^= _NO_TIME
        hashes = mix(hashes)
        hashes ^= _value_hashes(batch, self.file_info)
        hashes = mix(hashes)
        for (path, kind), where in segments(batch):
            self._add(
                path,
                kind,
                hashes[where],
                micros[where],
                no_step[where],
                times[where],
                no_time[where],
            )

    def _add(
        self,
        path: str,
        kind: str,
        hashes: UInt64s,
        micros: npt.NDArray[np.int64],
        no_step: npt.NDArray[np.bool_],
        times: npt.NDArray[np.int64],
        no_time: npt.NDArray[np.bool_],
    ) -> None:
        entry = self.attributes.get((path, kind))
        if entry is None:
            entry = self.attributes[(path, kind)] = AttributeSum(kind)
        entry.rows += len(hashes)
        entry.sum = (entry.sum + int(np.add.reduce(hashes))) & _MASK64
        entry.xor ^= int(np.bitwise_xor.reduce(hashes))
        if no_step.any():
            micros = micros[~no_step]
        if len(micros):
            low, high = int(micros.min()), int(micros.max())
            entry.step_min = low if entry.step_min is None else min(low, entry.step_min)
            entry.step_max = high if entry.step_max is None else max(high, entry.step_max)
            self._note_decimals(kind, micros)
        if no_time.any():
            times = times[~no_time]
        if len(times):
            low, high = int(times.min()), int(times.max())
            entry.time_min = low if entry.time_min is None else min(low, entry.time_min)
            entry.time_max = high if entry.time_max is None else max(high, entry.time_max)

    def _note_decimals(self, kind: str, micros: npt.NDArray[np.int64]) -> None:
        known = self.step_decimals.get(kind, 0)
        while known < 6 and (micros % 10 ** (6 - known)).any():
            known += 1
        self.step_decimals[kind] = known

    def digest(self) -> str:
        """One digest of the whole run: 32 hex digits."""
        hasher = hashlib.blake2b(digest_size=16)
        for (path, _), entry in sorted(self.attributes.items()):
            line = json.dumps([path, *entry.key()])
            hasher.update(line.encode() + b"\n")
        return hasher.hexdigest()


def int64_column(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """An int64 or timestamp column as numpy with a mask of its nulls; values at nulls are 0."""
    mask = np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), dtype=bool)
    data = column.buffers()[1]
    if data is None:
        return np.zeros(len(column), dtype=np.int64), mask
    values = np.frombuffer(data, dtype=np.int64)[column.offset : column.offset + len(column)]
    if column.null_count:
        values = np.where(mask, 0, values)
    return values, mask


def _value_hashes(batch: pa.RecordBatch, file_info: Callable[[str], FileInfo]) -> UInt64s:
    """The bits of each row's value as one 64-bit word; nulls as a word of their own."""
    out = np.full(batch.num_rows, _NO_VALUE, dtype=np.uint64)
    for name in ("float_value", "int_value", "datetime_value"):
        column = batch.column(name)
        if column.null_count == len(column):
            continue
        data = np.frombuffer(column.buffers()[1], dtype=np.uint64)
        bits = data[column.offset : column.offset + len(column)].copy()
        if name == "float_value":
            bits[np.isnan(bits.view(np.float64))] = _NAN_BITS
        if column.null_count:
            there = np.asarray(column.is_valid())
            out[there] = bits[there]
        else:
            out = bits
    for name, encode in _ENCODERS.items():
        column = batch.column(name)
        if column.null_count == len(column):
            continue
        rows = np.flatnonzero(np.asarray(column.is_valid()))
        items = column.take(pa.array(rows)).to_pylist()
        if name == "file_value":
            encoded = [_encode_file(file_info(item["path"])) for item in items]
        else:
            encoded = [encode(item) for item in items]
        out[rows] = np.fromiter((_hash_text(e) for e in encoded), np.uint64, len(encoded))
    return out


def _encode_file(info: FileInfo) -> bytes:
    return f"{info.size}:{info.digest}".encode()


def _encode_histogram(value: dict[str, Any]) -> bytes:
    edges, heights = value["edges"] or [], value["values"] or []
    numbers = np.array([*edges, *heights], dtype="<f8")
    numbers.view("<u8")[np.isnan(numbers)] = _NAN_BITS
    kind, count = (value["type"] or "").encode(), str(len(edges)).encode()
    return b"\0".join([kind, count, numbers.tobytes()])


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "string_value": lambda v: b"s" + v.encode("utf-8", "surrogatepass"),
    "bool_value": lambda v: b"b1" if v else b"b0",
    "string_set_value": lambda v: b"l" + json.dumps(v).encode(),
    "file_value": lambda v: b"",
    "histogram_value": _encode_histogram,
}


def segments(
    batch: pa.RecordBatch,
) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.intp] | slice]]:
    """The rows of each (path, type): slices where rows stand together, else index arrays."""
    paths, kinds = (_codes(batch.column(name)) for name in ("attribute_path", "attribute_type"))
    codes = paths[0].astype(np.int64) * len(kinds[1]) + kinds[0]
    edges = np.flatnonzero(np.diff(codes)) + 1
    starts = np.concatenate(([0], edges))
    distinct = len(np.unique(codes[starts]))
    if len(starts) == distinct:
        for start, stop in zip(starts, np.append(edges, len(codes)), strict=True):
            yield _names(codes[start], paths[1], kinds[1]), slice(int(start), int(stop))
        return
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for rows in np.split(order, edges):
        yield _names(codes[rows[0]], paths[1], kinds[1]), rows


def _codes(column: pa.Array) -> tuple[npt.NDArray[np.int32], list[str]]:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return np.asarray(column.indices), column.dictionary.to_pylist()


def _names(code: int, paths: list[str], kinds: list[str]) -> tuple[str, str]:
    return paths[int(code) // len(kinds)], kinds[int(code) % len(kinds)]
