"""Reads many runs at once: a few requests under way, a bounded queue, one stream of events.

Runs are taken in groups. The values of a group are one paged request; what they announce (series,
files) becomes tasks, each for many runs. A task that the server refuses is split until the refusal
belongs to one run: that run fails by name, all others go on. A run is done when its last task is.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    MigrationError,
    MissingFilesError,
    SourceError,
    Transient,
    UnknownProjectError,
)
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.neptune3.files import FILES_PER_REQUEST, Downloader, SizeDiffers
from migration_pipeline.sources.neptune3.series import (
    FLOAT_SERIES_PER_REQUEST,
    OTHER_SERIES_PER_REQUEST,
    Cursor,
    float_page,
    in_groups,
    other_page,
)
from migration_pipeline.sources.neptune3.values import Announced, StoredFile, read_values
from migration_pipeline.sources.source import (
    DownloadedFile,
    Event,
    Rows,
    RunDone,
    RunFailed,
    RunRef,
    RunRestarted,
    Selection,
)

GROUP_RUNS = 100
"""Runs whose values are asked for together."""
_QUEUE = 2
_REPEATS = 3
_FATAL = (CredentialsRefusedError, UnknownProjectError)
"""What concerns every run of the project alike."""


@dataclass
class _Run:
    """What is still to come of one run."""

    open_tasks: int = 0
    error: MigrationError | None = None
    missing: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    empty_series: list[str] = field(default_factory=list)
    previews: int = 0
    attributes: int = 0


@dataclass(frozen=True)
class _TaskDone:
    """A task ended; `runs` are those it was for."""

    runs: tuple[RunRef, ...]


_OfOneRun = Rows | DownloadedFile | RunRestarted | StoredFile | SizeDiffers | Cursor
_Item = _OfOneRun | RunFailed | _TaskDone | BaseException
_Announcement = tuple[dict[RunRef, Announced], tuple[RunRef, ...]]


class Reading:
    """One call of `Source.read`. Use it as a context manager and iterate `events` once."""

    def __init__(
        self,
        client: Neptune3Client,
        runs: Sequence[RunRef],
        selection: Selection,
        scratch: Path,
        workers: int,
        accept_missing_files: bool,
    ) -> None:
        self._client = client
        self._selection = selection
        self._accept_missing = accept_missing_files
        self._waiting = deque(runs)
        self._runs: dict[RunRef, _Run] = {}
        self._queue: queue.Queue[_Item | _Announcement] = queue.Queue(_QUEUE)
        self._stop = threading.Event()
        self._downloader = Downloader(client, scratch)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="neptune3")

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._downloader.close()

    def events(self) -> Iterator[Event]:
        """Yields what arrives until every run is done or has failed."""
        while self._waiting or self._runs:
            if self._waiting and len(self._runs) < 2 * GROUP_RUNS:
                self._start_group()
                continue
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, tuple):
                self._start_tasks(*item)
                yield from self._finished(item[1])
            elif isinstance(item, _TaskDone):
                yield from self._finished(item.runs)
            elif isinstance(item, StoredFile):
                self._runs[item.run].missing.append(_name(item))
            elif isinstance(item, SizeDiffers):
                name = f"{_name(item.file)}: {item.size} bytes, announced {item.file.size}"
                self._runs[item.file.run].resized.append(name)
            elif isinstance(item, Cursor):
                self._note(item)
            elif isinstance(item, RunFailed):
                state = self._runs[item.run]
                state.error = state.error or item.error
            elif not self._runs[item.run].error:
                yield item

    def _start_group(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(GROUP_RUNS, len(self._waiting)))]
        for run in group:
            self._runs[run] = _Run(open_tasks=1)
        self._submit(self._read_values, tuple(group))

    def _start_tasks(self, announced: dict[RunRef, Announced], runs: tuple[RunRef, ...]) -> None:
        floats, others, files = [], [], []
        for run in runs:
            found = announced[run]
            self._runs[run].attributes = found.attributes
            floats += found.float_series
            others += found.other_series
            files += found.files
        for cursors in in_groups(floats, FLOAT_SERIES_PER_REQUEST):
            self._submit_for({c.run for c in cursors}, self._read_floats, cursors)
        for cursors in in_groups(others, OTHER_SERIES_PER_REQUEST):
            self._submit_for({c.run for c in cursors}, self._read_others, cursors)
        for start in range(0, len(files), FILES_PER_REQUEST):
            part = files[start : start + FILES_PER_REQUEST]
            self._submit_for({f.run for f in part}, self._download, part)

    def _submit_for(self, runs: set[RunRef], task: Callable[..., None], work: object) -> None:
        for run in runs:
            self._runs[run].open_tasks += 1
        self._submit(self._run_task, task, work, tuple(runs))

    def _submit(self, function: Callable[..., None], *arguments: object) -> None:
        self._pool.submit(self._guarded, function, *arguments)

    def _guarded(self, function: Callable[..., None], *arguments: object) -> None:
        """An error that belongs to no run ends the reading instead of a thread."""
        try:
            function(*arguments)
        except _Stopped:
            return
        except BaseException as error:
            self._emit(error)

    def _run_task(self, task: Callable[..., None], work: object, runs: tuple[RunRef, ...]) -> None:
        task(work)
        self._emit(_TaskDone(runs))

    def _emit(self, item: _Item | _Announcement) -> None:
        """Hands an item to the consumer; gives up when nobody listens any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _Stopped

    def _finished(self, runs: tuple[RunRef, ...]) -> Iterator[Event]:
        for run in runs:
            state = self._runs[run]
            state.open_tasks -= 1
            if state.open_tasks:
                continue
            del self._runs[run]
            if state.missing and not state.error and not self._accept_missing:
                state.error = MissingFilesError(str(run.key), state.missing)
            if state.error:
                yield RunFailed(run, state.error)
            else:
                yield RunDone(run, missing_files=state.missing, notes=_notes(state))

    def _note(self, cursor: Cursor) -> None:
        state = self._runs[cursor.run]
        state.previews += cursor.previews
        if not cursor.points:
            state.empty_series.append(cursor.series.attribute)

    # The rest runs in worker threads.

    def _read_values(self, runs: tuple[RunRef, ...]) -> None:
        begun = False
        try:
            for part in read_values(self._client, runs, self._selection):
                begun = True
                self._emit(part if isinstance(part, Rows) else (part, runs))
        except _FATAL:
            raise
        except SourceError as error:
            if len(runs) == 1 or isinstance(error, Transient):
                self._fail(runs, error)
                self._emit(_TaskDone(runs))
                return
            for run in runs:
                if begun:  # a later page was refused: some rows are out already
                    self._emit(RunRestarted(run))
                self._read_values((run,))

    def _read_floats(self, cursors: list[Cursor]) -> None:
        self._read_pages(cursors, self._float_page)

    def _read_others(self, cursors: list[Cursor]) -> None:
        self._read_pages(cursors, self._other_page)

    def _float_page(self, cursors: list[Cursor]) -> list[Cursor]:
        rows, unfinished = float_page(self._client, cursors, self._selection.previews)
        for part in rows:
            self._emit(part)
        return unfinished

    def _other_page(self, cursors: list[Cursor]) -> list[Cursor]:
        rows, files, unfinished = other_page(self._client, cursors)
        for part in rows:
            self._emit(part)
        for start in range(0, len(files), FILES_PER_REQUEST):
            self._download(files[start : start + FILES_PER_REQUEST])
        return unfinished

    def _read_pages(
        self, cursors: list[Cursor], page: Callable[[list[Cursor]], list[Cursor]]
    ) -> None:
        """Reads all pages; on a refusal, halves the runs and goes on from where each cursor is."""
        pending, repeats = cursors, 0
        while pending:
            try:
                pending = page(pending)
                repeats = 0
            except IncompleteAnswerError as error:
                repeats += 1
                if repeats > _REPEATS:
                    self._fail({c.run for c in pending}, error)
                    return
            except _FATAL:
                raise
            except SourceError as error:
                runs = list(dict.fromkeys(c.run for c in pending))
                if len(runs) == 1 or isinstance(error, Transient):
                    self._fail(runs, error)
                    return
                half = set(runs[: len(runs) // 2])
                self._read_pages([c for c in pending if c.run in half], page)
                pending = [c for c in pending if c.run not in half]
        for cursor in cursors:
            self._emit(cursor)

    def _download(self, files: list[StoredFile]) -> None:
        runs = list(dict.fromkeys(f.run for f in files))
        done: set[int] = set()
        try:
            for i, item in enumerate(self._downloader.download(files)):
                done.add(i)
                self._emit(item)
        except _FATAL:
            raise
        except SourceError as error:
            if len(runs) == 1:
                self._fail(runs, error)
                return
            rest = [f for i, f in enumerate(files) if i not in done]
            for run in runs:
                if own := [f for f in rest if f.run == run]:
                    self._download(own)

    def _fail(self, runs: Sequence[RunRef] | set[RunRef], error: SourceError) -> None:
        for run in runs:
            self._emit(RunFailed(run, error))


class _Stopped(Exception):
    """Nobody reads the events any more."""


def _name(file: StoredFile) -> str:
    return file.attribute if file.step is None else f"{file.attribute} (step {file.step / 1e6:g})"


def _notes(state: _Run) -> list[str]:
    notes = []
    if state.empty_series:
        shown = ", ".join(sorted(state.empty_series)[:20])
        notes.append(
            f"{len(state.empty_series)} series have no points of their own (a fork shows its "
            f"parent's): {shown}"
        )
    if state.resized:
        notes.append(f"files of another size than announced: {'; '.join(state.resized[:20])}")
    if state.previews:
        notes.append(f"{state.previews} points are previews, which the archive does not mark")
    if not state.attributes:
        notes.append("no attribute of this run is selected")
    return notes
