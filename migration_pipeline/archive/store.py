"""Paths on an object store, for an archive that lies there: what `pathlib` is for a folder.

A `StorePath` has those methods of `Path` that the archive uses, over fsspec's file systems (S3,
Google Cloud Storage, Azure); it is no `Path`, so that nothing takes it for a place on this machine.
Its own, and not universal_pathlib's: that asks several requests where one will do, looks at a
parent's whole listing to see that a folder is empty, and cannot tell a bucket that is gone from
nothing in it, which would pass for an archive without runs.

Credentials and addresses come from the vendors' usual environment variables; a path has none.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat as modes
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from migration_pipeline.archive.store_errors import Answer, missing_package, translated

SEPARATOR = "://"
_OPTIONS: dict[str, dict[str, Any]] = {
    # An older listing than the store's would show parts that are gone and hide those that are new.
    # Of a file, s3fs has `max_concurrency` pieces in memory, adlfs of 4 MB; they would take ten and
    # a hundred.
    "s3": {"use_listings_cache": False, "anon": False, "max_concurrency": 2},
    "gs": {"use_listings_cache": False},
    "az": {"use_listings_cache": False, "anon": False, "max_concurrency": 8},
}
_BLOCK = 1 << 20
_PIECE = 8 * _BLOCK
"""Of a file on its way to a store, or from one: instead of 50 MB, which would be a part whole."""
_IN_PIECES: dict[str, dict[str, Any]] = {"s3": {"chunksize": _PIECE}, "gs": {"chunksize": _PIECE}}
"""Azure's package lets nobody say it: up to 64 MB are one request."""


def file_system(protocol: str) -> Any:
    """fsspec's, one for all that a process does at stores of this kind.

    Raises:
        MissingExtraError: its package is not installed.
    """
    import fsspec

    # gcsfs asks another service, at other ports, for a bucket's kind ahead of every request. What
    # it is about, "rapid" buckets, has no copies; so gcsfs is told to do without.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        return fsspec.filesystem(protocol, **_OPTIONS[protocol])
    except ImportError as error:
        raise missing_package(protocol) from error


@dataclass(frozen=True)
class StoreStat:
    """What `os.stat_result` would say."""

    st_size: int
    st_mtime: float
    st_mode: int


