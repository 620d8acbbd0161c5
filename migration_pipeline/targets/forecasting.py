"""What a load of a project would do at several targets: counted and asked, nothing sent.

Each target that can be asked is asked what it has; one that cannot is planned for as if nothing
were there, which is said. Rows are read once for all targets, and only sums are kept.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.reader import read_first_value
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
from migration_pipeline.progress import Progress
from migration_pipeline.targets.forecast_sums import ProjectForecast, TargetForecast
from migration_pipeline.targets.planning import Comparison, LoadSettings, compare
from migration_pipeline.targets.target import Target, TargetRun


@dataclass(frozen=True)
class Candidate:
    """A target that is planned for.

    Args:
        target: to be asked; None: it is not.
        unasked: why it is not asked.
        loadable: runs can be loaded into it; false where only its limits are known.
    """

    name: str
    capabilities: Capabilities
    target: Target | None = None
    unasked: str = ""
    loadable: bool = True


COMPLETE, DAMAGED = "complete there", "damaged: a load refuses it"
UNASKED = "not asked whether it is there"


def forecast_project(
    archive: Archive,
    project: str,
    candidates: Sequence[Candidate],
    settings: LoadSettings,
    progress: Callable[[str], None],
) -> ProjectForecast:
    """Plans a project for all candidates; sends nothing and writes nothing.

    Runs that are complete everywhere are taken from their manifests, all others are read.

    Args:
        progress: is called with a sentence at least every 10 seconds of work.

    Raises:
        ConfigError: the configured step multiplier cannot be used.
    """
    if settings.step_multiplier is not None:
        check_multiplier(settings.step_multiplier)
    errors: list[DamagedPartError] = []
    runs = archive.runs(project, errors)
    decimals_of = functools.cache(step_decimals)
    result = ProjectForecast(project)
    compared: list[Comparison] = []
    for candidate in candidates:
        forecast, listed = _ask(candidate, project, settings, runs)
        against = compare(candidate.capabilities, settings, runs, listed, decimals_of=decimals_of)
        forecast.step_multiplier = against.mapping.step_multiplier
        forecast.complete = len(against.complete)
        result.targets.append(forecast)
        compared.append(against)
    with Progress("plan", len(runs) + len(errors), progress) as meter:
        for _, run in sorted(runs.items(), key=lambda item: str(item[0])):
            found = _add_run(result, run, compared)
            meter.add(found.points, found.bytes)
            if found.damage:
                meter.run_failed()
            else:
                meter.run_done()
        for error in errors:
            _add_remains(result, archive, error)
            meter.run_failed()
    for forecast in result.targets:
        forecast.close(project)
    return result


def _ask(
    candidate: Candidate, project: str, settings: LoadSettings, runs: Collection[RunKey]
) -> tuple[TargetForecast, Mapping[RunKey, TargetRun]]:
    """What is at a target; one that does not answer is planned for as if nothing were there."""
    result = TargetForecast(
        candidate.name, candidate.capabilities, candidate.loadable, unasked=candidate.unasked
    )
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
        else:
            at[forecast.name] = DAMAGED
    result.add(found, run.bytes_on_disk, at)
    return found


def _add_remains(result: ProjectForecast, archive: Archive, error: DamagedPartError) -> None:
    """A run that cannot be opened, counted as far as the parts that are there can be read."""
    at = dict.fromkeys((forecast.name for forecast in result.targets), DAMAGED)
    run = _remains(archive, result.project, Path(error.path))
    found = forecast_run(run, [])
    found.damage = error.what
    result.add(found, run.bytes_on_disk, at)


def _remains(archive: Archive, project: str, part: Path) -> ArchivedRun:
    """What is left of the run that a part belongs to; its id is the stem of its parts where no part
    tells it."""
    (place,) = (p for p in archive.places(project) if p.directory == part.parent)
    parsed = layout.parse_part_name(part.name)
    assert parsed
    stem, parts = parsed[0], []
    for other in part.parent.iterdir():
        name = layout.parse_part_name(other.name)
        if name and name[0] == stem:
            parts.append((name[1], other))
    run = stem
    for _, other in sorted(parts):
        with contextlib.suppress(DamagedPartError):
            run = str(read_first_value(other, "run_id"))
            break
    key = RunKey(project, run, place.kind)
    return ArchivedRun(key, tuple(p for _, p in sorted(parts)), place.files_root)
