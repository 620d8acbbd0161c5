"""Files that a 2.x client was to upload: taken from where they lie on this machine.

Bytes that were in memory lie in `upload_path/` of the directory; of a file, only its path is known,
and it is taken as it is now. Relative names are those of the folder that holds `.neptune`, which is
where the client creates it.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from migration_pipeline.archive.location import writing
from migration_pipeline.sources.copying import copied
from migration_pipeline.sources.neptune2.artifacts import UNREAD, pack
from migration_pipeline.sources.neptune_local.client2 import (
    ArtifactFileData,
    FileHasher,
    LocalArtifactDriver,
    UploadEntry,
    get_absolute_paths,
    normalize_file_name,
    scan_unique_upload_entries,
    sha1,
)
from migration_pipeline.sources.neptune_local.finding import Execution
from migration_pipeline.sources.reading import Damage, Item, Missing, Remark
from migration_pipeline.sources.source import DownloadedFile, RunRef

_AS_NOW = "{count} files are taken from their paths as they are now: {list}"
_UNSENT = "unsent_uploads"
_NO_OPERATION = "files in upload_path of which no operation says where they belong: {list}"
_DATE = (1980, 1, 1, 0, 0, 0)


class Uploads:
    """The files of one run.

    Args:
        run: whose they are.
        scratch: where copies go, on the archive's file system.
        numbers: names of the copies, different from those of other runs.
    """

    def __init__(self, run: RunRef, scratch: Path, numbers: Iterator[int]) -> None:
        self._run, self._scratch, self._numbers = run, scratch, numbers
        self._files: dict[str, tuple[Path | bytes, str]] = {}
        self._sets: dict[str, dict[str, Path]] = {}
        self._artifacts: dict[str, tuple[list[tuple[str, str | None]], str, Path]] = {}
        self._unfound: list[str] = []
        self._home = self._folder = Path()
        self._folders: list[Path] = []
        self._used: set[Path] = set()

    def of(self, execution: Execution) -> None:
        """Operations from now on are of this execution."""
        self._home, self._folder = execution.home, execution.path / "upload_path"
        self._folders.append(self._folder)

    def target(self) -> Path:
        return self._scratch / f"local-{next(self._numbers)}"

    def written(self, content: bytes) -> Path:
        """A file of these bytes."""
        target = self.target()
        with writing(target):
            target.write_bytes(content)
        return target

    def file(self, path: str, operation: Any) -> None:
        extension = f".{operation.ext}" if operation.ext else ""
        content = getattr(operation, "file_content", None)
        if content is not None:
            self._files[path] = (base64.b64decode(content), extension)
            return
        if operation.file_path is None:
            place = self._folder / str(operation.tmp_file_name)
        else:
            place = self._home / str(operation.file_path)  # of an absolute one, nothing but itself
            beside = self._folder / place.name
            if not place.is_file() and beside.is_file():  # the directory was moved
                place = beside
        self._used.add(place)
        self._files[path] = (place, extension)

    def file_set(self, path: str, operation: Any) -> None:
        """Adds what the patterns match now, named as the client would have named it."""
        members = {} if operation.reset else self._sets.get(path, {})
        for pattern in operation.file_globs:
            if not glob.glob(pattern, recursive=True):
                self._unfound.append(f"{path}: nothing is at {pattern}")
        members |= members_of(operation.file_globs, self._home)
        self._sets[path] = members

    def artifact(self, path: str, operation: Any) -> None:
        entries, digest, _ = self._artifacts.get(path, ([], "", self._home))
        if hasattr(operation, "hash"):
            entries, digest = [], operation.hash
        else:
            entries = [*entries, *operation.entries]
        self._artifacts[path] = (entries, digest, self._home)

    def take_back(self, path: str, operation: Any) -> None:
        """Files out of a set, or everything out of an artifact."""
        if hasattr(operation, "file_paths"):
            for name in operation.file_paths:
                self._sets.get(path, {}).pop(name, None)
        else:
            self._artifacts.pop(path, None)

    def forget(self, path: str) -> None:
        """The attribute was deleted."""
        for kept in (self._files, self._sets, self._artifacts):
            kept.pop(path, None)  # type: ignore[attr-defined]

    def items(self, wants: Callable[[str, str], bool]) -> Iterator[Item]:
        """All files, sets and artifacts, and what of them is not here."""
        for path, (content, extension) in sorted(self._files.items()):
            if wants(path, "file"):
                yield from self._file(path, content, extension)
        for path, members in sorted(self._sets.items()):
            if members and wants(path, "file_set"):
                yield from self._set(path, members)
        for path, (entries, digest, home) in sorted(self._artifacts.items()):
            if wants(path, "artifact"):
                yield from self._artifact(path, entries, digest, home)
        for text in self._unfound:
            yield Damage(self._run, text)
        yield from self._unused(wants)

    def _file(self, path: str, content: Path | bytes, extension: str) -> Iterator[Item]:
        if isinstance(content, bytes):
            yield DownloadedFile(self._run, path, "file", self.written(content), extension)
            return
        target = self.target()
        if not copied(content, target):
            yield Missing(self._run, path)
            yield Damage(self._run, f"the file of {path} is not at {content}")
            return
        if content.parent not in self._folders:
            yield Remark(self._run, _AS_NOW, str(content))
        yield DownloadedFile(
            self._run, path, "file", target, extension or content.suffix, name=content.name
        )

    def _set(self, path: str, members: dict[str, Path]) -> Iterator[Item]:
        target, listing = self.target(), []
        with writing(target), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
            for name, place in sorted(members.items()):
                copy = self.target()
                if not copied(place, copy):
                    yield Damage(self._run, f"{name} of {path} is not at {place}")
                    continue
                info = zipfile.ZipInfo(name, _DATE)
                info.external_attr = 0o644 << 16
                info.file_size = copy.stat().st_size
                with copy.open("rb") as read, packed.open(info, "w") as out:
                    shutil.copyfileobj(read, out)
                listing.append({"path": name, "size": info.file_size})
                copy.unlink()
        yield Remark(self._run, _AS_NOW, f"{path}: {len(listing)}", len(listing))
        yield self._listed(path, "file_set", listing)
        name = f"{path.rpartition('/')[2]}.zip"
        yield DownloadedFile(self._run, path, "file_set", target, ".zip", name=name)

    def _artifact(
        self, path: str, entries: list[tuple[str, str | None]], digest: str, home: Path
    ) -> Iterator[Item]:
        files: list[dict[str, Any]] = []
        for place, destination in entries:
            found = list(_tracked(place, destination, home))
            if not found:
                yield Damage(self._run, f"{path}: nothing is at {place}, which was tracked")
            files += found
        if not entries:
            yield Damage(self._run, f"{path}: only the server has the list of artifact {digest}")
        content = {"hash": digest or _hash(files), "files": files}
        yield self._listed(path, "artifact", content)
        if files:
            yield Remark(self._run, _AS_NOW, f"{path}: {len(files)}", len(files))
            target = self.target()
            for name, reason in pack(files, target, self.target):
                yield Remark(self._run, UNREAD, f"{path}: {name}: {reason}")
            if target.exists():
                yield DownloadedFile(self._run, path, "artifact", target, ".zip")

    def _listed(self, path: str, kind: str, content: object) -> DownloadedFile:
        text = json.dumps(content, sort_keys=True, indent=1)
        return DownloadedFile(self._run, path, kind, self.written(text.encode("ascii")), ".json")

    def _unused(self, wants: Callable[[str, str], bool]) -> Iterator[Item]:
        """What lies in `upload_path` and belongs to no operation that is here."""
        for folder in self._folders:
            for place in sorted(folder.glob("*")) if folder.is_dir() else []:
                path = f"{_UNSENT}/{place.name}"
                if place in self._used or not place.is_file() or not wants(path, "file"):
                    continue
                target = self.target()
                if copied(place, target):
                    yield Remark(self._run, _NO_OPERATION, place.name)
                    yield DownloadedFile(
                        self._run, path, "file", target, place.suffix, name=place.name
                    )


def members_of(patterns: list[str], home: Path) -> dict[str, Path]:
    """Name in the set → file, for patterns of absolute paths.

    The client's `get_unique_upload_entries`, which names files relative to the directory that they
    share, or to the working directory where that is above it.
    """
    places = get_absolute_paths(patterns)
    if not places:
        return {}
    root = os.path.commonpath(places)
    if os.path.isfile(root):
        root = os.path.dirname(root)
    if root.startswith(str(home) + os.sep):
        root = str(home)
    entries = [
        UploadEntry(place, normalize_file_name(os.path.relpath(place, root))) for place in places
    ]
    return {
        normalize_file_name(one.target_path): Path(one.source)
        for one in scan_unique_upload_entries(entries)
        if os.path.isfile(one.source)
    }


def _tracked(place: str, destination: str | None, home: Path) -> Iterator[dict[str, Any]]:
    """The files of an artifact's entry, as the client's driver for local files lists them.

    Not by the driver itself, which keeps the digests in a database of its own in the home folder.
    """
    if not LocalArtifactDriver.matches(place):
        return
    source = home / Path(place.removeprefix("file://")).expanduser()
    for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if not file.is_file():
            continue
        name = file.relative_to(source).as_posix() if source.is_dir() else file.name
        if destination is not None:
            name = (Path(destination) / name).as_posix()
        found = file.stat()
        modified = datetime.fromtimestamp(found.st_mtime)
        metadata = {
            "file_path": f"file://{file.resolve().as_posix()}",
            "last_modified": modified.strftime(LocalArtifactDriver.DATETIME_FORMAT),
        }
        yield {
            "filePath": name,
            "fileHash": sha1(file),
            "type": LocalArtifactDriver.get_type(),
            "size": found.st_size,
            "metadata": [{"key": k, "value": v} for k, v in metadata.items()],
        }


def _hash(files: list[dict[str, Any]]) -> str:
    """As the client makes it of a list that is sent without its metadata."""
    listed = [
        ArtifactFileData(one["filePath"], one["fileHash"], one["type"], {}, one["size"])
        for one in files
    ]
    return str(FileHasher.get_artifact_hash_without_metadata(listed))