@dataclass(frozen=True, order=True)
class StorePath:
    """An object or a folder (a prefix) on an object store; made by `location` and by `/`.

    Args:
        protocol: `s3`, `gs` or `az`.
        key: `bucket/folder/name`.
    """

    protocol: str
    key: str

    # --- names, as PurePosixPath has them -------------------------------------------------------

    def __truediv__(self, name: str | PurePosixPath) -> StorePath:
        below = str(PurePosixPath("/") / name)[1:]
        return StorePath(self.protocol, f"{self.key}/{below}" if below else self.key)

    def __str__(self) -> str:
        return f"{self.protocol}{SEPARATOR}{self.key}"

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def bucket(self) -> StorePath:
        return StorePath(self.protocol, self.key.partition("/")[0])

    @property
    def parent(self) -> StorePath:
        above = self.key.rpartition("/")[0]
        return StorePath(self.protocol, above) if above else self

    @property
    def parents(self) -> list[StorePath]:
        found, at = [], self
        while at.parent != at:
            at = at.parent
            found.append(at)
        return found

    def with_name(self, name: str) -> StorePath:
        return self.parent / name

    def is_relative_to(self, other: object) -> bool:
        return isinstance(other, StorePath) and (self == other or other in self.parents)

    def relative_to(self, other: StorePath) -> PurePosixPath:
        if not self.is_relative_to(other):
            raise ValueError(f"{str(self)!r} is not below {str(other)!r}")
        return PurePosixPath(self.key[len(other.key) + 1 :])

    def resolve(self) -> StorePath:
        """Itself, without `..`: there are no links."""
        plain = os.path.normpath("/" + self.key)
        return StorePath(self.protocol, plain[1:])

    # --- what is there --------------------------------------------------------------------------

    def stat(self) -> StoreStat:
        """Of an object, or of a folder that has something in it.

        Raises:
            FileNotFoundError: neither.
        """
        return _stat(self._ask("info", self.key))

    def exists(self) -> bool:
        return self._mode() != 0

    def is_file(self) -> bool:
        return modes.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        return modes.S_ISDIR(self._mode())

    def folders(self) -> Iterator[StorePath]:
        """Those right below: asks for that alone, so it suits the folder of all projects.

        Raises:
            FileNotFoundError: nothing is there.
        """
        for found in self._ask("ls", self.key, detail=True):
            key = str(found["name"]).strip("/")
            if found["type"] == "directory" and key != self.key:
                yield StorePath(self.protocol, key)

    def scandir(self) -> Iterator[StoreEntry]:
        """What is right below, from one listing of all that is below.

        Raises:
            FileNotFoundError: nothing is there.
        """
        folders: set[str] = set()
        found = self._found()
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        for path, said in found.items():
            name, _, below = path.partition("/")
            if not below:
                yield StoreEntry(name, self / name, _stat(said))
            elif name not in folders:
                folders.add(name)
                yield StoreEntry(name, self / name, StoreStat(0, 0.0, modes.S_IFDIR))

    def walk(self) -> dict[str, StoreStat]:
        """All objects below, by their path from here; empty: there are none."""
        return {path: _stat(said) for path, said in self._found().items()}

    def rglob(self, pattern: str) -> Iterator[StorePath]:
        """Objects (no folders) below whose name fits."""
        for path in sorted(self._found()):
            if fnmatchcase(path.rpartition("/")[2], pattern):
                yield self / path

    def require_bucket(self) -> None:
        """
        Raises:
            ObjectStoreRefusedError: there is no such bucket, or it is not ours to read.
            ObjectStoreUnavailableError: the store does not answer.
        """
        with translated(self, self.protocol):
            file_system(self.protocol).info(self.bucket.key)

    # --- bytes ----------------------------------------------------------------------------------

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """For reading, block by block."""
        if mode != "rb":
            raise ValueError(f"an object is read with 'rb', not {mode!r}")
        from migration_pipeline.archive.store_files import Ranges

        return io.BufferedReader(Ranges(self, self.stat().st_size), _BLOCK)

    def read_bytes(self) -> bytes:
        return bytes(self._ask("cat_file", self.key))

    def read_range(self, start: int, end: int) -> bytes:
        return bytes(self._ask("cat_file", self.key, start=start, end=end))

    def write_bytes(self, content: bytes) -> int:
        """In one request: the object is there with all of it, or as it was."""
        self._ask("pipe_file", self.key, content)
        return len(content)

    def create(self, content: bytes) -> bool:
        """The same where there is none; False: there is one. Of several at once one succeeds."""
        try:
            self._ask("pipe_file", self.key, content, mode="create")
        except FileExistsError:
            return False
        return True

    def fetch(self, to: Path) -> None:
        """Into a file of this machine."""
        with to.open("wb") as target:
            self.fetch_into(target)

    def fetch_into(self, target: IO[bytes]) -> None:
        for block in self.blocks(self.stat().st_size):
            target.write(block)

    def blocks(self, size: int) -> Iterator[bytes]:
        """All of it, a few megabytes a request.

        Args:
            size: its bytes.
        """
        for start in range(0, size, _PIECE):
            yield self.read_range(start, min(start + _PIECE, size))

    def put(self, source: Path) -> None:
        """A file of this machine; the object appears with its last byte."""
        self._ask("put_file", str(source), self.key, **_IN_PIECES.get(self.protocol, {}))

    def unfinished(self) -> list[tuple[StorePath, str]]:
        """Objects below that were begun in pieces and are not there yet, with the upload's id: up
        to a thousand. S3 keeps their pieces, unseen, for good; other stores drop them in a week."""
        if self.protocol != "s3":
            return []
        bucket, _, folder = self.key.partition("/")
        found = self._ask("call_s3", "list_multipart_uploads", Bucket=bucket, Prefix=f"{folder}/")
        return [
            (StorePath(self.protocol, f"{bucket}/{one['Key']}"), one["UploadId"])
            for one in found.get("Uploads", [])
        ]

    def give_up(self, upload: str) -> None:
        """Of what `unfinished` found nothing stays."""
        bucket, _, name = self.key.partition("/")
        self._ask("abort_mpu", bucket, name, upload)

    def copy_to(self, other: StorePath) -> None:
        """The store's own copy: nothing passes through this machine, except on Azure, whose copy
        may go on after it was answered."""
        if self.protocol != "az":
            self._ask("cp_file", self.key, other.key)
            return
        with tempfile.NamedTemporaryFile(prefix="migration-") as file:
            self.fetch_into(file)  # type: ignore[arg-type]
            file.flush()
            other.put(Path(file.name))

    def unlink(self, missing_ok: bool = False) -> None:
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self._ask("rm_file", self.key)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """A folder is there as soon as something is in it."""

    # --- the store itself -----------------------------------------------------------------------

    def _ask(self, name: str, *given: Any, **options: Any) -> Any:
        """A request by name, with its errors as ours.

        Raises:
            FileNotFoundError: the object is not there, but the bucket is.
            ObjectStoreRefusedError, ObjectStoreUnavailableError: the bucket is not, or not to us.
        """
        with translated(self, self.protocol):
            try:
                return getattr(file_system(self.protocol), name)(*given, **options)
            except FileNotFoundError as error:
                if self._is_gone(error):
                    raise
                missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
                raise Answer(missing) from error
            except (FileExistsError, ValueError) as error:  # ValueError: s3fs, of "create"
                if options.get("mode") == "create":
                    raise Answer(FileExistsError(errno.EEXIST, "it exists", str(self))) from error
                raise

    def _is_gone(self, error: FileNotFoundError) -> bool:
        """Whether it is the bucket that is not there."""
        if self.protocol == "s3":  # it says so itself
            return type(error.__cause__).__name__ == "NoSuchBucket"
        return not file_system(self.protocol).exists(self.bucket.key)

    def _found(self) -> dict[str, dict[str, Any]]:
        """Every object below by its path from here, from one listing."""
        try:
            found = self._ask("find", self.key, detail=True)
        except FileNotFoundError:
            return {}
        start = f"{self.key}/"
        below = {
            key[len(start) :]: said
            for key, said in found.items()
            if key.startswith(start) and said.get("type") != "directory" and key[-1] != "/"
        }
        if not below and self.protocol != "s3":
            self.require_bucket()
        return below

    def _mode(self) -> int:
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0


@dataclass(frozen=True)
class StoreEntry:
    """As `os.DirEntry`, with what the listing said."""

    name: str
    location: StorePath
    found: StoreStat

    @property
    def path(self) -> str:
        return str(self.location)

    def stat(self) -> StoreStat:
        return self.found

    def is_file(self) -> bool:
        return modes.S_ISREG(self.found.st_mode)

    def is_dir(self) -> bool:
        return modes.S_ISDIR(self.found.st_mode)


def _stat(said: dict[str, Any]) -> StoreStat:
    kind = modes.S_IFDIR if said.get("type") == "directory" else modes.S_IFREG
    time = said.get("LastModified") or said.get("updated") or said.get("last_modified")
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    at = time.astimezone(UTC).timestamp() if time else 0.0
    return StoreStat(int(said.get("size") or 0), at, kind)
