"""Files of 2.x objects: single ones, sets, elements of series, and what artifacts list.

Each download has a path of its own on the archive's file system; whatever may pass is tried again
and sizes are compared (`sources.fetching`). A set is had twice, as the server's zip and as a
listing; so is an artifact, whose bytes the server never had (`artifacts`).
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.writer import writing
from migration_pipeline.errors import IncompleteAnswerError, SourceUnavailableError
from migration_pipeline.sources.fetching import OTHER_SIZE, fetch
from migration_pipeline.sources.neptune import not_a_server
from migration_pipeline.sources.neptune2.artifacts import UNREAD, pack
from migration_pipeline.sources.neptune2.attributes import Json
from migration_pipeline.sources.neptune2.http import RefusedAnswer
from migration_pipeline.sources.neptune2.reader import Reader, of_attribute
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.reading import Item, Missing, Remark, Task
from migration_pipeline.sources.source import DownloadedFile, RunRef

MAX_LISTED = 8
"""Directories of a set that are asked for their files' times, each by a request."""
_POLLS = (0.0, 0.5, 1.0, 2.0, 4.0)
_LONGEST_POLL = 5.0
_MOST_POLLS = 120
"""Ten minutes, as long as a request is repeated."""
_NO_TIMES = "file sets of many directories, whose listing has no times: {list}"
_NOT_ITS_FILES = "file sets whose zip and listing differ: {list}"


class _OfOne(Task):
    """A task for one attribute of one run."""

    def __init__(self, reader: Reader, run: RunRef, path: str) -> None:
        super().__init__([run])
        self._reader, self._run, self._path = reader, run, path

    def split(self) -> Sequence[Task]:
        return []

    def _made(self, kind: str, content: object) -> DownloadedFile:
        """A file of JSON that is made here."""
        target = self._reader.target()
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=1)
        with writing(target):
            target.write_text(text, encoding="utf-8")
        return DownloadedFile(self._run, self._path, kind, target, ".json")


class File(_OfOne):
    """A single file."""

    def __init__(self, reader: Reader, run: RunRef, path: str, properties: Json) -> None:
        super().__init__(reader, run, path)
        self._said = properties

    def advance(self) -> Iterator[Item]:
        reader, run, size = self._reader, self._run, self._said.get("size")
        target, asked = reader.target(), of_attribute(run, self._path)

        def get(_: int) -> bool:
            saved = reader.client.save("downloadAttribute", reader.place(run), asked, target)
            return saved is not None

        if fetch(run, self._path, target, size, get):
            if size is not None and (found := target.stat().st_size) != size:
                yield Remark(run, OTHER_SIZE, f"{self._path}: {found} bytes, announced {size}")
            name, ext = self._said.get("name") or None, self._said.get("ext") or ""
            extension = extension_of(f"file.{ext}" if ext else name or "", "", self._path)
            yield DownloadedFile(run, self._path, "file", target, extension, name=name)
        else:
            yield Missing(run, self._path)
        self.finished = True


def image(reader: Reader, run: RunRef, path: str, index: int) -> DownloadedFile | Missing:
    """An element of a file series, under the name that the client gives it."""
    target, asked = reader.target(), of_attribute(run, path, index=index)
    headers: dict[str, str] = {}

    def get(_: int) -> bool:
        saved = reader.client.save("getImageSeriesValue", reader.place(run), asked, target)
        headers.update(saved or {})
        return saved is not None

    if not fetch(run, f"{path} ({index})", target, None, get):
        return Missing(run, f"{path} (step {index})")
    kind = headers.get("content-type", "").partition(";")[0]
    name = f"{index}.{kind.rpartition('/')[2]}"
    extension = extension_of(name, kind, path)
    return DownloadedFile(
        run, path, "file_series", target, extension, step=index * 10**6, name=name
    )


