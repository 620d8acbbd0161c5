"""Where the bytes of files are: on disk, either an archive's own files or a temporary folder."""

import hashlib
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path


class BlobFiles:
    """Maps (project, path of a stored object) to a file. Nothing is held in memory.

    Objects of an archive stay where they are; uploads go to a temporary folder that lives as long
    as this object.
    """

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], Path] = {}
        self._members: dict[tuple[str, str], tuple[Path, str]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.RLock()

    def link(self, project: str, path: str, file: Path) -> None:
        """Let the object be `file`, which may be missing: then downloads answer 404."""
        self._files[project, path] = file

    def link_member(self, project: str, path: str, packed: Path, member: str) -> None:
        """Let the object be a file within a zip; it is unpacked when somebody asks for it."""
        self._members[project, path] = (packed, member)

    def find(self, project: str, path: str) -> Path | None:
        """The file that holds the object, None when there is none on disk."""
        if (project, path) in self._members:
            self._unpack(project, path)
        file = self._files.get((project, path))
        return file if file is not None and file.is_file() else None

    def _unpack(self, project: str, path: str) -> None:
        with self._lock:
            if (project, path) not in self._members:  # another request was faster
                return
            packed, member = self._members[project, path]
            part = self.part(f"member\0{project}\0{path}")
            with (
                zipfile.ZipFile(packed) as archive,
                archive.open(member) as source,
                part.open("wb") as out,
            ):
                shutil.copyfileobj(source, out)
            self.adopt(project, path, part)
            del self._members[project, path]

    def write(self, project: str, path: str, content: bytes) -> None:
        """Store `content`, replacing what was there."""
        part = self.part(f"{project}\0{path}")
        part.write_bytes(content)
        self.adopt(project, path, part)

    def delete(self, project: str, path: str) -> None:
        """Forget the object: downloads answer 404 from now on. An archive's file stays."""
        self._files.pop((project, path), None)

    def part(self, name: str) -> Path:
        """A path in the temporary folder for the upload in progress called `name`."""
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="neptune-server-")
        return Path(self._folder.name) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.part"

    def adopt(self, project: str, path: str, part: Path) -> None:
        """Make a finished upload the object."""
        final = part.with_name(hashlib.sha256(f"{project}\0{path}".encode()).hexdigest()[:32])
        part.replace(final)
        self._files[project, path] = final

    def join(self, project: str, path: str, parts: list[Path]) -> None:
        """Make the concatenation of uploaded parts the object, and remove the parts."""
        whole = self.part(f"joined\0{project}\0{path}")
        with whole.open("wb") as out:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out)
        self.adopt(project, path, whole)
        for part in parts:
            part.unlink(missing_ok=True)
