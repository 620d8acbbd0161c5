"""Fetches files of a run from where they were placed.

Of a set or an artifact that the archive holds as one file, that file is beside; it counts while
what the server shows is still what was made of it. Otherwise what the server shows comes back.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from migration_pipeline.mapping import sidecar
from migration_pipeline.targets.neptune2.api import Api, listed
from migration_pipeline.targets.neptune2.naming import place_of_file
from migration_pipeline.targets.neptune2.placing import PLACES, Place, artifact_of


class Fetcher:
    """Downloads files of one run.

    Args:
        there: path → attribute of the run.
        scratch: a folder for what is looked at and thrown away.
    """

    def __init__(
        self, api: Api, run: str, there: Mapping[str, dict[str, Any]], scratch: Path
    ) -> None:
        self._api, self._run, self._there = api, run, there
        self._scratch = scratch
        self._zip: tuple[str, Path] | None = None
        self._links: dict[str, list[str]] = {}

    @cached_property
    def _places(self) -> dict[str, Place]:
        file = self._scratch / "places"
        self._scratch.mkdir(parents=True, exist_ok=True)
        if not self._beside(PLACES, file):
            return {}
        places = [Place(**line) for line in sidecar.read_lines(file)]
        file.unlink()
        return {place.file: place for place in places}

    def fetch(self, name: str, to: Path) -> bool:
        """A file of the run; False when it has no such file."""
        if name.startswith("neptune/"):
            return self._beside(name, to)
        place = self._places.get(name)
        if place is None:
            return self._beside(name, to)
        return _HOW[place.how](self, place, to)

    def _beside(self, name: str, to: Path) -> bool:
        path, _ = place_of_file(name)
        return path in self._there and self._api.download(self._run, path, to)

    def _type(self, place: Place) -> str:
        return str(self._there.get(place.attribute, {}).get("type", ""))

    def _file(self, place: Place, to: Path) -> bool:
        if self._type(place) != "file":
            return False
        return self._api.download(self._run, place.attribute, to)

    def _element(self, place: Place, to: Path) -> bool:
        return self._api.element(
            self._run, place.attribute, self._type(place), int(place.inside), self._links, to
        )

    def _member(self, place: Place, to: Path) -> bool:
        whole = self._set_as_zip(place.attribute)
        if whole is None:
            return False
        with zipfile.ZipFile(whole) as archive:
            try:
                with archive.open(place.inside) as source, to.open("wb") as target:
                    shutil.copyfileobj(source, target)
            except KeyError:
                return False
        return True

    def _set(self, place: Place, to: Path) -> bool:
        if not self._beside(place.file, to):
            return False
        whole = self._set_as_zip(place.attribute)
        if whole is None:
            return False
        if _content(whole) != _content(to):
            shutil.copyfile(whole, to)
        return True

    def _set_as_zip(self, attribute: str) -> Path | None:
        """The last one is kept: members of a set come one after the other."""
        if self._zip is None or self._zip[0] != attribute:
            self._scratch.mkdir(parents=True, exist_ok=True)
            file = self._scratch / "set.zip"
            if self._there.get(attribute, {}).get("type") != "fileSet":
                return None
            if not self._api.download_set(self._run, attribute, file):
                return None
            self._zip = (attribute, file)
        return self._zip[1]

    def _artifact(self, place: Place, to: Path) -> bool:
        if not self._beside(place.file, to):
            return False
        attribute = self._there.get(place.attribute, {})
        hash_ = (attribute.get("artifactProperties") or {}).get("hash")
        if hash_ is None:
            return False
        files = self._api.artifact_files(hash_)
        wanted = artifact_of(to)
        if wanted is None or wanted[0] != hash_ or listed(wanted[1]) != listed(files):
            to.write_text(json.dumps({"hash": hash_, "files": files}))
        return True


_HOW: dict[str, Callable[[Fetcher, Place, Path], bool]] = {
    "file": Fetcher._file,
    "element": Fetcher._element,
    "member": Fetcher._member,
    "set": Fetcher._set,
    "artifact": Fetcher._artifact,
}


def _content(path: Path) -> dict[str, str]:
    """Path → digest of the files in a zip."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                digest = hashlib.blake2b()
                with archive.open(member) as stream:
                    while chunk := stream.read(1 << 20):
                        digest.update(chunk)
                found[member.filename] = digest.hexdigest()
    return found
