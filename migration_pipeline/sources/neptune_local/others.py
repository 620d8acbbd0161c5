"""What a local run is merged with: the run of an archive, and what is known of it beside its rows.

An archive that another tool wrote has no manifests. The doctor says then what is wrong with a run,
and what is damaged of it is read as far as that goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pyarrow.compute as pc

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.doctor.diagnosis import Diagnosis
from migration_pipeline.archive.doctor.errors_file import errors_files
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.manifest import FileEntry
from migration_pipeline.archive.salvage import salvage
from migration_pipeline.errors import UnmergeableRunError


@dataclass(frozen=True)
class Other:
    """A run, and what is known of it; the fields from `sys_id` on are those of a manifest.

    Args:
        name: what had it, for sentences.
        of_2x: files of a series lie at their order, not at their step.
    """

    run: ArchivedRun
    name: str
    of_2x: bool = False
    sys_id: str | None = None
    parent: str | None = None
    missing_files: Sequence[str] = ()
    notes: Sequence[str] = ()
    damage: Sequence[str] = ()
    conflicts: Sequence[str] = ()
    files: Sequence[FileEntry] = ()


def told(run: ArchivedRun) -> Other:
    """By its manifest, which it must have."""
    of = run.manifest
    assert of is not None
    return Other(
        run,
        of.source,
        of.source == "neptune2",
        of.sys_id,
        of.parent,
        of.missing_files,
        of.notes,
        of.damage,
        of.conflicts,
        of.files,
    )


def file_rows(run: ArchivedRun) -> Iterator[dict[str, Any]]:
    """Rows that name files."""
    for batch in run.batches():
        yield from batch.filter(pc.is_valid(batch.column("file_value"))).to_pylist()


@dataclass
class OtherArchive:
    """An archive that is only read. For all threads."""

    archive: Archive
    _known: dict[str, dict[RunKey, Diagnosis]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def name(self) -> str:
        return f"the archive {self.archive.data}"

    def find(self, key: RunKey, of_2x: bool) -> Other | None:
        """The run; None where it is not there.

        Raises:
            UnmergeableRunError: not a row of it can be read.
        """
        if key not in (diagnoses := self._examined(key.project)):
            return None
        found = diagnoses[key]
        wrong = [reason.text for reason in found.reasons if reason.proof]
        if (run := self._read(key, wrong)).manifest is not None:
            return told(run)
        doubts = [reason.text for reason in found.reasons if not reason.proof]
        doubts = [f"{self.name}: {text}" for text in doubts]
        return Other(
            run,
            self.name,
            of_2x,
            next(_texts(run, "sys/id"), None),
            notes=[f"nothing proves that the run was whole in {self.name}"],
            damage=[f"{self.name}: {text}" for text in wrong],
            conflicts=doubts,
            files=[
                FileEntry(path=path, size=info.size, digest=info.digest)
                for path in dict.fromkeys(row["file_value"]["path"] for row in file_rows(run))
                for info in [run.file_info(path)]
            ],
        )

    def _read(self, key: RunKey, wrong: Sequence[str]) -> ArchivedRun:
        run = salvage(self.archive, key, wrong) if wrong else self.archive.find(key)
        if run is None:
            raise UnmergeableRunError(str(key), str(self.archive.data), "; ".join(wrong))
        return run

    def _examined(self, project: str) -> dict[RunKey, Diagnosis]:
        """The doctor's word on the project's runs, asked for once."""
        with self._lock:
            if project not in self._known:
                found = examine(self.archive, project, errors=errors_files(self.archive))
                self._known[project] = {run.key: run for run in found.runs}
            return self._known[project]


def _texts(run: ArchivedRun, path: str) -> Iterator[str]:
    for batch in run.batches(["attribute_path", "string_value"], ["string"]):
        of_path = batch.filter(pc.equal(batch.column("attribute_path"), path))
        yield from of_path.column("string_value").to_pylist()
