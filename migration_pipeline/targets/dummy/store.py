"""Runs in a folder: the back end that the dummy talks to, one method a call.

`<root>/<project>/<kind>/<run>/` holds `rows.arrows` (Arrow streams, one after another), `files/`
and `run.json`, which says what the run is and whether it is complete. What is in there without a
`run.json` is nothing yet. Every change of `run.json` is a rename.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_PLURALS, RunKey

CALLS = (
    "check",
    "runs",
    "run",
    "begin",
    "rows",
    "file",
    "finish",
    "note",
    "read",
    "fetch",
    "remove",
)
"""Methods of `Store` that may be made to fail."""
Entry = dict[str, Any]
_ENTRY, _ROWS, _FILES, _OPENED = "run.json", "rows.arrows", "files", ".opened"


@dataclass(frozen=True)
class Store:
    """A folder of runs. A place is a run's folder, relative to the root.

    Raises (every method):
        OSError: the file system refuses.
        ValueError: a `run.json` is damaged.
    """

    root: Path

    def exists(self) -> bool:
        return self.root.is_dir()

    def opened(self) -> int:
        """How often the store was opened before by processes that count; 0 where there is none."""
        if not self.exists():
            return 0
        with (self.root / _OPENED).open("ab") as stream:
            stream.write(b".")
            stream.flush()
            return os.fstat(stream.fileno()).st_size

    def check(self) -> None:
        """Whether runs could be kept here; makes nothing."""
        at = self.root.absolute()
        while not at.exists():
            at = at.parent
        if not at.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{at} is no directory")
        if not os.access(at, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{at} is read-only")

    def runs(self, project: str) -> list[Entry]:
        """All runs that were begun."""
        folder = self.root / layout.name_on_disk(project)
        places = (p.parent for p in folder.glob(f"*/*/{_ENTRY}"))
        return [entry for place in sorted(places) if (entry := self.run(place)) is not None]

    def run(self, place: Path) -> Entry | None:
        """What is said of a run; None: there is none."""
        try:
            text = (self.root / place / _ENTRY).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        entry: Entry = json.loads(text)
        return entry

    def begin(self, place: Path, entry: Entry) -> None:
        """Takes away what is there, and begins anew."""
        self.remove(place)
        (self.root / place / _FILES).mkdir(parents=True)
        self.note(place, entry)

    def rows(self, place: Path, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        with (
            (self.root / place / _ROWS).open("ab") as stream,
            pa.ipc.new_stream(stream, batch.schema) as writer,
        ):
            writer.write_batch(batch)

    def file(self, place: Path, path: str, source: Path) -> None:
        """Keeps a file, or a directory, under the path that rows name it by."""
        kept = self._file(place, path)
        if source.is_dir():
            shutil.copytree(source, kept, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, kept)
        for child in (kept, *kept.rglob("*")):
            _sync(child)

    def finish(self, place: Path, entry: Entry) -> None:
        """The same as `note`, once all rows and files are on the disk."""
        for child in (self.root / place / _ROWS, self.root / place / _FILES):
            if child.exists():
                _sync(child)
        self.note(place, entry)

    def note(self, place: Path, entry: Entry) -> None:
        """Says something else of a run."""
        folder = self.root / place
        temporary = folder / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_text(json.dumps(entry, indent=1, allow_nan=False), encoding="utf-8")
            _sync(temporary)
            os.replace(temporary, folder / _ENTRY)
            _sync(folder)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def read(self, place: Path) -> Iterator[pa.RecordBatch]:
        """All rows, in the order in which they came."""
        path = self.root / place / _ROWS
        if not path.exists():
            return
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            while stream.tell() < size:
                yield from pa.ipc.open_stream(stream)

    def fetch(self, place: Path, path: str, into: Path) -> bool:
        """Copies a file to `into`; False: there is none."""
        kept = self._file(place, path)
        if kept.is_dir():
            shutil.copytree(kept, into)
        elif kept.exists():
            shutil.copyfile(kept, into)
        return kept.exists()

    def remove(self, place: Path) -> None:
        """Takes a run away, that it is one first."""
        folder = self.root / place
        (folder / _ENTRY).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)

    def _file(self, place: Path, path: str) -> Path:
        return self.root / place / _FILES / layout.digest(path)


def place_of(project: str, key: RunKey) -> Path:
    """Where a run lies.

    Args:
        project: its name here, with what was put before it.
    """
    folder = Path(layout.name_on_disk(project)) / layout.clean(KIND_PLURALS[key.kind])
    return folder / layout.name_on_disk(key.run)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
