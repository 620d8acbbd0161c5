"""The contract: every target carries every data set, its read-back finds nothing, and what it
does not hold as it is was named before.

A new target joins by a line in `backends.BACKENDS`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.forecast import View, forecast_run
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.targets.loading import LoadResult, load_runs, plan_load
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.contract.backends import BACKENDS, Backend
from migration_pipeline_tests.contract.datasets import ALL_DATASETS, DataSet, build


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


def load_all(target: Target, archive: Archive) -> list[LoadResult]:
    results = []
    for project in archive.projects():
        plan = plan_load(target, archive, project)
        assert not plan.unreadable
        results.append(load_runs(target, archive, plan.mapping, plan.due))
    return results


def complaints(results: list[LoadResult]) -> list[str]:
    """Everything that is not as it should be, in words."""
    return [
        f"{run.key}: {run.error or [str(f) for f in run.verdict.findings]}"
        for result in results
        for run in result.runs
        if run.error or (run.verdict and not run.verdict.equal_to_archive)
    ]


def named_beforehand(
    target: Target, archive: Archive
) -> dict[RunKey, tuple[list[Loss], dict[str, str]]]:
    """Run → losses and renames, as a plan says them from capabilities."""
    found = {}
    for project in archive.projects():
        mapping = plan_load(target, archive, project).mapping
        view = View(target.name, target.capabilities, mapping)
        for key, run in archive.runs(project).items():
            sending = forecast_run(run, [view]).sending[target.name]
            assert sending.refused is None
            found[key] = (sorted(sending.losses, key=repr), sending.renames)
    return found


@pytest.mark.parametrize("dataset", ALL_DATASETS, ids=lambda d: d.name)
def test_carries(backend: Backend, dataset: DataSet, tmp_path: Path) -> None:
    target, archive = backend.make(tmp_path / "store"), build(tmp_path, dataset)
    expected = named_beforehand(target, archive)
    results = load_all(target, archive)
    assert complaints(results) == []
    loaded = [run for result in results for run in result.runs]
    assert {
        run.key: (sorted(run.report.losses, key=repr), run.report.renames)
        for run in loaded
        if run.report
    } == expected
    assert len(loaded) == len(dataset.runs)
    assert all(run.report and run.verdict for run in loaded)
    rows = {run.key: run.verdict.rows for run in loaded if run.verdict}
    assert rows == {
        key: run.sums().rows
        for project in archive.projects()
        for key, run in archive.runs(project).items()
    }
    for project in archive.projects():
        plan = plan_load(target, archive, project)
        assert (plan.due, plan.unverified, plan.duplicates, plan.foreign) == ([], [], {}, [])
