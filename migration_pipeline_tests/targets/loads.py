"""Short words for tests that load."""

from __future__ import annotations

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import LoadResult, LoadSettings, load_runs, plan_load
from migration_pipeline.targets.target import LoadState, Target
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    RunData,
    curve,
    floats,
    param,
    write_run,
)

THREE = DataSet(
    "three",
    tuple(RunData(n, (*curve(f"m/{n}", 30), param(f"p/{n}", "int", 1))) for n in "abc"),
)
"""Runs of which one may be refused by what is in it."""


def write(archive: Archive, run: str, *points: tuple[str, int | None, float | None]) -> RunKey:
    """A run with one series."""
    return write_run(archive, RunData(run, tuple(floats("m/a", points))))


def load(target: Target, archive: Archive, **settings: object) -> list[str]:
    """Plans, loads, verifies; what is wrong, in words."""
    plan = plan_load(target, archive, PROJECT, LoadSettings(**settings))  # type: ignore[arg-type]
    result = load_runs(target, archive, plan.mapping, plan.due)
    return [str(error) for _, error in result.failures] + [
        str(f) for v in result.different for f in v.findings
    ]


def failed(result: LoadResult) -> dict[str, str]:
    """Run → its error, in words."""
    return {key.run: str(error) for key, error in result.failures}


def states(target: Target) -> dict[str, LoadState]:
    """What the target says of the runs of `THREE`."""
    find, mapping = target.find, ProjectMapping()
    return {run.run: find(RunKey(PROJECT, run.run), mapping).state for run in THREE.runs}
