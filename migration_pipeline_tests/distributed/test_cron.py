"""The cron line started twice: two real processes on one storage, of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from migration_pipeline import deploy
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import ROOT, Machines, kill, machines, until
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.targets.stores import postgres_database

PROJECT = "ws/twice"


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def machine(
    request: pytest.FixtureRequest, server: RunningServer, tmp_path: Path
) -> Iterator[Machines]:
    """One machine whose runs are in its folder, or in a database."""
    fill(server.store, PROJECT)
    settings = {
        "NEPTUNE_API_TOKEN": server.token,
        "NEPTUNE_PROJECT": PROJECT,
        "MIGRATION_TARGETS": "dummy",
        "MIGRATION_DUMMY_PATH": str(tmp_path / "dummy"),
    }
    if request.param == "PostgreSQL":
        with (
            postgres_database() as database,
            machines(tmp_path, **settings, DAGSTER_POSTGRES_URL=database) as made,
        ):
            yield made
    else:
        with machines(tmp_path, ROOT / "dagster.yaml", **settings) as made:
            yield made


def test_a_second_start_doubles_nothing(
    machine: Machines, server: RunningServer, tmp_path: Path
) -> None:
    server.faults.add(Fault("series", latency=3600, times=1))
    config = str(run_config(tmp_path))
    with machine.instance() as instance:
        steps = Steps(instance, PROJECT)
        first = machine.job("migrate", "-c", config)
        until(lambda: steps.starts("export_chunk"), first)

        code, out = machine.finish(machine.job("migrate", "-c", config))
        assert code == 1
        assert "migrate: 0 of 1 projects done; 0 runs exported" in out
        (ended, at_work) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": PROJECT}))
        assert out.splitlines()[-1].startswith(
            f"  {PROJECT}: {PROJECT} is being worked on by the Dagster run {at_work.run_id} since "
        )
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert first.poll() is None

        kill(first)  # a third start sees that it is gone, and does not wait for it
        code, out = machine.finish(machine.job("migrate", "-c", config))
        assert code == 0, out
        assert f"{RUNS} read back and compared" in out.splitlines()[-1]
        code, out = machine.finish(machine.job("migrate", "-c", config))
        assert code == 0, out
        assert out.splitlines()[-1] == "migrate: 1 of 1 projects done; nothing was to be done"
    assert len(list(machine.data.rglob("*_part_0.parquet"))) == RUNS
    assert len(list((tmp_path / "dummy").rglob("run.json"))) == RUNS


def test_the_deployments_files_are_in_the_package() -> None:
    assert deploy.CELERY.is_file()
