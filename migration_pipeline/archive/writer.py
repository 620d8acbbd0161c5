"""Writes one run into an archive so that it is either whole or not there.

Parts grow as `.parquet.tmp`. `commit` completes part 0's footer with the manifest, syncs every
part, and renames them last part first, part 0 last: a reader that sees part 0 sees a whole run.
Anything else that happens, a signal or a full disk included, leaves no new part 0.

A run that is exported again is written beside the old one. Its swap removes the old part 0 first
and its new parts are complete and synced by then; `recover` finishes a swap that was cut off.

Two processes may write the same run: each has temporary names of its own, for parts and files, what
a dead process left is told from a living one's work by a lock that dies with its holder, and swaps
take turns.

On an object store it is the same, with a copy for a rename and with objects for locks
(`archive.lease`): parts and files grow on this machine, go to the store under temporary names when
they are whole, and get their places there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline import __version__
from migration_pipeline.archive import layout, lease
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.digest import FileInfo, RunSums, digest_file
from migration_pipeline.archive.location import Location, remove_files, replace, sync, writing
from migration_pipeline.archive.manifest import (
    GENERATION_KEY,
    MANIFEST_KEY,
    FileEntry,
    Manifest,
    count_types,
    now,
)
from migration_pipeline.archive.schema import BATCH_SCHEMA, KEY_COLUMNS, in_memory_form
from migration_pipeline.archive.staging import (
    SIGN,
    STAGING,
    claim,
    footer_metadata,
    give_sign,
    local_directory,
    locked,
    move_in,
    publish,
    remove_unnamed_files,
    tmp_name,
)
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_files import each
from migration_pipeline.errors import (
    ObjectStoreRefusedError,
    ObjectStoreUnavailableError,
)

PART_BYTES = 50 * 1024 * 1024
"""A new part begins near this compressed size, as neptune-exporter's do."""
_GROUP_ROWS = 262_144
_GROUP_BYTES = 24 * 1024 * 1024


