"""What a load of one run would send to each of several targets, from one reading of the archive.

The code that decides here is the code that decides in a load, so that a plan says what the load
then does. A run that is damaged is counted as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from migration_pipeline.archive.archive import ArchivedRun, RunKey
from migration_pipeline.archive.location import files_below
from migration_pipeline.archive.reader import read_parts
from migration_pipeline.errors import DamagedPartError, MigrationError
from migration_pipeline.mapping import steps
from migration_pipeline.mapping.facts import FactsReader
from migration_pipeline.mapping.keys import key_names, renames
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.parameters import ParameterMapper
from migration_pipeline.mapping.scan import Cut, FileRow, RunScan, check_file
from migration_pipeline.mapping.terms import Capabilities, Loss, ProjectMapping


@dataclass(frozen=True)
class View:
    """One target, as a mapping needs to know it."""

    target: str
    capabilities: Capabilities
    mapping: ProjectMapping


@dataclass
class Sending:
    """What a load of one run would send to one target.

    Args:
        points: of float series; what the target holds already as an equal point is not sent.
        uploads: files, those of directories one by one, and series that are held as files.
        refused: why nothing of the run would be sent.
    """

    losses: list[Loss] = field(default_factory=list)
    renames: dict[str, str] = field(default_factory=dict)
    series: int = 0
    points: int = 0
    parameters: int = 0
    uploads: int = 0
    refused: MigrationError | None = None

    def requests(self, can: Capabilities) -> dict[str, int]:
        """Requests by what they carry; files as if each had its own."""
        return {
            "points": -(-self.points // can.points_per_request),
            "parameters": -(-self.parameters // can.parameters_per_request),
            "files": self.uploads,
        }


@dataclass
class RunForecast:
    """One run: what the archive holds, and what each target would get.

    Args:
        points: of series of every type, `LoadReport.points`.
        bytes: of files.
        decimals: float series → decimals of its finest step, where it has some.
        damage: what is wrong with the run; empty: nothing that reading it shows.
        sending: target → what it would get; empty for a run that no load gets through.
    """

    key: RunKey
    attributes: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    types: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Attribute type → attributes, rows."""
    decimals: dict[str, int] = field(default_factory=dict)
    damage: str = ""
    sending: dict[str, Sending] = field(default_factory=dict)


def forecast_of_manifest(run: ArchivedRun) -> RunForecast | None:
    """What is announced, without reading; None: the run has no manifest."""
    manifest = run.manifest
    if manifest is None:
        return None
    types = {name: (count.attributes, count.rows) for name, count in manifest.types.items()}
    return RunForecast(
        run.key, manifest.attributes, manifest.points, len(manifest.files), manifest.bytes, types
    )


def forecast_run(run: ArchivedRun, views: Sequence[View]) -> RunForecast:
    """Reads a run once, and what is disordered in it once more for each target that must know.

    No row and no list of files is held; the names of its attributes are. A salvaged run
    (`archive.salvage`) has what is left of it; any other that is damaged is counted and not sent.
    """
    found = RunForecast(run.key)
    manifest = run.manifest
    drafts = [_Draft(RunScan(run, view.mapping, view.capabilities)) for view in views]
    sizes = {f.path: f.size for f in manifest.files} if manifest else {}
    facts, uploads = FactsReader(), 0
    names: dict[tuple[str, str], int] = {}
    for cut in _readable(run, found):
        facts.update(cut.batch)
        for attribute, rows in cut.counts:
            names[attribute] = names.get(attribute, 0) + rows
        for path, points in cut.series():
            known = found.decimals.get(path, 0)
            if decimals := steps.decimals_of(points.micros, known):
                found.decimals[path] = decimals
        for row in cut.files():
            uploads += _count_file(run, row, sizes, found)
        for draft in drafts:
            draft.take(cut)
    _count_types(found, names)
    whole, found.damage = not found.damage, found.damage or "; ".join(run.damage)
    if whole:
        of_run = facts.facts(run.key, manifest.parent if manifest else None)
        for view, draft in zip(views, drafts, strict=True):
            draft.scan.facts = of_run
            found.sending[view.target] = draft.finish(uploads)
    return found


def _readable(run: ArchivedRun, found: RunForecast) -> Iterator[Cut]:
    """All rows that can be read; the first fault is noted, and the next part is tried."""
    if run.damage:
        yield from map(Cut, run.batches())
        return
    generation = run.manifest.generation if run.manifest else ""
    for part in run.parts:
        try:
            for batch in read_parts([part], generation=generation):
                yield Cut(batch)
        except DamagedPartError as error:
            found.damage = found.damage or error.what


def _count_file(
    run: ArchivedRun, row: FileRow, sizes: Mapping[str, int], found: RunForecast
) -> int:
    """Counts a file and its bytes; returns how many uploads it takes."""
    if row.path is None:
        return 0
    found.files += 1
    try:
        size = check_file(run, row.path, sizes)
    except DamagedPartError as error:
        found.damage = found.damage or error.what
        return 0
    file = run.file(row.path)
    if not file.is_dir():
        found.bytes += size
        return 1
    inside = [(file / child).stat().st_size for child in files_below(file)]
    found.bytes += sum(inside)
    return len(inside)


def _count_types(found: RunForecast, names: Mapping[tuple[str, str], int]) -> None:
    for (_, kind), rows in sorted(names.items()):
        attributes, before = found.types.get(kind, (0, 0))
        found.types[kind] = (attributes + 1, before + rows)
    found.attributes = len(names)
    found.points = sum(rows for kind, (_, rows) in found.types.items() if kind.endswith("_series"))


class _Draft:
    """What is learnt for one target while a run is read."""

    def __init__(self, scan: RunScan) -> None:
        self.scan = scan
        self._parameters = ParameterMapper(scan.capabilities)
        self._made = Sending()

    def take(self, cut: Cut) -> None:
        made = self._made
        if made.refused:
            return
        try:
            self.scan.count(cut)
        except MigrationError as error:
            made.refused = error
            return
        for path, kind, values in cut.parameters():
            for value in values:
                shown, reason = self._parameters.shown(path, kind, value)
                made.parameters += shown is not None
                made.losses += self._parameters.losses(path, reason, value)

    def finish(self, uploads: int) -> Sending:
        scan, made = self.scan, self._made
        can = scan.capabilities
        try:
            if not made.refused:
                scan.look_again()
        except MigrationError as error:
            made.refused = error
        if made.refused:
            return Sending(refused=made.refused)
        made.losses = series_losses(scan) + made.losses
        made.renames = renames(key_names(scan.attributes, can))
        made.series = len(scan.series)
        made.points = sum(
            series.rows - (0 if can.repeated_points else series.repeats)
            for series in scan.series.values()
        )
        made.uploads = 0 if can.files == "no" else uploads
        for kind, how in (
            ("string_series", can.string_series),
            ("histogram_series", can.histogram_series),
        ):
            made.uploads += len(scan.of_types([kind])) if how == "file" else 0
        return made
