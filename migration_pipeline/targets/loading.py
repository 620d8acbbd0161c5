"""Archive → target: which runs are due, their load, their read-back and comparison.

The target is asked, not a record elsewhere: a run is due unless the target says that it is complete
from the same content and with the same step multiplier. One run's failure never stops the others.
Every function can be called again at any time: it then does only what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.layout import digest
from migration_pipeline.errors import (
    DamagedPartError,
    MigrationError,
    TargetError,
    Transient,
    UnknownRunError,
)
from migration_pipeline.mapping.facts import FactsReader
from migration_pipeline.mapping.forks import families
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.scan import fingerprint, scan_run, step_decimals
from migration_pipeline.mapping.steps import check_multiplier, multiplier_for
from migration_pipeline.mapping.terms import Loss, ProjectMapping
from migration_pipeline.progress import Progress
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Target, TargetRun
from migration_pipeline.verify.compare import Verdict, compare_run

log = logging.getLogger(__name__)

VerifyMode = Literal["new", "all", "off"]
"""Which runs are read back and compared: those loaded now and those never verified, all, none."""


@dataclass(frozen=True)
class LoadSettings:
    """What a user may say about a load.

    Args:
        name_prefix: put before the names of experiments or projects at the target.
        step_multiplier: whole steps = steps × this; None: the smallest power of ten that makes
            every float step of the project whole.
        parallel: runs at the same time; None: as the target's capabilities say.
    """

    name_prefix: str = ""
    step_multiplier: int | None = None
    parallel: int | None = None


@dataclass(frozen=True)
class LoadPlan:
    """What is to be done for one project at one target; nothing was sent yet.

    Args:
        mapping: decisions that hold for all runs of the project; `load_runs` takes them.
        families: due runs; those of one tuple are one fork family, parents first, and belong
            into one chunk. Runs that are no forks are families of one.
        reasons: due run → why, in a few words.
        complete: at the target with the same content and multiplier.
        unverified: of those complete, the ones whose read-back was not yet found equal.
        unreadable: (run or part's path, what is wrong): not in any other list.
        duplicates: run → the target's ids, where there are several.
        foreign: at the target but not in the archive.
    """

    target: str
    address: str
    project: str
    mapping: ProjectMapping
    families: list[tuple[RunKey, ...]]
    reasons: dict[RunKey, str]
    complete: list[RunKey]
    unverified: list[RunKey]
    unreadable: list[tuple[str, MigrationError]]
    duplicates: dict[RunKey, tuple[str, ...]]
    foreign: list[RunKey]

    @property
    def due(self) -> list[RunKey]:
        """All due runs, family by family."""
        return [key for family in self.families for key in family]

    def chunks(self, most: int = 200) -> list[list[RunKey]]:
        """Due runs in at most `most` lists of similar length; families stay together."""
        size = max(-(-len(self.due) // max(most, 1)), 1)
        chunks: list[list[RunKey]] = []
        for family in self.families:
            if not chunks or (len(chunks[-1]) >= size and len(chunks) < most):
                chunks.append([])
            chunks[-1].extend(family)
        return chunks


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


def plan_load(
    target: Target,
    archive: Archive,
    project: str,
    settings: LoadSettings | None = None,
    keys: Collection[RunKey] | None = None,
) -> LoadPlan:
    """Compares the archive with the target: one bulk listing there, one footer a run here.

    Rows are read only of due runs that another tool archived (their steps and forks stand nowhere
    else).

    Args:
        keys: only these runs; None: all of the project.

    Raises:
        ConfigError: the configured step multiplier cannot be used.
        TargetUnavailableError, TargetRefusedError: the target does not answer or says no.
    """
    settings = settings or LoadSettings()
    if settings.step_multiplier is not None:
        check_multiplier(settings.step_multiplier)
    damaged: list[DamagedPartError] = []
    runs = archive.runs(project, damaged)
    unreadable: list[tuple[str, MigrationError]] = [(error.path, error) for error in damaged]
    listed = target.runs(project, ProjectMapping(name_prefix=settings.name_prefix))
    multiplier = _multiplier(target, settings, runs, listed, unreadable)
    mapping = ProjectMapping(multiplier, settings.name_prefix)
    reasons: dict[RunKey, str] = {}
    complete = []
    for key, run in runs.items():
        if keys is None or key in keys:
            try:
                reason = _due(run, listed.get(key), mapping)
            except DamagedPartError as error:
                unreadable.append((str(key), error))
                continue
            if reason:
                reasons[key] = reason
            else:
                complete.append(key)
    parents = _parents({key: runs[key] for key in reasons}, unreadable)
    due = [key for key in reasons if key in parents]
    return LoadPlan(
        target=target.name,
        address=target.address,
        project=project,
        mapping=mapping,
        families=families(due, parents),
        reasons={key: reasons[key] for key in due},
        complete=complete,
        unverified=[key for key in complete if not listed[key].verified],
        unreadable=unreadable,
        duplicates={key: run.ids for key, run in listed.items() if len(run.ids) > 1},
        foreign=[key for key in listed if key not in runs],
    )


def _multiplier(
    target: Target,
    settings: LoadSettings,
    runs: dict[RunKey, ArchivedRun],
    listed: Mapping[RunKey, TargetRun],
    unreadable: list[tuple[str, MigrationError]],
) -> int:
    """The configured one, or the smallest exact one of the whole project.

    Runs that cannot be read are taken out of `runs` and named.
    """
    if not target.capabilities.integer_steps:
        return 1
    if settings.step_multiplier is not None:
        return settings.step_multiplier
    decimals = 0
    for key, run in list(runs.items()):
        known = listed.get(key)
        try:
            if run.manifest is None and known and known.fingerprint == fingerprint(run):
                decimals = max(decimals, known.step_decimals)
            else:
                decimals = max(decimals, step_decimals(run))
        except DamagedPartError as error:
            unreadable.append((str(key), error))
            del runs[key]
    return multiplier_for(decimals)


def _due(run: ArchivedRun, known: TargetRun | None, mapping: ProjectMapping) -> str:
    """Why a run is to be loaded; empty when it is complete."""
    if known is None or known.state is LoadState.ABSENT:
        return "not there yet"
    if known.state is LoadState.PARTIAL:
        return "begun and not finished"
    if known.step_multiplier != mapping.step_multiplier:
        return f"loaded with step multiplier {known.step_multiplier}, not {mapping.step_multiplier}"
    if run.manifest is not None:
        same = run.manifest.digest == known.digest
    else:
        same = fingerprint(run) == known.fingerprint or run.sums().digest() == known.digest
    return "" if same else "its content changed"


def _parents(
    runs: dict[RunKey, ArchivedRun], unreadable: list[tuple[str, MigrationError]]
) -> dict[RunKey, RunKey | None]:
    """Each run's parent; runs that cannot be read are left out and named."""
    found: dict[RunKey, RunKey | None] = {}
    for key, run in runs.items():
        try:
            parent = run.manifest.parent if run.manifest else _parent_in_rows(run)
        except DamagedPartError as error:
            unreadable.append((str(key), error))
            continue
        found[key] = RunKey(key.project, parent, key.kind) if parent else None
    return found


def _parent_in_rows(run: ArchivedRun) -> str:
    reader = FactsReader()
    for batch in run.batches(types=("string",)):
        reader.update(batch)
    return reader.facts(run.key).parent


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
        self._listed = dict(self._target.runs(keys[0].project, self._mapping))
        self._ids = {key: run.ids[0] for key, run in self._listed.items() if run.ids}
        groups = families(keys, self._parents_of(keys))
        done: dict[RunKey, RunLoad] = {}
        workers = max(1, min(parallel or self._target.capabilities.parallel_runs, len(groups)))
        with (
            Progress(self._action, len(keys), self._progress) as self._meter,
            ThreadPoolExecutor(workers, thread_name_prefix=self._action) as pool,
        ):
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
        return _parents(runs, [])

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
        if load.good:
            self._meter.run_done()
        else:
            self._meter.run_failed()
        return load

    def _stop_if_gone(self) -> None:
        try:
            self._target.check()
        except MigrationError as error:
            self._stopped = error

    def load(self, key: RunKey, verify: VerifyMode) -> RunLoad:
        run = self._run(key)
        known = self._listed.get(key)
        if not _due(run, known, self._mapping) and known is not None:
            load = RunLoad(key, skipped=True, url=known.url)
            if verify == "all" or (verify == "new" and not known.verified):
                self._compare(run, known, load)
            return load
        scan = scan_run(run, self._target.capabilities, self._mapping)
        parent = RunKey(key.project, scan.facts.parent, key.kind)
        kin = Kin(
            self._ids.get(parent, "") if scan.facts.parent else "",
            tuple(
                self._ids[child]
                for child, other in self._listed.items()
                if other.parent == key.run and child != key
            ),
        )
        report = self._target.load(scan, self._mapping, kin, self._meter)
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
            if load.report is None and self._target.capabilities.files == "no":
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
