"""Archive → target: the load of runs, their read-back and comparison.

One run's failure never stops the others. Every function can be called again at any time: it then
does only what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.layout import digest
from migration_pipeline.errors import (
    DamagedPartError,
    MigrationError,
    TargetError,
    TargetUnavailableError,
    Transient,
    UnknownRunError,
)
from migration_pipeline.mapping.forks import families
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.scan import scan_run
from migration_pipeline.mapping.terms import Loss, ProjectMapping
from migration_pipeline.progress import Progress
from migration_pipeline.targets.planning import (
    LoadPlan,
    LoadSettings,
    parents_of,
    plan_load,
    why_due,
)
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Target, TargetRun
from migration_pipeline.verify.compare import Verdict, compare_run

__all__ = [
    "LoadPlan",
    "LoadResult",
    "LoadSettings",
    "RunLoad",
    "VerifyMode",
    "load_runs",
    "plan_load",
    "verify_runs",
]
log = logging.getLogger(__name__)

VerifyMode = Literal["new", "all", "off"]
"""Which runs are read back and compared: those loaded now and those never verified, all, none."""


@dataclass
class RunLoad:
    """What happened to one run.

    Args:
        report: None when it was already complete, or failed.
        skipped: it was already complete from the same content.
        verdict: None when it was not read back.
        error: why it was not loaded, or could not be read back.
        url: where a person finds it; empty when there is no such page.
        seconds: of load and read-back.
    """

    key: RunKey
    report: LoadReport | None = None
    skipped: bool = False
    verdict: Verdict | None = None
    error: MigrationError | None = None
    url: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """At the target, and equal where it was compared."""
        return self.error is None and (self.verdict is None or self.verdict.equal_to_archive)


@dataclass
class LoadResult:
    """What happened to several runs."""

    runs: list[RunLoad] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def loaded(self) -> list[LoadReport]:
        return [r.report for r in self.runs if r.report]

    @property
    def skipped(self) -> list[RunKey]:
        return [r.key for r in self.runs if r.skipped]

    @property
    def verdicts(self) -> list[Verdict]:
        return [r.verdict for r in self.runs if r.verdict]

    @property
    def failures(self) -> list[tuple[RunKey, MigrationError]]:
        """Runs that were not loaded or could not be read back."""
        return [(r.key, r.error) for r in self.runs if r.error]

    @property
    def different(self) -> list[Verdict]:
        """Runs that were read back and are not what the archive holds."""
        return [v for v in self.verdicts if not v.equal_to_archive]

    @property
    def losses(self) -> list[Loss]:
        return [loss for report in self.loaded for loss in report.losses]


def load_runs(
    target: Target,
    archive: Archive,
    mapping: ProjectMapping,
    keys: Sequence[RunKey],
    *,
    verify: VerifyMode = "new",
    parallel: int | None = None,
    progress: Callable[[str], None] = log.info,
) -> LoadResult:
    """Loads runs of one project and reads them back; complete ones are not sent again.

    Args:
        mapping: `LoadPlan.mapping`.
        keys: of one project; families whole, in any order.
        verify: which runs are read back and compared.
        parallel: families at the same time; None: as the target's capabilities say.
        progress: is called with a sentence at least every 10 seconds of work.

    Returns:
        One `RunLoad` a key, in the order of `keys`. Errors of single runs are in there; if the
        target itself stops answering, the remaining runs carry that error.

    Raises:
        TargetUnavailableError, TargetRefusedError: the target does not answer at all.
    """

    def one(work: _Work, key: RunKey) -> RunLoad:
        return work.load(key, verify)

    return _Work(target, archive, mapping, "load", progress).do(keys, parallel, one)


def verify_runs(
    target: Target,
    archive: Archive,
    mapping: ProjectMapping,
    keys: Sequence[RunKey],
    *,
    share: float = 1.0,
    parallel: int | None = None,
    progress: Callable[[str], None] = log.info,
) -> LoadResult:
    """Reads runs back and compares them, whatever was found before; sends no data.

    Args:
        keys: of one project.
        share: of the runs, 0 to 1; which ones is decided by a digest of their names, so it is the
            same ones every time, and a larger share contains a smaller one.

    Returns:
        One `RunLoad` for each run that was looked at; a run that is not complete at the target has
        a verdict with that as its finding.
    """
    sample = [key for key in keys if int(digest(str(key)), 16) < share * 2**64]

    def one(work: _Work, key: RunKey) -> RunLoad:
        return work.verify(key)

    return _Work(target, archive, mapping, "verify", progress).do(sample, parallel, one)


class _Work:
    """What the threads share while runs of one project are loaded or verified."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        mapping: ProjectMapping,
        action: str,
        progress: Callable[[str], None],
    ) -> None:
        self._target, self._archive, self._mapping = target, archive, mapping
        self._action, self._progress = action, progress
        self._listed: dict[RunKey, TargetRun] = {}
        self._ids: dict[RunKey, str] = {}
        self._parents: dict[RunKey, RunKey | None] = {}
        self._unknown: dict[RunKey | None, str] = {}
        """Runs that failed, and that nobody could look for → why."""
        self._stopped: MigrationError | None = None
        self._lock = threading.Lock()

    def do(
        self,
        keys: Sequence[RunKey],
        parallel: int | None,
        one: Callable[[_Work, RunKey], RunLoad],
    ) -> LoadResult:
        result = LoadResult()
        if not keys:
            return result
        started = time.monotonic()
        done: dict[RunKey, RunLoad] = {}
        with Progress(self._action, len(keys), self._progress) as self._meter:
            self._listed = dict(self._target.runs(keys[0].project, self._mapping))
            self._ids = {key: run.ids[0] for key, run in self._listed.items() if run.ids}
            self._parents = self._parents_of(keys)
            groups = families(keys, self._parents)
            workers = max(1, min(parallel or self._target.capabilities.parallel_runs, len(groups)))
            with ThreadPoolExecutor(workers, thread_name_prefix=self._action) as pool:
                futures = [pool.submit(self._family, group, one) for group in groups]
                try:
                    for future in futures:
                        done.update((load.key, load) for load in future.result())
                except BaseException:
                    self._stopped = TargetError("the load was interrupted")
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        result.runs = [done[key] for key in keys]
        result.seconds = time.monotonic() - started
        return result

    def _parents_of(self, keys: Sequence[RunKey]) -> dict[RunKey, RunKey | None]:
        """Of runs that cannot be read nothing is known here; loading them names them."""
        runs = {}
        for key in keys:
            try:
                if run := self._archive.find(key):
                    runs[key] = run
            except DamagedPartError as error:
                log.debug("%s: %s", key, error)
        return parents_of(runs, self._listed, [])

    def _family(
        self, group: Sequence[RunKey], one: Callable[[_Work, RunKey], RunLoad]
    ) -> list[RunLoad]:
        return [self._guarded(key, one) for key in group]

    def _guarded(self, key: RunKey, one: Callable[[_Work, RunKey], RunLoad]) -> RunLoad:
        """One run; its failure is noted, and ends all only if the target itself is gone."""
        started = time.monotonic()
        if self._stopped is not None:
            self._meter.run_failed()
            return RunLoad(key, error=self._stopped)
        try:
            load = one(self, key)
        except MigrationError as error:
            load = RunLoad(key, error=error)
        except Exception as error:
            # A fault of ours in one run must not cost the others theirs.
            log.exception("%s of run %s failed", self._action, key)
            load = RunLoad(key, error=TargetError(f"run {key}: {type(error).__name__}: {error}"))
        load.seconds = time.monotonic() - started
        if isinstance(load.error, Transient):
            self._stop_if_gone()
        if load.error and self._action == "load":
            self._look_for_parent(key)
        if load.good:
            self._meter.run_done()
        else:
            self._meter.run_failed()
        return load

    def add(self, points: int = 0, size: int = 0) -> None:
        """Counts what was sent; an interrupted load ends here, not when its runs are through."""
        if self._stopped is not None:
            raise self._stopped
        self._meter.add(points, size)

    def _look_for_parent(self, key: RunKey) -> None:
        """A load can fail after its last write; who is forked from that run must know its place.

        Where that cannot be told they wait: complete without their parent, they would stay so.
        """
        if key not in self._parents.values():
            return
        try:
            found = self._target.find(key, self._mapping)
        except Exception as error:
            self._unknown[key] = f"{type(error).__name__}: {error}"
            return
        with self._lock:
            self._ids.pop(key, None)
            if found.ids:
                self._ids[key] = found.ids[0]

    def _stop_if_gone(self) -> None:
        try:
            self._target.check()
        except MigrationError as error:
            self._stopped = error

    def load(self, key: RunKey, verify: VerifyMode) -> RunLoad:
        run = self._run(key)
        known = self._listed.get(key)
        if not why_due(run, known, self._mapping) and known is not None:
            load = RunLoad(key, skipped=True, url=known.url)
            if verify == "all" or (verify == "new" and not known.verified):
                self._compare(run, known, load)
            return load
        parent = self._parents.get(key)
        if parent in self._unknown:
            raise TargetUnavailableError(
                self._target.name,
                self._target.address,
                f"run {key} was not begun, for whether {parent} is there, which it was forked "
                f"from, could not be told: {self._unknown[parent]}",
            )
        scan = scan_run(run, self._target.capabilities, self._mapping)
        kin = Kin(
            self._ids.get(parent, "") if parent else "",
            tuple(
                self._ids[child]
                for child in self._listed
                if self._parents.get(child) == key and child in self._ids
            ),
        )
        report = self._target.load(scan, self._mapping, kin, self)
        with self._lock:
            self._ids[key] = report.id
        load = RunLoad(key, report=report, url=report.url)
        if verify != "off":
            self._compare(run, self._target.find(key, self._mapping), load)
        return load

    def verify(self, key: RunKey) -> RunLoad:
        known = self._listed.get(key) or TargetRun(LoadState.ABSENT)
        load = RunLoad(key, url=known.url)
        self._compare(self._run(key), known, load)
        return load

    def _run(self, key: RunKey) -> ArchivedRun:
        run = self._archive.find(key)
        if run is None:
            raise UnknownRunError(str(key), str(self._archive.data))
        return run

    def _compare(self, run: ArchivedRun, known: TargetRun, load: RunLoad) -> None:
        """Reads back, compares, notes the verdict at the target."""
        losses: Sequence[Loss] = load.report.losses if load.report else ()
        try:
            can = self._target.capabilities
            if load.report is None and (can.files == "no" or can.files_per_run is not None):
                # What is kept nowhere explains differences, so it must be known here as well.
                losses = series_losses(scan_run(run, self._target.capabilities, self._mapping))
            load.verdict = compare_run(
                run, self._target, self._mapping, known, losses, self._verify_meter
            )
            if known.state is LoadState.COMPLETE:
                self._target.mark_verified(run.key, self._mapping, load.verdict.equal_to_archive)
        except MigrationError as error:
            load.error = error

    @property
    def _verify_meter(self) -> Progress | None:
        """Rows that are read back count as progress only where nothing is sent."""
        return self._meter if self._action == "verify" else None
