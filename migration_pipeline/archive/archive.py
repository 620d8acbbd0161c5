"""An archive: the pair of directories, and the runs in it.

The directory is the truth about what is exported: a run is there when its part 0 is. Nothing here
depends on records elsewhere.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.digest import FileInfo, RunSums, digest_file
from migration_pipeline.archive.location import Location, folders_in, names_in
from migration_pipeline.archive.manifest import KINDS, Kind, Manifest, read_footer, read_manifest
from migration_pipeline.archive.reader import read_first_value, read_parts
from migration_pipeline.archive.store_files import each
from migration_pipeline.errors import DamagedPartError, NotAnArchiveError

KIND_DIRECTORIES: dict[str, Kind] = {
    "models": "model",
    "model_versions": "model_version",
    "project": "project",
}
"""Below a project's directory; runs lie in the project's directory itself."""

KIND_PLURALS: dict[Kind, str] = {
    "run": "runs",
    "model": "models",
    "model_version": "model versions",
    "project": "project metadata",
}
"""What people call them."""


def kind_directory(kind: Kind) -> str:
    """Name of a kind's directory; empty for runs, which have none."""
    return next((name for name, of_kind in KIND_DIRECTORIES.items() if of_kind == kind), "")


def kind_in_words(kind: Kind) -> str:
    return KIND_PLURALS[kind].removesuffix("s")


@dataclass(frozen=True)
class RunKey:
    """Names an object everywhere: a run, or what 2.x has beside runs.

    `str()` is how people and messages see it. Objects of different kinds may have one id: nothing
    may take `run` for an identity without `kind`.
    """

    project: str
    run: str
    kind: Kind = "run"

    def __str__(self) -> str:
        name = f"{self.project}|{self.run}"
        return name if self.kind == "run" else f"{name} ({kind_in_words(self.kind)})"

    @property
    def folder(self) -> str:
        """Of its files, below the project's; never that of another run, model or version."""
        return posixpath.join(kind_directory(self.kind), layout.name_on_disk(self.run))


