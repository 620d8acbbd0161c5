"""Source → archive: which runs are due, and their export.

The archive is asked, not a record elsewhere: a run is due when its part 0 is not there, when the
source has changed it since, or when it was exported with a narrower selection.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.archive.writer import RunWriter, scratch_directory
from migration_pipeline.errors import (
    DamagedPartError,
    IncompleteAnswerError,
    MigrationError,
)
from migration_pipeline.progress import Progress
from migration_pipeline.sources.source import (
    DownloadedFile,
    Rows,
    RunDone,
    RunFailed,
    RunRef,
    RunRestarted,
    Selection,
    Source,
)

log = logging.getLogger(__name__)
_PENDING_BYTES = 64 * 1024 * 1024
"""Arrow memory of all open runs together; above it the largest is written out."""


@dataclass(frozen=True)
class ExportPlan:
    """What is to be done for one project.

    Args:
        due: to be exported, in the source's order.
        present: already there and unchanged.
        changed: of those due, the ones that are there but changed at the source.
        adopted: there, written by another tool, so their state at the source is unknown.
        finished: swaps of an earlier, interrupted export that were finished now.
    """

    project: str
    due: list[RunRef]
    present: list[RunKey]
    changed: list[RunKey]
    adopted: list[RunKey]
    finished: list[str]


@dataclass
class RunReport:
    """How the export of one run went."""

    key: RunKey
    manifest: Manifest | None = None
    error: MigrationError | None = None


@dataclass
class ExportReport:
    """How the export of several runs went."""

    runs: list[RunReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exported(self) -> list[Manifest]:
        return [r.manifest for r in self.runs if r.manifest]

    @property
    def failures(self) -> list[tuple[RunKey, MigrationError]]:
        return [(r.key, r.error) for r in self.runs if r.error]


def plan_export(source: Source, archive: Archive, project: str, selection: Selection) -> ExportPlan:
    """Lists the project at the source and compares it with the archive."""
    finished = recover(archive, project)
    listed = source.list_runs(project, selection)
    due: list[RunRef] = []
    present: list[RunKey] = []
    changed: list[RunKey] = []
    adopted: list[RunKey] = []
    for ref, found, manifest in _with_manifests(archive, project, listed):
        if not found:
            due.append(ref)
        elif manifest is None:
            adopted.append(ref.key)
        elif _is_behind(manifest, ref, selection):
            due.append(ref)
            changed.append(ref.key)
        else:
            present.append(ref.key)
    return ExportPlan(project, due, present, changed, adopted, finished)


def _is_behind(manifest: Manifest, ref: RunRef, selection: Selection) -> bool:
    """The run changed at the source since, or was exported with a narrower selection."""
    return (
        (ref.modified is not None and ref.modified != manifest.modified)
        or manifest.selection not in ("", selection.describe_attributes())
        or (selection.previews and not manifest.previews)
    )


def _with_manifests(
    archive: Archive, project: str, listed: Sequence[RunRef]
) -> list[tuple[RunRef, bool, Manifest | None]]:
    try:
        manifests = archive.manifests(project, [ref.key for ref in listed])
    except DamagedPartError:
        manifests = {}
        for ref in listed:  # one at a time, so that only the damaged one is exported again
            try:
                manifests |= archive.manifests(project, [ref.key])
            except DamagedPartError as error:
                log.warning("%s: %s; it is exported again", ref.key, error.what)
    return [(ref, ref.key in manifests, manifests.get(ref.key)) for ref in listed]


def export_runs(
    source: Source,
    archive: Archive,
    runs: Sequence[RunRef],
    selection: Selection,
    progress: Callable[[str], None] = log.info,
) -> ExportReport:
    """Exports runs of one project; a run that fails is reported and not published.

    Args:
        progress: is called with a sentence at least every 10 seconds of work.

    Raises:
        ArchiveNotWritableError: the disk is full or read-only; nothing half-written is left.
        SourceRefusedError, SourceUnavailableError: what concerns all runs alike.
    """
    report = ExportReport()
    if not runs:
        return report
    started = time.monotonic()
    open_runs: dict[RunKey, _OpenRun] = {}
    with contextlib.ExitStack() as on_exit:
        scratch = on_exit.enter_context(scratch_directory(archive, runs[0].key.project))
        on_exit.callback(_discard_all, open_runs)
        meter = on_exit.enter_context(Progress("export", len(runs), progress))
        for event in source.read(runs, selection, scratch):
            key = event.run.key
            if isinstance(event, RunFailed | RunRestarted):
                if begun := open_runs.pop(key, None):
                    begun.writer.discard()
                if isinstance(event, RunFailed):
                    report.runs.append(RunReport(key, error=event.error))
                    meter.run_failed()
                continue
            if key not in open_runs:
                open_runs[key] = _OpenRun(RunWriter(archive, key, source.name))
            run = open_runs[key]
            if isinstance(event, Rows):
                run.writer.write(event.batch)
                meter.add(points=event.batch.num_rows - event.batch.column("step").null_count)
                _flush_largest(open_runs)
            elif isinstance(event, DownloadedFile):
                meter.add(points=event.step is not None, size=run.add_file(event))
            elif isinstance(event, RunDone):
                report.runs.append(RunReport(key, manifest=run.commit(event, selection)))
                open_runs.pop(key).writer.discard()
                meter.run_done()
    reported = {r.key for r in report.runs}
    for ref in runs:
        if ref.key not in reported:
            error = IncompleteAnswerError(f"run {ref.key}: the source ended before it was whole")
            report.runs.append(RunReport(ref.key, error=error))
    report.seconds = time.monotonic() - started
    narrowed = selection.describe_attributes()
    if narrowed and report.exported and not any(m.rows for m in report.exported):
        log.warning("no attribute of these %d runs is selected by: %s", len(runs), narrowed)
    return report


_FILE_ROWS = 1_000
"""Rows that name files are written so many at a time."""


class _OpenRun:
    """A run of which not everything has arrived yet."""

    def __init__(self, writer: RunWriter) -> None:
        self.writer = writer
        self._file_rows: list[dict[str, Any]] = []

    def add_file(self, event: DownloadedFile) -> int:
        """Takes a file and keeps its row; returns its bytes."""
        step = "" if event.step is None else f"{event.step // 10**6}.{event.step % 10**6:06d}"
        path = self.writer.add_file(event.path, event.attribute, step, event.extension, event.name)
        self._file_rows.append(
            {
                "path": event.attribute,
                "type": event.type,
                "value": path,
                "step": event.step,
                "timestamp": event.timestamp,
            }
        )
        if len(self._file_rows) >= _FILE_ROWS:
            self._write_file_rows()
        return self.writer.files[path].size

    def commit(self, event: RunDone, selection: Selection) -> Manifest:
        self._write_file_rows()
        return self.writer.commit(
            sys_id=event.sys_id or event.run.handle,
            parent=event.parent or event.run.parent,
            modified=event.run.modified,
            missing_files=event.missing_files,
            notes=event.notes,
            damage=event.damage,
            conflicts=event.conflicts,
            selection=selection.describe_attributes(),
            previews=selection.previews,
        )

    def _write_file_rows(self) -> None:
        if self._file_rows:
            key = self.writer.key
            self.writer.write(make_batch(key.project, key.run, self._file_rows))
            self._file_rows = []


def _discard_all(runs: dict[RunKey, _OpenRun]) -> None:
    for run in runs.values():
        run.writer.discard()


def _flush_largest(runs: dict[RunKey, _OpenRun]) -> None:
    writers = [run.writer for run in runs.values()]
    while sum(w.pending_bytes for w in writers) > _PENDING_BYTES:
        max(writers, key=lambda w: w.pending_bytes).flush()
