"""Files of 2.x objects: single ones, sets, elements of series, and what artifacts list.

Each download has a path of its own on the archive's file system; whatever may pass is tried again
and sizes are compared (`sources.fetching`). A set is had twice, as the server's zip and as a
listing; so is an artifact, whose bytes the server never had (`artifacts`).
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.location import writing
from migration_pipeline.errors import SourceUnavailableError
from migration_pipeline.sources.fetching import OTHER_SIZE, fetch
from migration_pipeline.sources.neptune import not_a_server
from migration_pipeline.sources.neptune2.artifacts import UNREAD, pack
from migration_pipeline.sources.neptune2.attributes import Json
from migration_pipeline.sources.neptune2.http import RefusedAnswer
from migration_pipeline.sources.neptune2.reader import Reader, of_attribute
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.reading import Item, Missing, Remark, Task
from migration_pipeline.sources.source import DownloadedFile, RunRef

_POLLS = (0.0, 0.5, 1.0, 2.0, 4.0)
_LONGEST_POLL = 5.0
_MOST_POLLS = 120
"""Ten minutes, as long as a request is repeated."""
_OTHER_TOTAL = "file sets whose files have another total size than announced: {list}"
_NO_DATE = (1980, 1, 1, 0, 0, 0)
"""What a zip has for a file without a date."""


class _OfOne(Task):
    """A task for one attribute of one run."""

    def __init__(self, reader: Reader, run: RunRef, path: str) -> None:
        super().__init__([run])
        self._reader, self._run, self._path = reader, run, path

    def _made(self, kind: str, content: object) -> DownloadedFile:
        """A file of JSON that is made here."""
        target = self._reader.target()
        with writing(target):
            target.write_text(json.dumps(content, sort_keys=True, indent=1), encoding="ascii")
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
    """A set of files: the server's zip, and a listing with path and size of each.

    The listing is the zip's own. The server would list a directory a request, with the times of
    uploads, which is all that the zip may lack; that the zip is whole shows in the total size that
    the server announces (assumed to be the sum of the files' sizes).
    """

    def __init__(self, reader: Reader, run: RunRef, path: str, properties: Json) -> None:
        super().__init__(reader, run, path)
        self._size = properties.get("size")

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
            listing = _listing(target)
            total = sum(one["size"] for one in listing)
            if self._size not in (None, total):
                said = f"{self._path}: {total} bytes, announced {self._size}"
                yield Remark(run, _OTHER_TOTAL, said)
            yield self._made("file_set", listing)
            name = f"{self._path.rpartition('/')[2]}.zip"
            yield DownloadedFile(run, self._path, "file_set", target, ".zip", name=name)
        else:
            yield Missing(run, self._path)
        self.finished = True

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


def _listing(packed: Path) -> list[Json]:
    """Path, bytes and, where the zip has one, date (without a zone) of each file in it, by path.

    The server adds an entry for each directory, and `/`.
    """
    with zipfile.ZipFile(packed) as archive:
        entries = [one for one in archive.infolist() if not one.is_dir()]
    listing = []
    for one in entries:
        file: Json = {"path": one.filename.lstrip("/"), "size": one.file_size}
        if one.date_time != _NO_DATE:
            file["mtime"] = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*one.date_time)
        listing.append(file)
    return sorted(listing, key=lambda file: str(file["path"]))


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
        if target.exists():
            yield DownloadedFile(self._run, self._path, "artifact", target, ".zip")
