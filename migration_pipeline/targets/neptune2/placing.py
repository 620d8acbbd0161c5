"""Where files of a run go: natively as what they were, where the protocol has that.

A file is a file attribute, a file of a series an element of one, a directory a file set. Of a file
set that the archive holds as the zip of its server, and of an artifact, the archived file is kept
beside as it is, and the set or the artifact is made of it as well: so people see what they know,
and every byte comes back. What does not fit is kept beside alone. `neptune/places.jsonl` says of
each file that is not beside where it is.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import posixpath
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

from migration_pipeline.mapping.keys import Attribute
from migration_pipeline.mapping.scan import FileRow, RunScan
from migration_pipeline.mapping.steps import as_double
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.capabilities import (
    ELEMENT_MAX_BYTES,
    OPERATIONS_BYTES,
    PART_BYTES,
)
from migration_pipeline.targets.neptune2.logs import Entry, Log
from migration_pipeline.targets.neptune2.naming import place_of_file
from migration_pipeline.targets.remote.sending import Upload

PLACES = "neptune/places.jsonl"
How = Literal["file", "element", "member", "set", "artifact"]
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_ARTIFACT_FILE = ("filePath", "fileHash", "type")


@dataclass(frozen=True)
class Place:
    """Where a file is.

    Args:
        file: its name among the run's files.
        how: the file itself (`file`), an element of a series, a member of a set; or beside, and
            what was made of it (`set`, `artifact`) is there as well.
        inside: number of the element, path of the member.
    """

    file: str
    how: How
    attribute: str
    inside: str = ""

    def line(self) -> dict[str, str]:
        return {
            "file": self.file,
            "how": self.how,
            "attribute": self.attribute,
            "inside": self.inside,
        }


class Placer:
    """Sends files of one run.

    Args:
        keys: what attributes are called at the server.
        append: appends to series.
    """

    def __init__(
        self,
        api: Api,
        run: str,
        scan: RunScan,
        keys: Mapping[Attribute, str],
        append: Callable[[Sequence[Log]], None],
    ) -> None:
        self._api, self._run, self._keys, self._append = api, run, keys, append
        self._start = scan.facts.start or 0
        self._any_file = api.to.dialect.any_file
        self._rows = Counter((row.attribute, row.type) for row in scan.files if row.path)
        self._elements: dict[str, _Elements] = {}
        self._logs: list[Log] = []
        self._waiting = 0
        self._begun: set[str] = set()
        """File sets of which something is there."""

    def put(self, files: Sequence[Upload]) -> list[Place]:
        """Sends files; the places of those that are not only beside."""
        places = [place for file in files for place in self._put(file)]
        self._flush()
        return places

    def _put(self, file: Upload) -> Iterator[Place]:
        row = file.row
        name = self._keys.get((row.attribute, row.type)) if row else None
        place = None
        if row is not None and name is not None:
            place = self._natively(file, row, name)
        if place is None or place.how in ("set", "artifact"):
            path, extension = place_of_file(file.name)
            self._api.upload(self._run, path, extension, file.source)
        if place is not None:
            yield place

    def _natively(self, file: Upload, row: FileRow, name: str) -> Place | None:
        if inside := _inside(file, row):
            return self._member(file, name, inside)
        if row.type == "file_series":
            return self._element(file, row, name)
        if row.type == "file" and self._rows[row.attribute, row.type] == 1:
            self._api.upload(self._run, name, _extension(file), file.source)
            return Place(file.name, "file", name)
        if row.type == "file_set" and file.source.suffix == ".zip":
            return self._set(file, name)
        if row.type == "artifact" and file.source.suffix == ".json":
            return self._artifact(file, name)
        return None

    # --- series ---------------------------------------------------------------------------------

    def _element(self, file: Upload, row: FileRow, name: str) -> Place | None:
        """None where a series would not take it: steps that do not grow, another kind of file.

        What it has no step or time of lies behind the others, at the run's start; which it has
        stands in `neptune/files.jsonl`.
        """
        there = self._elements.setdefault(name, _Elements())
        step = max(there.next, 0) if row.step is None else row.step
        if step < there.next or file.size > ELEMENT_MAX_BYTES:
            return None
        content = file.source.read_bytes()
        operation = _operation(content, _extension(file))
        if operation != (there.operation or operation):
            return None
        if operation != "logImages" and not self._any_file:
            return None
        value: Entry = {"data": base64.b64encode(content).decode(), "name": None}
        value["description"] = None
        if operation == "logFiles":
            value["extension"] = _extension(file)
        entry = {"value": value, "step": as_double(step)}
        entry["timestampMilliseconds"] = self._start if row.time is None else row.time
        self._logs.append(Log(name, operation, [entry]))
        self._waiting += len(value["data"])
        number = there.take(step, operation)
        if self._waiting > OPERATIONS_BYTES:
            self._flush()
        return Place(file.name, "element", name, str(number))

    def _flush(self) -> None:
        if self._logs:
            self._append(self._logs)
            self._logs, self._waiting = [], 0

    # --- file sets ------------------------------------------------------------------------------

    def _member(self, file: Upload, name: str, inside: str) -> Place | None:
        if posixpath.normpath(inside) != inside or inside.startswith(("/", "../")):
            return None
        if name not in self._begun:
            self._api.put_tar(self._run, name, _tar([]), reset=True)
            self._begun.add(name)
        self._api.put_member(self._run, name, inside, file.source)
        return Place(file.name, "member", name, inside)

    def _set(self, file: Upload, name: str) -> Place | None:
        """The files of a zip as a set; None where it is none."""
        try:
            with zipfile.ZipFile(file.source) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and m.filename != "/"]
                names = [m.filename for m in members]
                if any(posixpath.normpath(n) != n or n.startswith(("/", "../")) for n in names):
                    return None
                self._fill(name, archive, members)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
            return None
        return Place(file.name, "set", name)

    def _fill(self, name: str, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
        """Small members travel together, a large one alone, and never in memory as a whole."""
        small = [member for member in members if member.file_size <= PART_BYTES]
        for number, part in enumerate(_parts(small)):
            content = [(member.filename, archive.read(member)) for member in part]
            self._api.put_tar(self._run, name, _tar(content), reset=number == 0)
        if not small:
            self._api.put_tar(self._run, name, _tar([]), reset=True)
        for member in members:
            if member.file_size > PART_BYTES:
                with archive.open(member) as source, NamedTemporaryFile() as copy:
                    shutil.copyfileobj(source, copy)
                    copy.flush()
                    self._api.put_member(self._run, name, member.filename, Path(copy.name))

    # --- artifacts ------------------------------------------------------------------------------

    def _artifact(self, file: Upload, name: str) -> Place | None:
        """An artifact of a list of files; None where it is not of the form that Neptune gives, or
        its hash is that of another one."""
        if (found := artifact_of(file.source)) is None:
            return None
        if not self._api.put_artifact(self._run, name, *found):
            return None
        return Place(file.name, "artifact", name)


@dataclass
class _Elements:
    """What is there of a series of files."""

    next: int = -(2**62)
    """The lowest step that it takes."""
    operation: str = ""
    count: int = 0

    def take(self, step: int, operation: str) -> int:
        self.next, self.operation = step + 1, operation
        self.count += 1
        return self.count - 1


def artifact_of(path: Path) -> tuple[str, list[dict[str, Any]]] | None:
    """Hash and files of an artifact, as the archive holds a list that Neptune gave."""
    try:
        content = json.loads(path.read_bytes())
        hash_, files = content["hash"], content["files"]
        listed = [
            {
                **{field: str(one[field]) for field in _ARTIFACT_FILE},
                "size": one.get("size"),
                "metadata": list(one.get("metadata") or ()),
            }
            for one in files
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (str(hash_), listed) if listed and hash_ else None


def _inside(file: Upload, row: FileRow) -> str:
    """The path of a file within the archived directory; empty for a file itself."""
    whole = Path(row.path or "").parts
    tail = file.source.parts
    at = next((i for i in range(len(tail)) if tail[i : i + len(whole)] == whole), None)
    return "" if at is None else "/".join(tail[at + len(whole) :])


def _extension(file: Upload) -> str:
    return file.source.suffix[1:]


def _operation(content: bytes, extension: str) -> str:
    """As minfx's FileSeries tells files apart, by what they are and not by what they are called."""
    if content.startswith(_IMAGES) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return "logImages"
    return "logHtml" if extension.lower() in ("html", "htm") else "logFiles"


def _parts(members: Sequence[zipfile.ZipInfo]) -> Iterator[list[zipfile.ZipInfo]]:
    """Some members a request; one request at least, which makes the set."""
    part: list[zipfile.ZipInfo] = []
    size = 0
    for member in members:
        if part and size + member.file_size > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(member)
        size += member.file_size
    yield part


def _tar(files: Sequence[tuple[str, bytes]]) -> bytes:
    """As the client packs files of a set; without owner and time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1, mtime=0)
