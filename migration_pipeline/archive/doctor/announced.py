"""Compares what a manifest announces with what is there: parts, rows, files, and their digests."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.digest import FileInfo, RunSums, digest_file
from migration_pipeline.archive.doctor.attributes import SCHEMA_OF_CLAIMS
from migration_pipeline.archive.doctor.diagnosis import Reason
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.doctor.on_disk import RunOnDisk
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.manifest import (
    GENERATION_KEY,
    MANIFEST_KEY,
    FileEntry,
    Manifest,
    read_footer,
)
from migration_pipeline.archive.reader import read_parts, schema_difference
from migration_pipeline.archive.store import Location, stats
from migration_pipeline.errors import DamagedPartError

_UNNAMED = FileInfo(-1, "")


def manifest_in(footer: pq.FileMetaData) -> Manifest | None:
    """The manifest of a part 0's footer; None: it has none.

    Raises:
        ValidationError: it cannot be read.
    """
    text = (footer.metadata or {}).get(MANIFEST_KEY)
    return Manifest.model_validate_json(text) if text is not None else None


def invalid(error: ValidationError) -> Reason:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "all of it"
    return because("manifest_unreadable", f"its manifest cannot be read ({place}: {first['msg']})")


def look_at_announced(run: RunOnDisk, facts: RunFacts, manifest: Manifest, thorough: bool) -> None:
    """Notes what differs from the manifest.

    Args:
        thorough: recompute the digests of rows and files, which reads everything.
    """
    facts.manifest = manifest
    facts.reasons += named_wrongly(run, facts.key, manifest)
    facts.named = None if run.is_named_as(manifest.run) else facts.key
    facts.key = RunKey(facts.key.project, manifest.run, run.place.kind)
    footers = list(_footers(run, facts.reasons))
    facts.rows = sum(footer.num_rows for footer in footers)
    facts.reasons += differing_parts(manifest, run.numbers, footers)
    facts.reasons += differing_files(facts.files_root, manifest.files)
    if thorough and not any(reason.proof for reason in facts.reasons):
        facts.reasons += differing_digests(run, facts.files_root, manifest)
        facts.proven = True
    facts.reasons += [because("source_damaged", text) for text in manifest.damage]
    facts.reasons += [because("sources_differ", text) for text in manifest.conflicts]
    facts.claims = [_claims(manifest.files)]
    facts.notes += _notes(manifest, thorough)


def named_wrongly(run: RunOnDisk, key: RunKey, manifest: Manifest) -> Iterator[Reason]:
    if manifest.project != key.project or manifest.kind != run.place.kind:
        other = RunKey(manifest.project, manifest.run, manifest.kind)
        yield because("foreign_part", f"its manifest is that of {other}")
    elif run.stem != layout.name_on_disk(manifest.run):
        yield because("foreign_part", f"parts named {run.stem!r} are of run {manifest.run!r}")


def differing_parts(
    manifest: Manifest, numbers: Sequence[int], footers: Sequence[pq.FileMetaData]
) -> Iterator[Reason]:
    """By the numbers of the parts and by their footers, as many of these as can be read."""
    if missing := sorted(set(range(manifest.parts)).difference(numbers)):
        yield because("part_missing", _of_parts(missing, manifest.parts))
    if more := [n for n in numbers if n >= manifest.parts]:
        text = f"{manifest.parts} parts are announced, part {more[0]} is there as well"
        yield because("foreign_part", text)
    if len(footers) != len(numbers):
        return
    for number, footer in zip(numbers, footers, strict=True):
        generation = (footer.metadata or {}).get(GENERATION_KEY, b"").decode("utf-8", "replace")
        if generation != manifest.generation:
            yield because("foreign_part", f"part {number} is of another export than the manifest")
        if difference := schema_difference(footer.schema.to_arrow_schema()):
            yield because("other_schema", f"part {number}: {difference}")
    rows = sum(footer.num_rows for footer in footers)
    if rows != manifest.rows:
        yield because("rows_differ", f"{manifest.rows} rows are announced, the parts have {rows}")


def _of_parts(missing: Sequence[int], parts: int) -> str:
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
    return f"part(s) {shown} of {parts} (counted from 0) are missing"


def differing_files(root: Location, entries: Sequence[FileEntry]) -> Iterator[Reason]:
    """By being there and by size."""
    missing, wrong = [], []
    paths = [entry.path for entry in entries]
    for entry, found in zip(entries, stats(root, paths), strict=True):
        if found is None:
            missing.append(entry.path)
            continue
        if stat.S_ISREG(found.st_mode) and found.st_size != entry.size:
            wrong.append((entry.path, found.st_size, entry.size))
    if missing:
        text = f"{len(missing)} of {len(entries)} files are not there: {some(missing)}"
        yield because("file_missing", text)
    for path, size, announced in wrong[:5]:
        text = f"file {path!r} has {size} bytes, {announced} are announced"
        yield because("file_differs", text)
    if len(wrong) > 5:
        yield because("file_differs", f"{len(wrong) - 5} more files have another size")


def differing_digests(run: RunOnDisk, root: Location, manifest: Manifest) -> Iterator[Reason]:
    """Reads all rows and files and compares digests.

    Rows are summed with the files' digests as the manifest has them, so that a file that changed
    and rows that changed are told apart.
    """
    infos = {entry.path: FileInfo(entry.size, entry.digest) for entry in manifest.files}
    sums = RunSums(lambda path: infos.get(path, _UNNAMED))
    parts = [run.part(number) for number in run.numbers]
    try:
        for batch in read_parts(parts, generation=manifest.generation):
            sums.update(batch)
    except DamagedPartError as error:
        yield because("part_unreadable", error.what)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield because("part_unreadable", f"its rows cannot be read ({str(error)[:200]})")
    else:
        if sums.digest() != manifest.digest:
            yield because("rows_differ", "the digest of its rows is not that of the manifest")
    wrong = []
    for path, announced in infos.items():
        try:
            changed = digest_file(root / path) != announced
        except OSError:
            changed = True
        if changed:
            wrong.append(path)
    if wrong:
        text = f"{len(wrong)} of {len(infos)} files have other bytes than announced: {some(wrong)}"
        yield because("file_differs", text)


def _footers(run: RunOnDisk, reasons: list[Reason]) -> Iterator[pq.FileMetaData]:
    for number in run.numbers:
        try:
            yield read_footer(run.part(number))
        except DamagedPartError as error:
            reasons.append(because("part_unreadable", error.what))


def _claims(files: Sequence[FileEntry]) -> pa.RecordBatch:
    paths = pa.array([entry.path for entry in files], pa.string())
    return pa.RecordBatch.from_arrays(
        [paths, pa.nulls(len(paths), pa.string()), pa.nulls(len(paths), pa.int64())],
        schema=SCHEMA_OF_CLAIMS,
    )


def _notes(manifest: Manifest, thorough: bool) -> Iterator[str]:
    if not thorough:
        yield "Digests were not recomputed: parts, row counts and files' sizes are as announced."
    if manifest.selection:
        yield f"Not all of the run, by intention: {manifest.selection}"
    if manifest.missing_files:
        yield f"The source no longer had {len(manifest.missing_files)} file(s) of it."
    yield from manifest.notes
