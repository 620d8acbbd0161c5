"""Short words for tests that load."""

from __future__ import annotations

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.contract.making import PROJECT, RunData, floats, write_run


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
