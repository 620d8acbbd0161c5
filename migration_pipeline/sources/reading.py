"""Reads many runs at once: a few requests under way, a bounded queue, one stream of events.

Runs are taken in groups. A group begins as one task, its values; a task yields rows, files and
further tasks (its series, its downloads), each for one or many runs. A task that the server refuses
is split until the refusal belongs to one run: that run fails by name, all others go on. A run is
done when its last task is. What a task asks, and of which server, is the source's own.
"""

from __future__ import annotations

import logging
import queue
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    MigrationError,
    MissingFilesError,
    SourceError,
    Transient,
    UnknownProjectError,
    UnreadableRunError,
)
from migration_pipeline.sources.source import (
    DownloadedFile,
    Event,
    Rows,
    RunDone,
    RunFailed,
    RunRef,
    RunRestarted,
)

log = logging.getLogger(__name__)
_REPEATS = 3
_REMARKS = 20
_FATAL = (CredentialsRefusedError, UnknownProjectError)
"""What concerns every run of the project alike."""
NOTHING_SELECTED = "no attribute of this run is selected"


@dataclass(frozen=True)
class Selected:
    """So many attributes of a run are selected; a run may be told of several times."""

    run: RunRef
    attributes: int


@dataclass(frozen=True)
class Missing:
    """A file that a run names and the storage does not have; `name` with its step."""

    run: RunRef
    name: str


@dataclass(frozen=True)
class Remark:
    """What the manifest is to note of a run, gathered over its tasks.

    Args:
        sentence: what is noted; may hold `{count}` and `{list}` of what was gathered under it.
        name: one entry of the list.
        count: how many it stands for.
    """

    run: RunRef
    sentence: str
    name: str = ""
    count: int = 1


@dataclass(frozen=True)
class Damage:
    """What of a run is lost at the source, as a clause; the rest of it is read."""

    run: RunRef
    text: str


@dataclass(frozen=True)
class Conflict:
    """Where two sources of a run differ, as a clause."""

    run: RunRef
    text: str


class Task:
    """Work for some runs, done a request at a time.

    Args:
        runs: whom it is for.
    """

    def __init__(self, runs: Sequence[RunRef]) -> None:
        self.runs = tuple(runs)
        self.finished = False

    def advance(self) -> Iterator[Item]:
        """Does a request's worth, yields what came of it, and sets `finished` at the end.

        After an error it is called again, or the parts of `split` instead: it must then go on
        from where it was, or yield `RunRestarted` first.
        """
        raise NotImplementedError

    def split(self) -> Sequence[Task]:
        """What is left of the task, in parts that have fewer runs each; one for a run has none."""
        return ()

    def worth_splitting(self, error: SourceError) -> bool:
        """Whether parts could do better than the whole; asked of tasks for several runs."""
        return not isinstance(error, Transient)


Told = Selected | Missing | Remark | Damage | Conflict
Item = Rows | DownloadedFile | RunRestarted | RunFailed | Told | Task


@dataclass(frozen=True)
class _TaskDone:
    """A task ended; `runs` are those it was for."""

    runs: tuple[RunRef, ...]


