"""What a load of a project would do at several targets: counted and asked, nothing sent.

Each target that can be asked is asked what it has; one that cannot is planned for as if nothing
were there, which is said. Rows are read once for all targets, and only sums are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.salvage import salvage
from migration_pipeline.errors import DamagedPartError, MigrationError
from migration_pipeline.mapping.forecast import (
    RunForecast,
    View,
    forecast_of_manifest,
    forecast_run,
)
from migration_pipeline.mapping.scan import step_decimals
from migration_pipeline.mapping.steps import check_multiplier
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping
from migration_pipeline.progress import Progress, still
from migration_pipeline.targets.damage import Damage, Handling, look_for_damage
from migration_pipeline.targets.forecast_sums import ProjectForecast, TargetForecast
from migration_pipeline.targets.planning import Comparison, LoadSettings, compare
from migration_pipeline.targets.target import Target, TargetRun


@dataclass(frozen=True)
class Candidate:
    """A target that is planned for.

    Args:
        target: to be asked; None: it is not.
        unasked: why it is not asked.
    """

    name: str
    capabilities: Capabilities
    target: Target | None = None
    unasked: str = ""


COMPLETE = "complete there"
UNASKED = "not asked whether it is there"
DAMAGED = "damaged: a load refuses it"
LEFT_OUT = "damaged: left out"
AS_FAR = "damaged, as far as it can be read"


def forecast_project(
    archive: Archive,
    project: str,
    candidates: Sequence[Candidate],
    settings: LoadSettings,
    progress: Callable[[str], None],
    *,
    handling: Handling = "fail",
    errors: Sequence[Location] = (),
) -> ProjectForecast:
    """Plans a project for all candidates; sends nothing and writes nothing.

    Runs that are complete everywhere are taken from their manifests, all others are read. As in a
    load, the doctor is asked what is damaged when something is to be loaded.

    Args:
        progress: is called with a sentence at least every 10 seconds of work.
        handling: what a load would do with damaged runs.
        errors: neptune-exporter's errors files.

    Raises:
        ConfigError: the configured step multiplier cannot be used.
    """
    if settings.step_multiplier is not None:
        check_multiplier(settings.step_multiplier)
    result = ProjectForecast(project)
    unreadable: list[DamagedPartError] = []
    runs = archive.runs(project, unreadable)
    with still(progress, f"{project}: asking the targets what is there"):
        asked = [_ask(candidate, project, settings, runs) for candidate in candidates]
    result.targets = [forecast for forecast, _ in asked]
    compared = _compare(asked, settings, runs)
    damage = Damage(archive)
    if unreadable or any(against.reasons or against.unreadable for against in compared):
        with still(progress, f"{project}: looking for damage"):
            damage = look_for_damage(archive, project, handling, errors)
    if damage.left_out or damage.loaded:
        unreadable.clear()
        runs = damage.archive.runs(project, unreadable)
        compared = _compare(asked, settings, runs)
    with Progress("plan", len(runs) + len(damage.left_out), progress) as meter:
        for _, run in sorted(runs.items(), key=lambda item: str(item[0])):
            found = _add_run(result, run, compared)
            meter.add(found.points, found.bytes)
            meter.run_done()
        for key, said in damage.left_out.items():
            _add_left_out(result, archive, key, said)
            meter.run_done()
    result.damaged += [(error.path, error.what) for error in unreadable]
    for forecast, against in zip(result.targets, compared, strict=True):
        forecast.close(project, against)
    return result


def _ask(
    candidate: Candidate, project: str, settings: LoadSettings, runs: Collection[RunKey]
) -> tuple[TargetForecast, Mapping[RunKey, TargetRun]]:
    """What is at a target; one that does not answer is planned for as if nothing were there."""
    result = TargetForecast(candidate.name, candidate.capabilities, unasked=candidate.unasked)
    listed: Mapping[RunKey, TargetRun] = {}
    if (target := candidate.target) is not None:
        result.address = target.address
        try:
            if target.has_store():
                listed = target.runs(project, ProjectMapping(name_prefix=settings.name_prefix))
            result.asked = True
        except MigrationError as error:
            result.unasked = str(error)
    result.duplicates = sum(len(run.ids) > 1 for run in listed.values())
    result.foreign = sum(key not in runs for key in listed)
    return result, listed


def _compare(
    asked: Sequence[tuple[TargetForecast, Mapping[RunKey, TargetRun]]],
    settings: LoadSettings,
    runs: Mapping[RunKey, ArchivedRun],
) -> list[Comparison]:
    """What each target lists against the archive; decimals of steps are looked for once."""
    decimals_of = functools.cache(step_decimals)
    return [
        compare(forecast.capabilities, settings, runs, listed, decimals_of=decimals_of)
        for forecast, listed in asked
    ]


def _add_run(
    result: ProjectForecast, run: ArchivedRun, compared: Sequence[Comparison]
) -> RunForecast:
    """Reads a run unless its manifest says all that is needed, and adds it everywhere."""
    pairs = list(zip(result.targets, compared, strict=True))
    views = [
        View(forecast.name, forecast.capabilities, against.mapping)
        for forecast, against in pairs
        if run.key in against.reasons
    ]
    complete = all(run.key in against.finished for against in compared)
    found = (forecast_of_manifest(run) if complete else None) or forecast_run(run, views)
    at = {}
    for forecast, against in pairs:
        if run.key in against.finished:
            at[forecast.name] = COMPLETE
        elif sending := found.sending.get(forecast.name):
            reason = against.reasons[run.key] if forecast.asked else UNASKED
            at[forecast.name] = forecast.add(found, sending, reason)
            if run.damage:
                at[forecast.name] += f" ({AS_FAR})"
        else:
            at[forecast.name] = DAMAGED
    result.add(found, run.bytes_on_disk, at)
    return found


def _add_left_out(result: ProjectForecast, archive: Archive, key: RunKey, said: str) -> None:
    """A damaged run that a load leaves out, counted as far as it can be read."""
    at = dict.fromkeys((forecast.name for forecast in result.targets), LEFT_OUT)
    run = salvage(archive, key, [said])
    found = forecast_run(run, []) if run else RunForecast(key, damage=said)
    result.add(found, run.bytes_on_disk if run else 0, at)
