"""Damaged runs, as far as they can be read, and archives in which they are shown so or not at all.

Somebody whose source is gone may want what is left of a run. It is then read without trusting
anything that is said of it: parts that can be opened and are of the run, rows up to the first that
cannot be read, files that are there. What it holds is what it is compared with later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey, parts_of
from migration_pipeline.archive.location import Location, is_inside
from migration_pipeline.archive.manifest import GENERATION_KEY, read_footer
from migration_pipeline.archive.reader import read_first_value, read_parts
from migration_pipeline.errors import DamagedPartError


@dataclass(frozen=True)
class SalvagedRun(ArchivedRun):
    """What is left of a damaged run. It has no manifest: what that says does not hold."""

    def batches(
        self, columns: Sequence[str] | None = None, types: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows that can be read; a row whose file is not there names none."""
        for part in self.parts:
            with contextlib.suppress(DamagedPartError):
                for batch in read_parts([part], columns=columns, types=types):
                    yield self._with_files_that_are_there(batch)

    def _with_files_that_are_there(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        index = batch.schema.get_field_index("file_value")
        if index < 0 or batch.column(index).null_count == batch.num_rows:
            return batch
        column = batch.column(index)
        gone = [bool(value) and not self._is_there(value["path"]) for value in column.to_pylist()]
        if not any(gone):
            return batch
        kept = pc.if_else(pa.array(gone), pa.scalar(None, column.type), column)
        return batch.set_column(index, batch.schema.field(index), kept)

    def _is_there(self, path: str | None) -> bool:
        if not path:
            return False
        try:
            return is_inside(self.files_root, path) and (self.files_root / path).exists()
        except (OSError, ValueError):  # no name that the system takes
            return False


def salvage(archive: Archive, key: RunKey, damage: Sequence[str]) -> SalvagedRun | None:
    """What is left of a run; None: not a single row of it can be read.

    Args:
        damage: what is wrong with it.
    """
    for place in archive.places(key.project, [key.kind]):
        stem, numbers = parts_of(place.directory, key.run)
        paths = [place.directory / f"{stem}_part_{number}.parquet" for number in numbers]
        if parts := _parts_of_one_export(paths, key.run):
            run = SalvagedRun(key, tuple(parts), place.files_root, tuple(damage))
            run.__dict__["manifest"] = None
            return run
    return None


def _parts_of_one_export(paths: Sequence[Location], run: str) -> list[Location]:
    """Those of these parts that are of the run, and of the same export as the first such part."""
    found: list[Location] = []
    generation = None
    for path in paths:
        with contextlib.suppress(DamagedPartError):
            of_export = (read_footer(path).metadata or {}).get(GENERATION_KEY, b"")
            if read_first_value(path, "run_id") == run and generation in (None, of_export):
                generation = of_export
                found.append(path)
    return found


@dataclass(frozen=True)
class ArchiveWithDamage(Archive):
    """An archive in which damaged runs are shown as far as they can be read, or are not shown.

    Args:
        salvaged: runs instead of those that lie there.
        hidden: runs that are left out.
    """

    salvaged: Mapping[RunKey, SalvagedRun] = field(default_factory=dict)
    hidden: frozenset[RunKey] = frozenset()

    def runs(
        self, project: str, damaged: list[DamagedPartError] | None = None
    ) -> dict[RunKey, ArchivedRun]:
        errors: list[DamagedPartError] = []
        found = super().runs(project, errors)
        found.update({key: run for key, run in self.salvaged.items() if key.project == project})
        stems = {str(stem) for stem in self._stems(project)}
        for error in errors:
            if error.path.rpartition("_part_")[0] in stems:
                continue
            if damaged is None:
                raise error
            damaged.append(error)
        return {key: run for key, run in found.items() if key not in self.hidden}

    def find(self, key: RunKey) -> ArchivedRun | None:
        if key in self.hidden:
            return None
        return self.salvaged.get(key) or super().find(key)

    def _stems(self, project: str) -> Iterator[Location]:
        """Where the parts of runs lie of which it is known that they are damaged."""
        for key in (*self.salvaged, *self.hidden):
            for place in self.places(project, [key.kind]):
                # A run whose id cannot be known goes by the name of its parts.
                yield place.directory / parts_of(place.directory, key.run)[0]
                yield place.directory / key.run