@dataclass(frozen=True)
class ArchivedRun:
    """One run in an archive. Reading it checks each part against the archive's schema."""

    key: RunKey
    parts: tuple[Location, ...]
    files_root: Location
    """What file_value.path is relative to."""
    damage: tuple[str, ...] = ()
    """What is known to be wrong with it, for one that is read nevertheless (`archive.salvage`)."""

    @cached_property
    def manifest(self) -> Manifest | None:
        """None for a run that another tool wrote."""
        return read_manifest(self.parts[0])

    def batches(
        self, columns: Sequence[str] | None = None, types: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows as `BATCH_SCHEMA` record batches of bounded size, part by part.

        Args:
            columns: only these columns, in this order.
            types: only rows of these attribute types.
        """
        generation = self.manifest.generation if self.manifest else ""
        return read_parts(self.parts, columns=columns, types=types, generation=generation)

    def file(self, path: str) -> Location:
        """Where the file of a row lies."""
        return self.files_root / path

    def sums(self) -> RunSums:
        """Order-free sums made from the rows and files themselves, not from the manifest."""
        sums = RunSums(self.file_info)
        for batch in self.batches():
            sums.update(batch)
        return sums

    def file_info(self, path: str) -> FileInfo:
        try:
            return digest_file(self.file(path))
        except FileNotFoundError as error:
            raise DamagedPartError(
                str(self.parts[0]), f"it names the file {path!r}, which is not there"
            ) from error

    @property
    def bytes_on_disk(self) -> int:
        return sum(p.stat().st_size for p in self.parts)


@dataclass(frozen=True)
class Place:
    """A directory that may hold runs of one kind, and what their files are relative to."""

    kind: Kind
    directory: Location
    files_root: Location


@dataclass(frozen=True)
class Archive:
    """The data and the files directory.

    Args:
        model_data, model_files: where another tool put models and model versions; looked at
            besides, never written to. An object that is in both places is taken from `data`.
    """

    data: Location
    files: Location
    model_data: Location | None = None
    model_files: Location | None = None

    def project_directory(self, project: str, kind: Kind = "run") -> Location:
        """Where runs of this kind are written; `places` is where they may be."""
        return self.data / layout.name_on_disk(project) / kind_directory(kind)

    def files_root(self, project: str) -> Location:
        """What the files of the runs in `project_directory` are relative to."""
        return self.files / layout.name_on_disk(project)

    def places(self, project: str, kinds: Collection[Kind] = KINDS) -> list[Place]:
        """Every directory in which these kinds may lie, whether it is there or not."""
        name, found = layout.name_on_disk(project), []
        for kind in KINDS:
            if kind not in kinds:
                continue
            for data, files in self._roots:
                if kind != "run" or data == self.data:
                    place = Place(kind, data / name / kind_directory(kind), files / name)
                    found.append(place)
        return found

    @property
    def _roots(self) -> list[tuple[Location, Location]]:
        roots = [(self.data, self.files)]
        if self.model_data is not None and self.model_data != self.data:
            roots.append((self.model_data, self.model_files or self.files))
        return roots

    def projects(self) -> list[str]:
        """Original names of the projects that have at least one part 0, sorted.

        Raises:
            NotAnArchiveError: a data directory is a file.
        """
        found = set()
        for data, _ in self._roots:
            if data.exists() and not data.is_dir():
                raise NotAnArchiveError(str(data), "it is a file")
            for directory in folders_in(data) if data.exists() else []:
                if first := next(_parts_0(directory), None):
                    found.add(_project_of(first))
        return sorted(found)

    def runs(
        self, project: str, damaged: list[DamagedPartError] | None = None
    ) -> dict[RunKey, ArchivedRun]:
        """All runs of a project whose part 0 is there, whatever their kind, by key.

        Cheap: one directory listing and the footer or first row of each part 0. A part that
        cannot be read raises, or is noted in `damaged` where that is given; `find` asks for one
        run without looking at the others.
        """
        runs: dict[RunKey, ArchivedRun] = {}
        for place in self.places(project):
            stems = [found for found in _stems(place.directory).items() if 0 in found[1]]
            for run in each(partial(_archived_or_damaged, project, place), stems, place.directory):
                if isinstance(run, ArchivedRun):
                    runs.setdefault(run.key, run)
                elif damaged is None:
                    raise run
                else:
                    damaged.append(run)
        return runs

    def count(self, project: str) -> int:
        """Runs of a project whose part 0 is there, whatever their kind. One listing a kind."""
        listings = (_stems(place.directory) for place in self.places(project))
        return sum(0 in numbers for stems in listings for numbers in stems.values())

    def find(self, key: RunKey) -> ArchivedRun | None:
        """The run if its part 0 is there."""
        for place in self.places(key.project, [key.kind]):
            stem, numbers = parts_of(place.directory, key.run)
            if 0 in numbers:
                return _archived(key.project, place, stem, numbers)
        return None

    def manifests(self, project: str, keys: Sequence[RunKey]) -> dict[RunKey, Manifest | None]:
        """Of those runs that are there: their manifests (None: written by another tool).

        For "what is new": one directory listing a kind, one footer a run.
        """
        kinds = {key.kind for key in keys}
        present = [(place, _stems(place.directory)) for place in self.places(project, kinds)]
        parts: dict[RunKey, Location] = {}
        for key in keys:
            for place, stems in present:
                stem = _stem_of(key.run, stems) if place.kind == key.kind else ""
                if 0 in stems.get(stem, ()):
                    parts[key] = place.directory / layout.part_name(stem, 0)
                    break
        manifests = each(read_manifest, list(parts.values()), self.data)
        return dict(zip(parts, manifests, strict=True))


def _archived_or_damaged(
    project: str, place: Place, found: tuple[str, list[int]]
) -> ArchivedRun | DamagedPartError:
    try:
        return _archived(project, place, *found)
    except DamagedPartError as error:
        return error


def _archived(project: str, place: Place, stem: str, numbers: list[int]) -> ArchivedRun:
    parts = tuple(place.directory / layout.part_name(stem, n) for n in numbers)
    manifest = read_manifest(parts[0])
    run_id = manifest.run if manifest else str(read_first_value(parts[0], "run_id"))
    if (named := layout.digest_in(stem)) and named != layout.digest(run_id):
        raise DamagedPartError(str(parts[0]), f"it is named as another run, but is of {run_id!r}")
    run = ArchivedRun(RunKey(project, run_id, place.kind), parts, place.files_root)
    run.__dict__["manifest"] = manifest
    _check_parts(run, numbers)
    return run


def _check_parts(run: ArchivedRun, numbers: list[int]) -> None:
    """A part that is missing, or one too many, is named here."""
    if run.manifest and len(numbers) != run.manifest.parts:
        raise DamagedPartError(
            str(run.parts[0]),
            f"its manifest counts {run.manifest.parts} parts, {len(numbers)} are there",
        )
    if gaps := sorted(set(range(numbers[-1])).difference(numbers)):
        raise DamagedPartError(
            str(run.parts[0]), f"part {gaps[0]} of the run is missing, part {numbers[-1]} is there"
        )


def parts_of(directory: Location, run: str) -> tuple[str, list[int]]:
    """(stem of its parts, their numbers) of a run id; no numbers: there are none."""
    stems = _stems(directory)
    stem = _stem_of(run, stems)
    return stem, stems.get(stem, [])


def _stem_of(run: str, stems: Collection[str]) -> str:
    """Our own stems are cut where a name is long, neptune-exporter's are not; the digest tells."""
    stem = layout.name_on_disk(run)
    if stem in stems or len(layout.clean(run).encode()) <= layout.MAX_NAME_BYTES:
        return stem
    digest = layout.digest(run)
    return next((name for name in stems if layout.digest_in(name) == digest), stem)


_SETTLED_NS = 2_000_000_000
"""A directory that changed later than that before it was listed may change again unseen: its time
is only so fine."""
_LISTINGS: dict[Path, tuple[int, dict[str, list[int]]]] = {}
_MOST_LISTINGS = 32


def _stems(directory: Location) -> dict[str, list[int]]:
    """Stem → part numbers of a directory, empty where there is none; not to be changed.

    Whoever asks for run after run of a big project would list it as often; so a listing is kept
    while the directory's time says that nothing in it was added, removed or renamed.
    """
    if not isinstance(directory, Path):
        return _listed(directory)
    try:
        changed = directory.stat().st_mtime_ns
    except OSError:
        return {}
    known = _LISTINGS.get(directory)
    if known and known[0] == changed:
        return known[1]
    now, stems = time.time_ns(), _listed(directory)
    if now - changed > _SETTLED_NS:
        while len(_LISTINGS) >= _MOST_LISTINGS:
            _LISTINGS.pop(next(iter(_LISTINGS)), None)
        _LISTINGS[directory] = (changed, stems)
    return stems


def _listed(directory: Location) -> dict[str, list[int]]:
    stems: dict[str, list[int]] = {}
    for name in names_in(directory):
        if parsed := layout.parse_part_name(name):
            stems.setdefault(parsed[0], []).append(parsed[1])
    for numbers in stems.values():
        numbers.sort()
    return stems


def _parts_0(directory: Location) -> Iterator[Location]:
    for folder in (directory, *(directory / name for name in KIND_DIRECTORIES)):
        for stem, numbers in _stems(folder).items():
            if 0 in numbers:
                yield folder / layout.part_name(stem, 0)


def _project_of(part_0: Location) -> str:
    manifest = read_manifest(part_0)
    return manifest.project if manifest else str(read_first_value(part_0, "project_id"))


def footer_rows(part: Location) -> int:
    """Rows of a part as its footer says."""
    metadata: pq.FileMetaData = read_footer(part)
    return int(metadata.num_rows)
