"""Archive → target: which runs are due, their load, their read-back and comparison.

The target is asked, not a record elsewhere: a run is due unless the target says that it is complete
from the same content and with the same step multiplier. One run's failure never stops the others.
Every function can be called again at any time: it then does only what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import MigrationError
from migration_pipeline.targets.target import LoadReport, Loss, ProjectMapping, Target
from migration_pipeline.verify.compare import Verdict

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
        raise NotImplementedError


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
        TargetUnavailableError, TargetRefusedError: the target does not answer or says no.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError
