"""The contract: every target carries every data set, and its read-back finds nothing.

A new target joins by a line in `backends.BACKENDS`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.loading import LoadResult, load_runs, plan_load
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.contract.backends import BACKENDS
from migration_pipeline_tests.contract.datasets import DATASETS, DataSet, build
from migration_pipeline_tests.contract.neptune2 import NEPTUNE2_DATASETS


@pytest.fixture(params=sorted(BACKENDS))
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    return BACKENDS[request.param].make(tmp_path / "store")


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


@pytest.mark.parametrize("dataset", [*DATASETS, *NEPTUNE2_DATASETS], ids=lambda d: d.name)
def test_carries(target: Target, dataset: DataSet, tmp_path: Path) -> None:
    archive = build(tmp_path, dataset)
    results = load_all(target, archive)
    assert complaints(results) == []
    loaded = [run for result in results for run in result.runs]
    assert len(loaded) == len(dataset.runs)
    assert all(run.report and run.verdict for run in loaded)
    rows = sum(run.verdict.rows for run in loaded if run.verdict)
    assert rows == sum(
        archive_run.manifest.rows
        for project in archive.projects()
        for archive_run in archive.runs(project).values()
        if archive_run.manifest
    )
    for project in archive.projects():
        plan = plan_load(target, archive, project)
        assert (plan.due, plan.unverified, plan.duplicates, plan.foreign) == ([], [], {}, [])
