"""What the benchmarks of services share: an archive of one run, loads in turns with the vendor's
own way, and a read-back that has to say something."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.benchmarks.mlflow_load import PARAMETERS, POINTS, SERIES, write_run

Way = Callable[[int], float]
"""Sends the same data another way; the number of the round → seconds."""
OURS = "ours"


@dataclass(frozen=True)
class Taken:
    """Seconds of one load: of the clock, and of the processor in this process and its children that
    have ended, which depend less on what else the machine does."""

    clock: float
    processor: float


def archive_of_one(folder: Path) -> Archive:
    """One run of 20 series of 5,000 points and 200 parameters: `mlflow_load.points_of`."""
    archive = Archive(folder / "data", folder / "files")
    write_run(archive, "one", SERIES, POINTS, PARAMETERS)
    return archive


def ours(target: Target, archive: Archive, prefix: str) -> float:
    """Seconds of a load."""
    mapping, keys = ProjectMapping(name_prefix=prefix), _keys(archive)
    started = time.perf_counter()
    result = load_runs(target, archive, mapping, keys, verify="off")
    taken = time.perf_counter() - started
    assert not result.failures, result.failures
    assert len(result.loaded) == len(keys)
    return taken


def verify(target: Target, archive: Archive, prefix: str) -> float:
    """Seconds of reading back and comparing: the step, time and bits of every point."""
    mapping, keys = ProjectMapping(name_prefix=prefix), _keys(archive)
    started = time.perf_counter()
    result = load_runs(target, archive, mapping, keys, verify="all")
    taken = time.perf_counter() - started
    assert len(result.verdicts) == len(keys)
    assert all(verdict.equal_to_archive for verdict in result.verdicts), result.different
    return taken


def in_turns(
    target: Target,
    archive: Archive,
    ways: Mapping[str, Way],
    rounds: int,
    prefix: str = "round-",
) -> dict[str, list[Taken]]:
    """Loads so many times each way and ours, in turns, each time anew; reads the last of ours back;
    prints all of it.

    Args:
        prefix: of the names that our loads get, with the number of the round.
    """
    every = {**ways, OURS: lambda number: ours(target, archive, f"{prefix}{number}")}
    taken: dict[str, list[Taken]] = {how: [] for how in every}
    for number in range(rounds):
        for how, load in every.items():
            before = sum(os.times()[:4])
            clock = load(number)
            taken[how].append(Taken(clock, sum(os.times()[:4]) - before))
        said = [f"{how} {some[-1].clock:.2f} s" for how, some in taken.items()]
        print(", ".join(said), flush=True)
    back = verify(target, archive, f"{prefix}{rounds - 1}")
    points, medians = SERIES * POINTS, {how: _median(some) for how, some in taken.items()}
    rates = [f"{how} {m:.2f} s ({points / m:,.0f} points/s)" for how, m in medians.items()]
    times = [f"{medians[how] / medians[OURS]:.1f} times {how}" for how in ways]
    print(
        f"medians of {rounds}: {', '.join(rates)}: {', '.join(times)}; read back and compared in "
        f"{back:.2f} s; load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return taken


def _median(taken: list[Taken]) -> float:
    return statistics.median(one.clock for one in taken)


def _keys(archive: Archive) -> list[RunKey]:
    return [key for project in archive.projects() for key in archive.runs(project)]