class RunWriter:
    """Takes batches and files of one run; `commit` publishes them, leaving the context discards.

    Args:
        archive: where to.
        key: the run; every batch must be of it.
        source: name of the source, for the manifest.
    """

    def __init__(self, archive: Archive, key: RunKey, source: str) -> None:
        self.key = key
        self.source = source
        self.sums = RunSums(self._info_of)
        self.files: dict[str, FileInfo] = {}
        self._waiting: dict[str, Location] = {}
        self._names: dict[str, str | None] = {}
        self._files_root = archive.files_root(key.project)
        self._directory = archive.project_directory(key.project, key.kind)
        self._stem = layout.name_on_disk(key.run)
        self._generation = uuid.uuid4().hex
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._parts: list[_Part] = []
        self._staging = self._files_root / STAGING / f"{self._stem}.{self._generation[:8]}"
        with writing(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
        self._work = local_directory(self._staging)
        self._growing = self._directory if isinstance(self._directory, Path) else self._work
        self._alive: int | None = claim(self._work)
        self._sign = give_sign(self._staging)
        self._left = True

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    @property
    def pending_bytes(self) -> int:
        """Arrow memory that waits to be written."""
        return self._pending_bytes

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows of `BATCH_SCHEMA` or `SCHEMA`, whose files must have been added before."""
        if not batch.num_rows:
            return
        batch = in_memory_form(batch)
        self.sums.update(batch)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= _GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self.flush()

    def staging_path(self, name: str) -> Path:
        """Where to download a file to before `add_file`; on the same file system."""
        return self._work / name

    def add_file(
        self,
        staged: Path,
        attribute: str,
        step: str = "",
        extension: str = "",
        name: str | None = None,
    ) -> str:
        """Takes a downloaded file; returns what goes into file_value.path.

        `name` is what the source calls it, for the manifest.
        Thread-safe. The bytes are synced here; the file has its place only after `commit`, so that
        another writer of the run can neither remove nor be robbed of it.
        """
        info = digest_file(staged)
        path = layout.file_path(self.key.folder, attribute, step, info.digest, extension)
        waiting = self._staging / layout.digest(path)
        with writing(waiting):
            if isinstance(waiting, Path):
                sync(staged)
            move_in(staged, waiting)
        self._waiting[path] = waiting
        self._names[path] = name
        self.files[path] = info
        return path

    def flush(self) -> None:
        """Writes what is pending as one row group, and begins a new part when this one is big."""
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, BATCH_SCHEMA).unify_dictionaries()
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        with writing(self._growing):
            if not self._parts or self._parts[-1].size >= PART_BYTES:
                self._begin_part()
            self._parts[-1].write(table)

    def commit(self, **of_the_run: object) -> Manifest:
        """Publishes the run. `of_the_run` are `Manifest`'s fields that only the source knows."""
        self.flush()
        with writing(self._directory):
            if not self._parts:
                self._begin_part()  # a run without a single attribute is still a run
            manifest = Manifest.model_validate(
                {
                    "source": self.source,
                    "project": self.key.project,
                    "run": self.key.run,
                    "kind": self.key.kind,
                    "rows": self.sums.rows,
                    "types": count_types(self.sums),
                    "files": [
                        FileEntry(
                            path=path, size=info.size, digest=info.digest, name=self._names[path]
                        )
                        for path, info in sorted(self.files.items())
                    ],
                    "digest": self.sums.digest(),
                    "parts": len(self._parts),
                    "generation": self._generation,
                    "written_at": now(),
                    "written_by": f"migration_pipeline {__version__}",
                    **of_the_run,
                }
            )
            self._parts[0].metadata(MANIFEST_KEY, manifest.model_dump_json().encode())
            for part in self._parts:
                part.finish()
            with locked(self._directory) as still_ours:
                self._check_sign()
                placed = self._place_files()
                try:
                    publish(
                        self._directory, self._stem, self._generation, len(self._parts), still_ours
                    )
                except BaseException:
                    if not self._published:
                        remove_files(placed)
                    raise
                remove_unnamed_files(self._files_root, self.key, manifest)
        self._parts = []
        self._left = False
        return manifest

    def discard(self) -> None:
        """Removes what was not committed; an older export of the run is untouched."""
        for part in self._parts:
            with contextlib.suppress(OSError, pa.ArrowException):
                part.close()
        # By name: a part whose very beginning could not be written is in no list.
        names = [
            tmp_name(self._stem, number, self._generation) for number in range(len(self._parts) + 1)
        ]
        self._parts = []
        if isinstance(self._directory, Path):
            remove_files(self._directory / name for name in names)
        if self._alive is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            os.close(self._alive)
            self._alive = None
        if isinstance(self._staging, StorePath) and self._sign:
            sign, self._sign = self._sign, None
            # A store that does not answer must not hide why we are here; `recover` removes it too.
            with contextlib.suppress(ObjectStoreRefusedError, ObjectStoreUnavailableError):
                if self._left:
                    remove_files(self._directory / name for name in names)
                    remove_files(
                        self._staging / path for path in self._staging.walk() if path != SIGN
                    )
            with contextlib.suppress(ObjectStoreRefusedError, ObjectStoreUnavailableError):
                lease.take_back(sign)

    def _begin_part(self) -> None:
        if len(self._parts) > 1:
            self._parts[-1].finish()  # only part 0 stays open, for the manifest in its footer
        name = tmp_name(self._stem, len(self._parts), self._generation)
        part = _Part(self._directory / name, self._work)
        part.metadata(GENERATION_KEY, self._generation.encode())
        self._parts.append(part)

    def _info_of(self, path: str) -> FileInfo:
        return self.files[path]

    def _check_sign(self) -> None:
        """
        Raises:
            StoppedWriterError: others may have removed what was written so far.
        """
        if self._sign:
            self._sign.check()

    def _place_files(self) -> list[Location]:
        """Moves the files to their places, durably; returns those where none was before."""
        new: list[Location] = []
        if isinstance(self._files_root, StorePath):
            root = self._files_root

            def place(path: str) -> None:
                final = root / path
                if not final.exists():
                    new.append(final)
                replace(self._waiting[path], final)

            try:
                for _ in each(place, list(self._waiting), root):
                    pass
            except BaseException:
                remove_files(new)
                raise
            return new
        folders = {self._files_root}
        try:
            for path, waiting in self._waiting.items():
                final = self._files_root / path
                with writing(final):
                    final.parent.mkdir(parents=True, exist_ok=True)
                    if not final.exists():
                        new.append(final)
                    replace(waiting, final)
                folders.update(p for p in final.parents if self._files_root in p.parents)
            for folder in folders:
                sync(folder)
        except BaseException:
            remove_files(new)
            raise
        return new

    @property
    def _published(self) -> bool:
        first = footer_metadata(self._directory / layout.part_name(self._stem, 0))
        return first.get(GENERATION_KEY) == self._generation.encode()


class _Part:
    """One Parquet file that is being written; one for a store grows in `work`."""

    def __init__(self, path: Location, work: Path) -> None:
        self.path = path
        self._growing = path if isinstance(path, Path) else work / path.name
        self._sink = pa.OSFile(str(self._growing), "wb")
        self._is_there = False
        # store_schema=False: the dictionaries in memory must not show in the file's schema.
        # Dictionaries only where values repeat on every row: hashing each step and time costs as
        # much as all the rest, and differences compress better.
        self._writer = pq.ParquetWriter(
            self._sink,
            BATCH_SCHEMA,
            compression="snappy",
            store_schema=False,
            use_dictionary=list(KEY_COLUMNS),
            column_encoding={"timestamp": "DELTA_BINARY_PACKED", "step": "DELTA_BYTE_ARRAY"},
        )

    @property
    def size(self) -> int:
        return int(self._sink.tell())

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=_GROUP_ROWS)

    def metadata(self, key: bytes, value: bytes) -> None:
        self._writer.add_key_value_metadata({key: value})

    def close(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()

    def finish(self) -> None:
        """It is whole, and durable, under its temporary name."""
        self.close()
        if isinstance(self.path, Path):
            sync(self.path)
        elif not self._is_there:
            move_in(self._growing, self.path)
            self._is_there = True
