"""An archive: the pair of directories, and the runs in it.

The directory is the truth about what is exported: a run is there when its part 0 is. Nothing here
depends on records elsewhere.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.digest import FileInfo, RunSums, digest_file
from migration_pipeline.archive.manifest import KINDS, Kind, Manifest, read_footer, read_manifest
from migration_pipeline.archive.reader import read_first_value, read_parts
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
    parts: tuple[Path, ...]
    files_root: Path
    """What file_value.path is relative to."""

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

    def file(self, path: str) -> Path:
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
class Archive:
    """The data and the files directory."""

    data: Path
    files: Path

    def project_directory(self, project: str, kind: Kind = "run") -> Path:
        return self.data / layout.name_on_disk(project) / kind_directory(kind)

    def files_root(self, project: str) -> Path:
        return self.files / layout.name_on_disk(project)

    def projects(self) -> list[str]:
        """Original names of the projects that have at least one part 0, sorted.

        Raises:
            NotAnArchiveError: the data directory is a file.
        """
        if self.data.exists() and not self.data.is_dir():
            raise NotAnArchiveError(str(self.data), "it is a file")
        found = set()
        for directory in sorted(self.data.iterdir()) if self.data.exists() else []:
            if directory.is_dir() and (first := next(_parts_0(directory), None)):
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
        runs = {}
        for kind in KINDS:
            directory = self.project_directory(project, kind)
            for stem, numbers in _stems(directory).items():
                if 0 not in numbers:
                    continue
                try:
                    run = self._archived(project, directory, stem, numbers, kind)
                except DamagedPartError as error:
                    if damaged is None:
                        raise
                    damaged.append(error)
                else:
                    runs[run.key] = run
        return runs

    def _archived(
        self, project: str, directory: Path, stem: str, numbers: list[int], kind: Kind
    ) -> ArchivedRun:
        parts = tuple(directory / layout.part_name(stem, n) for n in sorted(numbers))
        manifest = read_manifest(parts[0])
        run_id = manifest.run if manifest else str(read_first_value(parts[0], "run_id"))
        run = ArchivedRun(RunKey(project, run_id, kind), parts, self.files_root(project))
        run.__dict__["manifest"] = manifest
        _check_parts(run, sorted(numbers))
        return run

    def find(self, key: RunKey) -> ArchivedRun | None:
        """The run if its part 0 is there."""
        directory = self.project_directory(key.project, key.kind)
        stem = layout.name_on_disk(key.run)
        if not (directory / layout.part_name(stem, 0)).exists():
            return None
        numbers = _stems(directory, stem)[stem]
        return self._archived(key.project, directory, stem, numbers, key.kind)

    def manifests(self, project: str, keys: Sequence[RunKey]) -> dict[RunKey, Manifest | None]:
        """Of those runs that are there: their manifests (None: written by another tool).

        For "what is new": one directory listing a kind, one footer a run.
        """
        found: dict[RunKey, Manifest | None] = {}
        present: dict[Kind, set[str]] = {}
        for key in keys:
            directory = self.project_directory(project, key.kind)
            if key.kind not in present:
                present[key.kind] = set(os.listdir(directory)) if directory.exists() else set()
            name = layout.part_name(layout.name_on_disk(key.run), 0)
            if name in present[key.kind]:
                found[key] = read_manifest(directory / name)
        return found


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


def _stems(directory: Path, only: str | None = None) -> dict[str, list[int]]:
    stems: dict[str, list[int]] = {}
    if directory.is_dir():
        with os.scandir(directory) as entries:
            for entry in entries:
                parsed = layout.parse_part_name(entry.name)
                if parsed and (only is None or parsed[0] == only):
                    stems.setdefault(parsed[0], []).append(parsed[1])
    return stems


def _parts_0(directory: Path) -> Iterator[Path]:
    for folder in (directory, *(directory / name for name in KIND_DIRECTORIES)):
        for stem, numbers in _stems(folder).items():
            if 0 in numbers:
                yield folder / layout.part_name(stem, 0)


def _project_of(part_0: Path) -> str:
    manifest = read_manifest(part_0)
    return manifest.project if manifest else str(read_first_value(part_0, "project_id"))


def footer_rows(part: Path) -> int:
    """Rows of a part as its footer says."""
    metadata: pq.FileMetaData = read_footer(part)
    return int(metadata.num_rows)
