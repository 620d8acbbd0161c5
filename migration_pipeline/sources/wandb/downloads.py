"""Files of a run on a W&B server: those that its rows name, all others, and its artifacts'."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from migration_pipeline.sources.fetching import OTHER_SIZE, fetch
from migration_pipeline.sources.reading import Item, Missing, Remark, Selected
from migration_pipeline.sources.source import DownloadedFile, RunRef
from migration_pipeline.sources.wandb.attributes import utc
from migration_pipeline.sources.wandb.files import (
    REFERENCES,
    ArtifactFacts,
    artifact_items,
    as_file,
    as_medium,
    lines_of,
    pack,
)
from migration_pipeline.sources.wandb.history import Medium
from migration_pipeline.sources.wandb.names import OUTPUT_LOG, of_file
from migration_pipeline.sources.wandb.reader import OfOne, Reader

FILES_A_TASK = 8
FEWER_ARTIFACTS = "W&B counts {count} artifacts more than it lists"


def digest(name: str) -> bytes:
    """Eight bytes for a file's name: a run may have named a million."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _Fetching(OfOne):
    _asked_for_run = False

    def _fetch(self, file: Any) -> Path | None:
        """One file to a path of its own; None when it is not there.

        Raises:
            RunGoneError: nor is the run, so that nothing is to be said of its files.
        """
        folder, target = self._reader.target(), self._reader.target()
        size = None if (said := file._attrs.get("sizeBytes")) is None else int(said)

        def get(_: int) -> bool:
            found = self._reader.client.download(file, folder)
            if found is not None:
                found.replace(target)
            return found is not None

        try:
            found = fetch(self._run, file.name, target, size, get)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not found and not self._asked_for_run:
            self._asked_for_run = True
            self._reader.client.check_run(self._entry)
        return target if found else None

    def _size_said(self, file: Any, target: Path) -> Iterator[Item]:
        said = file._attrs.get("sizeBytes")
        if said is not None and (found := target.stat().st_size) != int(said):
            yield Remark(self._run, OTHER_SIZE, f"{file.name}: {found} bytes, announced {said}")


class Media(_Fetching):
    """Files that rows of history name."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, media: Sequence[Medium]) -> None:
        super().__init__(reader, run, entry)
        self._media = media

    def advance(self) -> Iterator[Item]:
        names = sorted({medium.name for medium in self._media})
        listed = {
            file.name: file
            for page in self._reader.client.file_pages(self._entry, names)
            for file in page
        }
        yield Selected(self._run, len({medium.attribute for medium in self._media}))
        for medium in self._media:
            file = listed.get(medium.name)
            target = self._fetch(file) if file is not None else None
            if target is None:
                yield Missing(self._run, f"{medium.attribute} ({medium.name})")
            else:
                yield from self._size_said(file, target)
                yield as_medium(self._run, medium, target)
        self.finished = True


class Files(OfOne):
    """The list of a run's files."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, named: set[bytes]) -> None:
        super().__init__(reader, run, entry)
        self._named = named

    def advance(self) -> Iterator[Item]:
        wants = self._reader.selection.wants
        for page in self._reader.client.file_pages(self._entry):
            wanted = [
                file
                for file in page
                if digest(file.name) not in self._named
                and (wants(of_file(file.name), "file") or file.name == OUTPUT_LOG)
            ]
            for start in range(0, len(wanted), FILES_A_TASK):
                some = wanted[start : start + FILES_A_TASK]
                yield Download(self._reader, self._run, self._entry, some)
        self.finished = True


class Download(_Fetching):
    """Some files of a run."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, files: Sequence[Any]) -> None:
        super().__init__(reader, run, entry)
        self._files = files

    def advance(self) -> Iterator[Item]:
        run, selection = self._run, self._reader.selection
        for file in self._files:
            target = self._fetch(file)
            if target is None:
                yield Missing(run, of_file(file.name))
                continue
            yield from self._size_said(file, target)
            if file.name == OUTPUT_LOG:
                yield from lines_of(run, target, selection)
            if selection.wants(of_file(file.name), "file"):
                yield Selected(run, 1)
                yield as_file(run, of_file(file.name), target, file.name)
            else:
                target.unlink()
        self.finished = True


class Artifacts(OfOne):
    """The list of the artifacts that a run logged."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, count: int) -> None:
        super().__init__(reader, run, entry)
        self._count = count

    def advance(self) -> Iterator[Item]:
        listed = 0
        for page in self._reader.client.artifacts(self._entry):
            listed += len(page)
            for artifact in page:
                yield ArtifactTask(self._reader, self._run, self._entry, artifact)
        if listed < self._count:
            yield Remark(self._run, FEWER_ARTIFACTS, count=self._count - listed)
        self.finished = True


class ArtifactTask(_Fetching):
    """One artifact: what is known of it, the list of its files, and a zip of those W&B holds."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, artifact: Any) -> None:
        super().__init__(reader, run, entry)
        self._artifact = artifact

    def advance(self) -> Iterator[Item]:
        reader, run = self._reader, self._run
        facts = reader.client.call_of(
            self._entry,
            f"reading the manifest of {self._artifact.name}",
            lambda: artifact_of(self._artifact),
        )
        yield from artifact_items(run, facts, reader.selection, reader.target())
        if reader.selection.wants(f"{facts.path}/files", "artifact"):
            for entry in facts.files:
                if entry.get("ref"):
                    yield Remark(run, REFERENCES, f"{facts.path}: {entry['ref']}")
            packed, remarks = reader.target(), list[Item]()
            if pack(packed, self._contents(facts, remarks)):
                yield DownloadedFile(run, f"{facts.path}/files", "artifact", packed, ".zip")
            yield from remarks
        self.finished = True

    def _contents(self, facts: ArtifactFacts, remarks: list[Item]) -> Iterator[tuple[str, Path]]:
        wanted = {entry["path"] for entry in facts.files if not entry.get("ref")}
        for page in (
            self._reader.client.artifact_files(self._entry, self._artifact) if wanted else ()
        ):
            for file in page:
                if file.name in wanted and (target := self._fetch(file)) is not None:
                    wanted.discard(file.name)
                    remarks += self._size_said(file, target)
                    yield file.name, target
        remarks += [Missing(self._run, f"{facts.path}/{name}") for name in sorted(wanted)]


def artifact_of(artifact: Any) -> ArtifactFacts:
    """What `wandb.Artifact` says; its manifest is another request."""
    return ArtifactFacts(
        artifact.name,
        {
            "type": artifact.type,
            "digest": artifact.digest,
            "description": artifact.description,
            "aliases": tuple(artifact.aliases),
            "tags": tuple(artifact.tags),
            "metadata": artifact.metadata or None,
            "size": artifact.size,
            "state": str(getattr(artifact.state, "value", artifact.state)),
            "created_at": utc(artifact.created_at),
            "history_step": artifact.history_step,
        },
        [
            {"path": str(e.path), "digest": e.digest, "ref": e.ref, "size": e.size}
            for e in artifact.manifest.entries.values()
        ],
    )
