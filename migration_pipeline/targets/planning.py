"""Which runs of a project are due at a target, with which multiplier, and which belong together.

The target is asked, not a record elsewhere: a run is due unless the target says that it is complete
from the same content and with the same step multiplier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.errors import DamagedPartError, MigrationError
from migration_pipeline.mapping.facts import FactsReader
from migration_pipeline.mapping.forks import families, without_cycles
from migration_pipeline.mapping.scan import fingerprint, step_decimals
from migration_pipeline.mapping.steps import check_multiplier, multiplier_for
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.targets.target import Capabilities, LoadState, Target, TargetRun


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
        urls: complete run → its page at the target, where there is one.
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
    urls: dict[RunKey, str]

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
    listed = target.runs(project, ProjectMapping(name_prefix=settings.name_prefix))
    found = compare(target.capabilities, settings, runs, listed, keys)
    parents = parents_of({key: runs[key] for key in found.reasons}, listed, found.unreadable)
    due = [key for key in found.reasons if key in parents]
    return LoadPlan(
        target=target.name,
        address=target.address,
        project=project,
        mapping=found.mapping,
        families=families(due, parents),
        reasons={key: found.reasons[key] for key in due},
        complete=found.complete,
        unverified=[key for key in found.complete if not listed[key].verified],
        unreadable=[*((error.path, error) for error in damaged), *found.unreadable],
        duplicates={key: run.ids for key, run in listed.items() if len(run.ids) > 1},
        foreign=[key for key in listed if key not in runs],
        urls={key: url for key in found.complete if (url := listed[key].url)},
    )


@dataclass(frozen=True)
class Comparison:
    """What a target lists against what the archive holds.

    Args:
        mapping, reasons, complete, unreadable: as in `LoadPlan`.
    """

    mapping: ProjectMapping
    reasons: dict[RunKey, str]
    complete: list[RunKey]
    unreadable: list[tuple[str, MigrationError]]

    @cached_property
    def finished(self) -> frozenset[RunKey]:
        return frozenset(self.complete)


def compare(
    capabilities: Capabilities,
    settings: LoadSettings,
    archived: Mapping[RunKey, ArchivedRun],
    listed: Mapping[RunKey, TargetRun],
    keys: Collection[RunKey] | None = None,
    decimals_of: Callable[[ArchivedRun], int] = step_decimals,
) -> Comparison:
    """Decides the mapping of a project, and which of its runs are due.

    Args:
        archived: all runs of the project.
        listed: what is at the target; nothing, for one that was not asked.
        keys: only these runs are due or complete; None: all.
        decimals_of: what else knows the decimals of a run's steps.
    """
    runs = dict(sorted(archived.items(), key=lambda item: str(item[0])))
    unreadable: list[tuple[str, MigrationError]] = []
    multiplier = _multiplier(capabilities, settings, runs, listed, unreadable, decimals_of)
    found = Comparison(ProjectMapping(multiplier, settings.name_prefix), {}, [], unreadable)
    for key, run in runs.items():
        if keys is None or key in keys:
            try:
                reason = why_due(run, listed.get(key), found.mapping)
            except DamagedPartError as error:
                unreadable.append((str(key), error))
                continue
            if reason:
                found.reasons[key] = reason
            else:
                found.complete.append(key)
    return found


def _multiplier(
    capabilities: Capabilities,
    settings: LoadSettings,
    runs: dict[RunKey, ArchivedRun],
    listed: Mapping[RunKey, TargetRun],
    unreadable: list[tuple[str, MigrationError]],
    decimals_of: Callable[[ArchivedRun], int],
) -> int:
    """The configured one, or the smallest exact one of the whole project.

    Runs that cannot be read are taken out of `runs` and named.
    """
    if not capabilities.integer_steps:
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
                decimals = max(decimals, decimals_of(run))
        except DamagedPartError as error:
            unreadable.append((str(key), error))
            del runs[key]
    return multiplier_for(decimals)


def why_due(run: ArchivedRun, known: TargetRun | None, mapping: ProjectMapping) -> str:
    """Why a run is to be loaded; empty when it is complete."""
    if known is None or known.state is LoadState.ABSENT:
        return "not there yet"
    if known.state is LoadState.PARTIAL:
        return "begun and not finished"
    if known.step_multiplier != mapping.step_multiplier:
        return f"loaded with step multiplier {known.step_multiplier}, not {mapping.step_multiplier}"
    if known.damaged != bool(run.damage):
        return "it is damaged now" if run.damage else "it is not damaged any more"
    if run.manifest is not None:
        same = run.manifest.digest == known.digest
    else:
        same = fingerprint(run) == known.fingerprint or run.sums().digest() == known.digest
    return "" if same else "its content changed"


def parents_of(
    runs: Mapping[RunKey, ArchivedRun],
    listed: Mapping[RunKey, TargetRun],
    unreadable: list[tuple[str, MigrationError]],
) -> dict[RunKey, RunKey | None]:
    """The parent of each run that is in the archive or listed; runs that cannot be read are left
    out and named."""
    facts: dict[RunKey, RunFacts] = {}
    for key, run in runs.items():
        try:
            facts[key] = _descent(run)
        except DamagedPartError as error:
            unreadable.append((str(key), error))
    by_sys_id = {(known.sys_id, key.kind): key for key, known in listed.items() if known.sys_id}
    by_sys_id |= {(f.sys_id, key.kind): key for key, f in facts.items() if f.sys_id}
    named = {key: known.parent for key, known in listed.items() if key not in runs}
    named |= {key: f.parent for key, f in facts.items()}
    known = runs.keys() | listed.keys()
    return without_cycles(
        {key: _resolve(key, parent, known, by_sys_id) for key, parent in named.items()}
    )


def _resolve(
    key: RunKey,
    parent: str,
    known: Collection[RunKey],
    by_sys_id: Mapping[tuple[str, Kind], RunKey],
) -> RunKey | None:
    """The parent's key: archives name it by run id or by sys/id."""
    named = RunKey(key.project, parent, key.kind)
    if not parent or named in known:
        return named if parent else None
    return by_sys_id.get((parent, key.kind), named)


def _descent(run: ArchivedRun) -> RunFacts:
    """Parent and sys/id: from the manifest, else from the rows."""
    manifest = run.manifest
    if manifest is not None:
        return RunFacts(run.key.run, parent=manifest.parent or "", sys_id=manifest.sys_id or "")
    reader = FactsReader()
    for batch in run.batches(types=("string",)):
        reader.update(batch)
    return reader.facts(run.key)
