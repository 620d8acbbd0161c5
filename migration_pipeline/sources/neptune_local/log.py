"""The operations that a 2.x client wrote to its log, in blocks of whole lines.

Files `data-<number of the first operation>.log`, a JSON object a line, 64 MiB each; a file is
removed when the server has acknowledged all of the next one's beginning. `last_put_version` and
`last_ack_version` count operations. The client itself opens all of these for writing, so they are
read here without it (`neptune.core.components.queue.disk_queue`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from migration_pipeline.sources.neptune_local.client2 import extract_version_from_file_name

BLOCK = 2 * 1024 * 1024
_CHANGES = (b'"type": "De', b'"type": "C')
"""Begin the names of operations that delete, clear, copy or configure."""
Json = dict[str, Any]


class Log:
    """One execution's log. What is found to be wrong with it stands in `damage` after reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        named: list[tuple[int, Path]] = []
        for file in path.glob("data-*.log"):
            try:
                named.append((extract_version_from_file_name(file, "log"), file))
            except ValueError:
                continue
        self.files = [file for _, file in sorted(named)]
        self.damage: list[str] = []
        self._unread: list[str] = []
        self.operations = 0
        self._next: int | None = None
        self._changes = True

    def blocks(self) -> Iterator[bytes]:
        """Whole lines, each with its end, at most about `BLOCK` bytes; the longest line more."""
        for file in self.files:
            begun = b""
            try:
                # Without a buffer all that lies before a bad sector is read.
                with file.open("rb", buffering=0) as opened:
                    while read := opened.read(BLOCK):
                        lines, end, begun = (begun + read).rpartition(b"\n")
                        if end:
                            yield lines + end
            except OSError as error:
                self.damage.append(f"{file.name} cannot be read: {error.strerror}")
            if begun:  # whole if it can be read
                yield begun + b"\n"

    def decoded(self, line: bytes) -> Json | None:
        """The object of a line; None, and damage, where there is none."""
        if not line:
            return None
        found: Any = None
        try:
            found = orjson.loads(line)
        except ValueError:
            try:  # as the client reads it: NaN, and control characters in texts
                found = json.loads(line, strict=False)
            except (ValueError, RecursionError):
                found = None
        if not isinstance(found, dict) or not isinstance(found.get("obj"), dict):
            said = line[:60].decode(errors="replace")
            self._unread.append(f"({len(line)} bytes that begin {said!r})")
            return None
        return found

    def count(self, versions: list[int]) -> None:
        """Notes the numbers of operations that were read, in ascending order."""
        for first, last in _stretches(versions):
            if self._next is not None and first > self._next:
                self.damage.append(f"{_from_to(self._next, first - 1)} missing")
            if self._next is None:
                self._first = first
            if self._next is None or last >= self._next:
                self._next = last + 1
        self.operations += len(versions)

    @property
    def _last(self) -> int:
        return 0 if self._next is None else self._next - 1

    @property
    def next_version(self) -> int:
        """The number of the next operation, for one that does not say its own."""
        return self._last + 1

    def finish(self) -> None:
        """Compares what was read with what the client counted."""
        if self._unread:
            shown = ", ".join(self._unread[:3]) + (", …" if len(self._unread) > 3 else "")
            self.damage.append(f"{len(self._unread)} line(s) are no operations: {shown}")
        put, ack = self.counter("last_put_version"), self.counter("last_ack_version")
        if put is not None and put > self._last:
            self.damage.append(
                f"the client counted {put} operations, and those after {self._last} are not in its "
                "log"
            )
        if self._next is not None and self._first > 1:
            sent = "were sent and" if ack and ack >= self._first - 1 else "are missing,"
            self.damage.append(
                f"operations 1 to {self._first - 1} {sent} their files removed: only the server "
                "has them"
            )
        if not self.files:
            self.damage.append("there is no log of operations")

    def counter(self, name: str) -> int | None:
        """What a file that holds a number says; None where it does not."""
        try:
            return int((self.path / name).read_text() or 0)
        except (OSError, ValueError):
            return None

    def changes(self) -> Iterator[tuple[int, Json]]:
        """Operations that take something back, with their numbers: a first look at the log."""
        damage, unread = list(self.damage), list(self._unread)
        self._changes = False
        for block in self.blocks():
            if any(one in block for one in _CHANGES):
                self._changes = True
                for line in block.split(b"\n"):
                    if any(one in line for one in _CHANGES) and (found := self.decoded(line)):
                        yield int(found.get("version") or 0), found["obj"]
        self.damage, self._unread = damage, unread  # it is found again when everything is read

    def takes_back(self, block: bytes) -> bool:
        """Whether the order of a block's lines may matter; asked after `changes`."""
        return self._changes and any(one in block for one in _CHANGES)


def _from_to(first: int, last: int) -> str:
    return f"operation {first} is" if first == last else f"operations {first} to {last} are"


def _stretches(versions: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of consecutive numbers."""
    at = 0
    while at < len(versions):
        end = at
        if versions[-1] - versions[at] == len(versions) - 1 - at:
            end = len(versions) - 1
        else:
            while end + 1 < len(versions) and versions[end + 1] <= versions[end] + 1:
                end += 1
        yield versions[at], versions[end]
        at = end + 1
