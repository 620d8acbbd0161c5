"""Sums of what a load would do: a project, and each target of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.forecast import RunForecast, Sending
from migration_pipeline.mapping.terms import Capabilities, Rate
from migration_pipeline.targets.planning import Comparison

MOST_NAMES = 100_000
"""Names that a sum keeps apart; what comes after is counted without them."""


@dataclass
class Tally:
    """Sums by name."""

    sums: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    nameless: list[int] = field(default_factory=lambda: [0, 0])
    """(runs, values) of the names that are not kept apart."""

    def add(self, name: tuple[str, ...], values: int) -> None:
        """One more run in which this name has so many values."""
        if name in self.sums or len(self.sums) < MOST_NAMES:
            entry = self.sums.setdefault(name, [0, 0])
        else:
            entry = self.nameless
        entry[0] += 1
        entry[1] += values

    def rows(self) -> list[tuple[tuple[str, ...], int, int]]:
        """(name, runs, values), by name."""
        return [(name, runs, values) for name, (runs, values) in sorted(self.sums.items())]

    @property
    def values(self) -> int:
        """Of all names."""
        return sum(values for _, values in self.sums.values()) + self.nameless[1]


@dataclass(frozen=True)
class Estimate:
    """How long an amount takes at a rate."""

    rate: Rate
    amount: int
    seconds: float


@dataclass
class TargetForecast:
    """What a load of one project would do at one target.

    Args:
        asked: what is there was asked for, so that `complete` and `reasons` hold.
        unasked: why it was not.
        step_multiplier: that the load would use.
        complete: there already, from the same content and with the same multiplier.
        reasons: why runs are to be loaded → how many.
        runs, attributes, points, files, bytes: what the load would report of the runs that it
            would send.
        losses: (attribute, reason, where it is kept) → runs, values.
        renames: (attribute, name there) → runs.
        refused: (run, why) where the load would send nothing.
        beyond: (what, limit, found, where) of limits that are exceeded.
        sent: amounts that rates count: float points, parameters, uploads.
        requests: by what they carry.
    """

    name: str
    capabilities: Capabilities
    asked: bool = False
    unasked: str = ""
    address: str = ""
    step_multiplier: int = 1
    complete: int = 0
    duplicates: int = 0
    foreign: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    attributes: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    losses: Tally = field(default_factory=Tally)
    renames: Tally = field(default_factory=Tally)
    refused: list[tuple[str, str]] = field(default_factory=list)
    beyond: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(
        default_factory=lambda: Counter({"points": 0, "parameters": 0, "files": 0})
    )

    def add(self, run: RunForecast, sending: Sending, reason: str) -> str:
        """One run that a load would take up, and why; returns what would become of it."""
        if sending.refused is not None:
            self.refused.append((str(run.key), str(sending.refused)))
            return f"refused: {sending.refused}"
        self.reasons[reason] += 1
        self.runs += 1
        self.attributes += run.attributes
        self.points += run.points
        self.files += run.files
        self.bytes += run.bytes
        losses = Counter[tuple[str, str, str]]()
        for loss in sending.losses:
            losses[loss.attribute, loss.reason, loss.kept] += loss.count
        for key, values in losses.items():
            self.losses.add(key, values)
        for attribute, name in sending.renames.items():
            self.renames.add((attribute, name), 1)
        self.requests.update(sending.requests(self.capabilities))
        self.sent.update(points=sending.points, parameters=sending.parameters)
        self.sent.update(files=sending.uploads)
        can = self.capabilities
        self._limit("metrics of a run", can.series_per_run, sending.series, str(run.key))
        self._limit("parameters of a run", can.parameters_per_run, sending.parameters, str(run.key))
        return reason

    def _limit(self, what: str, most: int | None, there: int, where: str) -> None:
        if most is not None and there > max(most, self.beyond.get(what, (0, 0, ""))[1]):
            self.beyond[what] = (most, there, where)

    def close(self, project: str, against: Comparison) -> None:
        """After all runs: what holds for the project as a whole."""
        self.step_multiplier = against.mapping.step_multiplier
        self.complete = len(against.complete)
        most = self.capabilities.runs_per_project
        self._limit("runs of a project", most, self.runs + self.complete, project)

    def estimates(self) -> list[Estimate]:
        """How long the load takes by each rate that is known; empty: none is.

        Rates count by themselves, so the longest rules.
        """
        can = self.capabilities
        rates = [*can.rates, *([can.measured] if can.measured else [])]
        return [
            Estimate(rate, amount := self.sent[rate.what], amount * rate.seconds / rate.count)
            for rate in rates
        ]


@dataclass(frozen=True)
class RunLine:
    """One run in a plan: `at` says for each target what would become of it there."""

    key: RunKey
    attributes: int
    points: int
    files: int
    bytes: int
    damage: str
    at: Mapping[str, str]


@dataclass
class ProjectForecast:
    """What the archive holds of a project, and what a load of it would do.

    Args:
        kinds: kind → runs, damaged ones included.
        types: attribute type → attributes, rows.
        steps: float series with steps that are not whole → decimals of its finest step, runs.
        damaged: (run or part, what is wrong): counted as far as it can be read.
        runs: one entry a run: figures, and what each target would do with it.
    """

    project: str
    kinds: Counter[str] = field(default_factory=Counter)
    attributes: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    parquet_bytes: int = 0
    types: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    targets: list[TargetForecast] = field(default_factory=list)
    runs: list[RunLine] = field(default_factory=list)

    def add(self, run: RunForecast, parquet_bytes: int, at: Mapping[str, str]) -> None:
        """One run; `at` as in `RunLine`."""
        self.kinds[run.key.kind] += 1
        self.attributes += run.attributes
        self.points += run.points
        self.files += run.files
        self.bytes += run.bytes
        for kind, (attributes, rows) in run.types.items():
            before = self.types.get(kind, (0, 0))
            self.types[kind] = (before[0] + attributes, before[1] + rows)
        for path, decimals in run.decimals.items():
            if path in self.steps or len(self.steps) < MOST_NAMES:
                before = self.steps.get(path, (0, 0))
                self.steps[path] = (max(before[0], decimals), before[1] + 1)
        if run.damage:
            self.damaged.append((str(run.key), run.damage))
        self.parquet_bytes += parquet_bytes
        line = RunLine(run.key, run.attributes, run.points, run.files, run.bytes, run.damage, at)
        self.runs.append(line)