class FileSet(_OfOne):
    """A set of files: the server's zip, and a listing with path, size and time of each."""

    def advance(self) -> Iterator[Item]:
        reader, run = self._reader, self._run
        target = reader.target()

        def get(_: int) -> bool:
            saved = reader.client.save_from(self._address(), reader.place(run), target)
            if saved is not None and not zipfile.is_zipfile(target):
                raise Again(f"{target.stat().st_size} bytes that are no zip")
            return saved is not None

        try:
            found = fetch(run, self._path, target, None, get)
        except RefusedAnswer as error:
            if error.status != 404:
                raise
            found = False
        if found:
            yield from self._listed(_members(target))
            name = f"{self._path.rpartition('/')[2]}.zip"
            yield DownloadedFile(run, self._path, "file_set", target, ".zip", name=name)
        else:
            yield Missing(run, self._path)
        self.finished = True

    def _listed(self, packed: Mapping[str, int]) -> Iterator[Item]:
        """The listing as the server has it; of a set with many directories, as its zip has it.

        The zip says which directories hold files: the others are not asked for.
        """
        run, path = self._run, self._path
        directories = sorted({name.rpartition("/")[0] for name in packed})
        if len(directories) > MAX_LISTED:
            yield Remark(run, _NO_TIMES, path)
            listing: list[Json] = [{"path": name, "size": packed[name]} for name in packed]
        else:
            listing = [one for directory in directories for one in self._level(directory)]
            if {one["path"]: one["size"] for one in listing} != packed:
                yield Remark(run, _NOT_ITS_FILES, path)
        yield self._made("file_set", sorted(listing, key=lambda one: str(one["path"])))

    def _level(self, directory: str) -> list[Json]:
        """The files right in a directory."""
        reader, run = self._reader, self._run
        asked = of_attribute(run, self._path, path=directory)
        entries = reader.client.json("lsFileSetAttribute", reader.place(run), asked)
        above = f"{directory}/" if directory else ""
        try:
            return [
                {"path": f"{above}{one['name']}", "size": one["size"], "mtime": one["mtime"]}
                for one in entries
                if one["fileType"] != "directory"
            ]
        except (KeyError, TypeError) as error:
            raise IncompleteAnswerError(
                f"{reader.place(run)}, file set {self._path!r}: the answer is not a list of files"
            ) from error

    def _address(self) -> str:
        """Asks for a zip and waits until it is made."""
        reader, run = self._reader, self._run
        operation, asked = (
            "prepareForDownloadFileSetAttributeZip",
            dict(of_attribute(run, self._path)),
        )
        for poll in range(_MOST_POLLS):
            answer = reader.client.json(operation, reader.place(run), asked)
            if not isinstance(answer, dict) or "id" not in answer:
                raise not_a_server(reader.client.address, "the zip of a file set", answer)
            if answer.get("downloadUrl"):
                return str(answer["downloadUrl"])
            operation, asked = "getDownloadPrepareRequest", {"id": answer["id"]}
            time.sleep(_POLLS[poll] if poll < len(_POLLS) else _LONGEST_POLL)
        raise SourceUnavailableError(
            f"{reader.place(run)}: the server did not finish the zip of file set {self._path!r}",
            "Start the job again; it does only what is missing.",
        )


def _members(packed: Path) -> dict[str, int]:
    """Path → bytes of the files in a zip; the server adds an entry for each directory, and `/`."""
    with zipfile.ZipFile(packed) as archive:
        entries = [one for one in archive.infolist() if not one.is_dir()]
    return {one.filename.lstrip("/"): one.file_size for one in entries}


class Artifact(_OfOne):
    """What an artifact lists, and as many of these files as can be read where they are stored."""

    def __init__(self, reader: Reader, run: RunRef, path: str, properties: Json) -> None:
        super().__init__(reader, run, path)
        self._hash = str(properties["hash"])

    def advance(self) -> Iterator[Item]:
        files = self._list()
        if files is None:
            yield Missing(self._run, f"{self._path} (list of artifact {self._hash})")
        else:
            yield self._made("artifact", {"hash": self._hash, "files": files})
            yield from self._packed(files)
        self.finished = True

    def _list(self) -> list[Json] | None:
        reader, run = self._reader, self._run
        project = reader.client.project(run.key.project).uuid
        asked = {"projectIdentifier": project, "hash": self._hash}
        try:
            answer = reader.client.json(
                "listArtifactFiles", reader.place(run), asked, document="artifacts"
            )
        except RefusedAnswer as error:
            if error.status != 404:
                raise
            return None
        if not isinstance(answer, dict) or not isinstance(answer.get("files"), list):
            raise not_a_server(reader.client.address, "an artifact's files", answer)
        files: list[Json] = answer["files"]
        return files

    def _packed(self, files: Sequence[Json]) -> Iterator[Item]:
        target = self._reader.target()
        unread = pack(files, target, self._reader.target)
        for name, reason in unread:
            yield Remark(self._run, UNREAD, f"{self._path}: {name}: {reason}")
        if len(unread) < len(files):
            yield DownloadedFile(self._run, self._path, "artifact", target, ".zip")
