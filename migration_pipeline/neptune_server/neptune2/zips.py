"""Zips of many files: the same files always give the same bytes."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from starlette.responses import Response

from migration_pipeline.neptune_server.store import FileValue, Project, Store
from migration_pipeline.neptune_server.types3 import ApiError

from .storage import send_path

_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


class Zips:
    """Makes zips on disk, each once: a stored file's path never gets other bytes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def send(self, project: Project, files: Mapping[str, FileValue], name: str) -> Response:
        """The zip under `name`, without entries for directories."""
        return send_path(self.make(project, files, directories=False), name, "application/zip")

    def make(
        self, project: Project, files: Mapping[str, FileValue], *, directories: bool = True
    ) -> Path:
        """A zip of path → file. With directories it has an entry `/` and one for each of them.

        That the root has an entry is asserted by the vendor's tests; entries stored
        uncompressed, in the order of their names and dated 1980 are this server's own choice.
        ApiError 404 when a file's bytes are not on disk.
        """
        blobs = self.store.blobs
        digest = hashlib.sha256(repr((project.identifier, directories)).encode())
        for path, file in sorted(files.items()):
            digest.update(repr((path, file.path)).encode())
        final = blobs.part(f"zip {digest.hexdigest()}")
        if not final.exists():
            building = blobs.part(secrets.token_hex(16))
            with zipfile.ZipFile(building, "w", zipfile.ZIP_STORED) as archive:
                for entry in sorted({*files, *(_directories(files) if directories else ())}):
                    self._write(archive, entry, project, files.get(entry))
            building.replace(final)
        return final

    def _write(
        self, archive: zipfile.ZipFile, entry: str, project: Project, file: FileValue | None
    ) -> None:
        info = zipfile.ZipInfo(entry, _DATE)
        info.external_attr = _MODE
        if file is None:
            archive.writestr(info, b"")
            return
        found = self.store.blobs.find(project.identifier, file.path)
        if found is None:
            raise ApiError(404, "FILE_NOT_FOUND", f"{entry} of {project.identifier} is gone")
        info.file_size = file.size
        with archive.open(info, "w") as out, found.open("rb") as source:
            shutil.copyfileobj(source, out)


def _directories(files: Mapping[str, FileValue]) -> set[str]:
    above = {f"{parent}/" for path in files for parent in PurePosixPath(path).parents}
    return {"/", *above} - {"./"}