@dataclass
class _Gathered:
    """What was remarked under one sentence. A run may give one for each of its points.

    Args:
        names: the first of those that differ, sorted, one more than are shown.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, remark: Remark) -> None:
        self.count += remark.count
        at = bisect_left(self.names, remark.name)
        if self.names[at : at + 1] != [remark.name]:
            self.names.insert(at, remark.name)
            del self.names[_REMARKS + 1 :]


@dataclass
class _Run:
    """What is still to come of one run."""

    open_tasks: int = 0
    error: MigrationError | None = None
    missing: list[str] = field(default_factory=list)
    remarks: dict[str, _Gathered] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    attributes: int = 0


class _Stopped(Exception):
    """Nobody reads the events any more."""


class Reading:
    """One call of `Source.read`. Use it as a context manager and iterate `events` once.

    Args:
        runs: of one project.
        group: how many runs begin together.
        ahead: a new group begins while fewer runs than this are under way.
        begin: makes the first task of a group.
        workers: tasks under way at once.
        buffered: items that may wait for whoever takes the events; after that workers do.
        accept_missing_files: a run is done although files that it names are gone.
    """

    def __init__(
        self,
        runs: Sequence[RunRef],
        group: int,
        ahead: int,
        begin: Callable[[Sequence[RunRef]], Task],
        workers: int,
        buffered: int,
        accept_missing_files: bool,
    ) -> None:
        self._group, self._ahead, self._begin = group, ahead, begin
        self._accept_missing = accept_missing_files
        self._waiting = deque(runs)
        self._runs: dict[RunRef, _Run] = {}
        self._failed: set[RunRef] = set()
        self._queue: queue.Queue[Item | _TaskDone | BaseException] = queue.Queue(buffered)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="reading")

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def events(self) -> Iterator[Event]:
        """Yields what arrives until every run is done or has failed."""
        while self._waiting or self._runs:
            if self._waiting and (not self._runs or len(self._runs) < self._ahead):
                group = [self._waiting.popleft() for _ in range(self._group) if self._waiting]
                self._submit(self._begin(group))
                continue
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Task):
                self._submit(item)
            elif isinstance(item, _TaskDone):
                yield from self._finished(item.runs)
            elif isinstance(item, Rows | DownloadedFile | RunRestarted):
                if not self._runs[item.run].error:
                    yield item
            else:
                self._note(item)

    def _note(self, item: RunFailed | Told) -> None:
        state = self._runs[item.run]
        if isinstance(item, RunFailed):
            state.error = state.error or item.error
            self._failed.add(item.run)
        elif isinstance(item, Selected):
            state.attributes += item.attributes
        elif isinstance(item, Missing):
            state.missing.append(item.name)
        elif isinstance(item, Damage):
            state.damage.append(item.text)
        elif isinstance(item, Conflict):
            state.conflicts.append(item.text)
        else:
            state.remarks.setdefault(item.sentence, _Gathered()).add(item)

    def _submit(self, task: Task) -> None:
        for run in task.runs:
            self._runs.setdefault(run, _Run()).open_tasks += 1
        self._pool.submit(self._guarded, task)

    def _finished(self, runs: tuple[RunRef, ...]) -> Iterator[Event]:
        for run in runs:
            state = self._runs[run]
            state.open_tasks -= 1
            if state.open_tasks:
                continue
            del self._runs[run]
            self._failed.discard(run)
            if state.missing and not state.error and not self._accept_missing:
                state.error = MissingFilesError(str(run.key), state.missing)
            if state.error:
                yield RunFailed(run, state.error)
            else:
                yield RunDone(
                    run,
                    missing_files=state.missing,
                    notes=_notes(state),
                    damage=state.damage,
                    conflicts=state.conflicts,
                )

    # The rest runs in worker threads.

    def _guarded(self, task: Task) -> None:
        """An error that belongs to no run ends the reading instead of a thread."""
        try:
            if not self._failed.issuperset(task.runs):
                self._work(task)
            self._emit(_TaskDone(task.runs))
        except _Stopped:
            return
        except BaseException as error:
            self._emit(error)

    def _work(self, task: Task) -> None:
        """Does a task to its end; on a refusal, does its parts, so that it belongs to one run."""
        repeats = 0
        while not task.finished:
            try:
                for item in task.advance():
                    self._emit(item)
                repeats = 0
            except _FATAL:
                raise
            except SourceError as error:
                repeats += 1
                if isinstance(error, IncompleteAnswerError) and repeats <= _REPEATS:
                    continue
                if len(task.runs) == 1 or not task.worth_splitting(error):
                    self._fail(task.runs, error)
                    return
                self._work_apart(task)
                return
            except (MigrationError, OSError, _Stopped):
                raise  # of this machine, not of the run
            except Exception as error:
                if len(task.runs) == 1:
                    log.exception("run %s cannot be read", task.runs[0].key)
                    self._fail(task.runs, UnreadableRunError(str(task.runs[0].key), error))
                    return
                self._work_apart(task)
                return

    def _work_apart(self, task: Task) -> None:
        for part in task.split():
            self._work(part)

    def _fail(self, runs: Sequence[RunRef], error: MigrationError) -> None:
        for run in runs:
            self._emit(RunFailed(run, error))

    def _emit(self, item: Item | _TaskDone | BaseException) -> None:
        """Hands an item to the consumer; gives up when nobody listens any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _Stopped


def _notes(state: _Run) -> list[str]:
    notes = []
    for sentence, gathered in sorted(state.remarks.items()):
        names = gathered.names
        shown = "; ".join(names[:_REMARKS]) + (" …" if len(names) > _REMARKS else "")
        notes.append(sentence.format(count=gathered.count, list=shown))
    if not state.attributes:
        notes.append(NOTHING_SELECTED)
    return notes
