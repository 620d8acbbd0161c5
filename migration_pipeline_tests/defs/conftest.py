from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.defs import export, picture
from migration_pipeline.sources.registry import SOURCES
from migration_pipeline_tests.defs.fakes import FakeSource, resources

Execute = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with SQLite storage of its own, without what takes time for nothing."""
    (tmp_path / "home").mkdir()
    quiet = {
        "python_logs": {"python_log_level": "INFO"},
        "telemetry": {"enabled": False},
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
            "config": {},
        },
    }
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=quiet) as made:
        yield made


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    """Registered as the source `fake`: project `ws/alpha` with four runs, `ws/beta` with two.

    Pictures are a stand-in (`test_picture` draws): drawing takes longer than all the rest.
    """
    monkeypatch.setattr(picture, "draw", lambda curves: "![curves](data:," + ",".join(curves) + ")")
    made = FakeSource({"ws/alpha": ["a-1", "a-2", "a-3", "a-4"], "ws/beta": ["b-1", "b-2"]})
    monkeypatch.setitem(SOURCES, "fake", lambda settings: made)
    return made


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def migrate(instance: dg.DagsterInstance, tmp_path: Path) -> Execute:
    """Runs the job `migrate` over the fake source."""

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        return definitions.defs.resolve_job_def("migrate").execute_in_process(
            run_config={
                "ops": {"migrate_projects": {"config": config}},
                "resources": resources(tmp_path),
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


@pytest.fixture
def migrate_project(instance: dg.DagsterInstance, tmp_path: Path) -> Execute:
    """Runs `migrate_project` for one partition, exporting only."""

    def run(partition: str | None, **selection: Any) -> dg.ExecuteInProcessResult:
        ops: Mapping[str, Any] = {export.KEY.to_python_identifier(): {"config": selection}}
        return definitions.project_job([]).execute_in_process(
            run_config={"ops": ops, "resources": resources(tmp_path)},
            tags={"dagster/partition": partition} if partition else {},
            instance=instance,
            raise_on_error=False,
        )

    return run
