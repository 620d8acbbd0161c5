"""Examines the runs of an archive: each by itself, then all of a project beside each other.

Runs are read by a few threads, batch by batch; what is to be compared goes into a database
(`evidence`), so memory does not grow with the number of points, attributes or files.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
from pydantic import ValidationError

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.adopted import look_at_adopted
from migration_pipeline.archive.doctor.announced import invalid, look_at_announced, manifest_in
from migration_pipeline.archive.doctor.claims import claimed_twice, files_directory, unnamed_files
from migration_pipeline.archive.doctor.diagnosis import (
    ArchiveDiagnosis,
    Diagnosis,
    ProjectDiagnosis,
    ProjectFinding,
    grade_of,
)
from migration_pipeline.archive.doctor.errors_file import read_failures
from migration_pipeline.archive.doctor.evidence import Evidence
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.doctor.failures import (
    beyond_the_archive,
    failed_requests,
    unknown_failures,
)
from migration_pipeline.archive.doctor.gaps import (
    missing_ids,
    missing_parents,
    old_listing,
    unfinished,
)
from migration_pipeline.archive.doctor.on_disk import (
    RunOnDisk,
    named_digest,
    projects_on_disk,
    runs_on_disk,
)
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.doctor.siblings import (
    absent_or_nan,
    compare_siblings,
    compare_values,
)
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import Manifest, now, read_footer
from migration_pipeline.errors import DamagedPartError, UnknownNameError

_WORKERS = min(4, os.cpu_count() or 1)
Progress = Callable[[int, int], None]
"""Called with (runs examined, runs there are)."""


def examine_archive(
    archive: Archive,
    projects: Sequence[str] = (),
    *,
    thorough: bool = True,
    errors: Sequence[Location] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> ArchiveDiagnosis:
    """Grades all runs of some projects.

    Args:
        projects: names; empty: all that the archive holds.
        errors: neptune-exporter's errors files (`errors_files` finds them).
        progress: called with (project, runs examined, runs there are).

    Raises:
        NotAnArchiveError: the data directory is none, or a directory cannot be listed.
        UnknownNameError: a project is not in the archive.
    """
    known, findings = projects_on_disk(archive)
    for name in projects:
        if name not in known:
            raise UnknownNameError("project in the archive", name, known, "NEPTUNE_PROJECT")
    unreadable: list[tuple[Location, int]] = []
    strange = list(beyond_the_archive(read_failures(errors, unreadable), known, unreadable))
    found = [
        examine(
            archive,
            project,
            thorough=thorough,
            errors=errors,
            progress=partial(progress, project) if progress else None,
        )
        for project in projects or known
    ]
    return ArchiveDiagnosis(
        archive.data,
        archive.files,
        thorough,
        tuple(errors),
        now(),
        tuple(found),
        (*findings, *strange),
    )


def examine(
    archive: Archive,
    project: str,
    *,
    thorough: bool = True,
    errors: Sequence[Location] = (),
    progress: Progress | None = None,
) -> ProjectDiagnosis:
    """Grades all runs of a project.

    Args:
        thorough: recompute the digests that manifests announce. Without it no run is called
            complete; runs without a manifest are read wholly all the same, for nothing vouches for
            them.
        errors: as of `examine_archive`.

    Raises:
        NotAnArchiveError: a directory cannot be listed.
    """
    started = time.monotonic()
    on_disk = list(runs_on_disk(archive, project))
    readable = [run for run in on_disk if run.numbers]
    facts: list[RunFacts] = []
    with Evidence() as evidence:
        for one in _look_at_all(project, readable, thorough):
            evidence.add(one)
            facts.append(one)
            if progress:
                progress(len(facts), len(readable))
        failures = read_failures(errors, [])
        evidence.add_failures(f for f in failures if f.project == project)
        evidence.close_lists()
        for rule in (compare_siblings, compare_values, claimed_twice, failed_requests):
            for number, reason in rule(evidence):
                facts[number].reasons.append(reason)
        adopted = {run.stem for run, one in zip(readable, facts, strict=True) if not one.manifest}
        findings = [
            *files_directory(project, facts),
            *unfinished(project, on_disk, adopted),
            *missing_ids(project, facts),
            *missing_parents(project, facts),
            *old_listing(project, facts),
            *unknown_failures(evidence, project),
            *unnamed_files(evidence, project, facts),
            *_absent_or_nan(evidence, project),
        ]
    return ProjectDiagnosis(
        project,
        runs=tuple(_by_key(facts)),
        findings=tuple(findings),
        rows=sum(one.rows for one in facts),
        seconds=time.monotonic() - started,
    )


def _look_at_all(project: str, runs: Sequence[RunOnDisk], thorough: bool) -> Iterator[RunFacts]:
    """In the order of `runs`, a few ahead at most."""
    waiting: deque[Future[RunFacts]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for run in runs:
                waiting.append(pool.submit(look_at, project, run, thorough))
                if len(waiting) > 4 * _WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def look_at(project: str, run: RunOnDisk, thorough: bool) -> RunFacts:
    """All that can be said of one run without looking at others."""
    key = RunKey(project, run.probable_id(), run.place.kind)
    facts = RunFacts(key, run.place.files_root, written=run.written)
    footer = _footer(run)
    if footer and (manifest := _manifest(footer, facts)):
        look_at_announced(run, facts, manifest, thorough)
        return facts
    if gaps := sorted(set(range(run.numbers[-1])).difference(run.numbers)):
        text = f"part {gaps[0]} is missing, part {run.numbers[-1]} is there"
        facts.reasons.append(because("part_missing", text))
    look_at_adopted(run, facts, footer)
    if run.tmp:
        text = f"{len(run.tmp)} temporary part(s) lie beside it: {some(run.tmp)}"
        facts.reasons.append(because("leftover_tmp", text))
    return facts


def _footer(run: RunOnDisk) -> pq.FileMetaData | None:
    """Of part 0; None: it is not there or cannot be read, which reading its rows will say."""
    if 0 not in run.numbers:
        return None
    try:
        return read_footer(run.part(0))
    except DamagedPartError:
        return None


def _manifest(footer: pq.FileMetaData, facts: RunFacts) -> Manifest | None:
    try:
        return manifest_in(footer)
    except ValidationError as error:
        facts.reasons.append(invalid(error))
        return None


def _by_key(facts: Sequence[RunFacts]) -> Iterator[Diagnosis]:
    """Sorted by key; what has one key by mistake becomes one diagnosis with all reasons.

    A run whose parts hold another run's rows is not forgotten: it is there by its parts' name.
    """
    found: dict[RunKey, Diagnosis] = {}
    for one in facts:
        found[one.key] = _merged(one.diagnosis(), found.get(one.key))
    known = {(key.kind, layout.digest(key.run)) for key in found}
    for one in facts:
        if one.named and (one.named.kind, named_digest(one.named.run)) not in known:
            found[one.named] = replace(one.diagnosis(), key=one.named)
    yield from (found[key] for key in sorted(found, key=lambda k: (k.kind != "run", k.kind, k.run)))


def _merged(one: Diagnosis, other: Diagnosis | None) -> Diagnosis:
    if other is None:
        return one
    reasons = tuple(dict.fromkeys((*other.reasons, *one.reasons)))
    grade = grade_of(reasons, proven_whole=other.grade == one.grade == "complete")
    return Diagnosis(one.key, grade, reasons, (*other.notes, *one.notes))


def _absent_or_nan(evidence: Evidence, project: str) -> Iterator[ProjectFinding]:
    rows, runs = absent_or_nan(evidence)
    if rows:
        text = f"{rows} numbers of {runs} run(s) have a row without a value, which others have"
        yield ProjectFinding(project, "absent_or_nan", text)
