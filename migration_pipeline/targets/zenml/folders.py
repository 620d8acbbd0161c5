"""A folder in ZenML's artifact store: files go in and come out as streams, a megabyte at a time."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from migration_pipeline.targets.zenml.connection import Connection

_BLOCK = 1 << 20


@dataclass
class Folder:
    """One folder; it is there once something was put into it.

    Args:
        uri: its address in the artifact store.
    """

    to: Connection
    uri: str
    _made: set[str] = field(default_factory=set)

    def put(self, source: Path, name: str) -> int:
        """Copies a file there; returns its bytes."""
        with source.open("rb") as stream, self.writing(name) as target:
            shutil.copyfileobj(stream, target, _BLOCK)
            return stream.tell()

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A stream into a new file. It is on disk, or the store has confirmed it, at the end."""
        path = f"{self.uri}/{name}"
        parent = posixpath.dirname(path)
        with self.to.calls("sending files"):
            if parent not in self._made:
                self.to.artifacts.makedirs(parent)
                self._made.add(parent)
            with self.to.artifacts.open(path, "wb") as stream:
                yield stream
                stream.flush()
                if (number := _descriptor(stream)) is not None:
                    os.fsync(number)

    def get(self, name: str, target: Path) -> Path:
        """Downloads a file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.to.calls("downloading files"),
            self.to.artifacts.open(f"{self.uri}/{name}", "rb") as stream,
            target.open("wb") as copy,
        ):
            shutil.copyfileobj(stream, copy, _BLOCK)
        return target

    def remove(self) -> None:
        with self.to.calls("removing files"):
            if self.to.artifacts.exists(self.uri):
                self.to.artifacts.rmtree(self.uri)


def _descriptor(stream: Any) -> int | None:
    """Of a file of this machine; streams into object stores have none."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
