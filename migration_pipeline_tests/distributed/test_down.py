"""A broker or a database that is not there, or goes away: the last line says which, nothing is
marked done that is not, and the next start does the rest."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import machines, until
from migration_pipeline_tests.distributed.proxy import on_the_way
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.targets.stores import postgres_database

PROJECT = "ws/down"
NOBODY = "127.0.0.1:1"


@pytest.fixture
def settings(server: RunningServer) -> dict[str, str]:
    fill(server.store, PROJECT)
    return {"NEPTUNE_API_TOKEN": server.token, "NEPTUNE_PROJECT": PROJECT}


def test_a_broker_that_is_not_there(settings: dict[str, str], tmp_path: Path) -> None:
    settings |= {
        "MIGRATION_EXECUTOR": "celery",
        "CELERY_BROKER_URL": f"pyamqp://guest:canary-7a@{NOBODY}//",
        "CELERY_RESULT_BACKEND": "rpc://",
    }
    with (
        postgres_database() as database,
        machines(tmp_path, DAGSTER_POSTGRES_URL=database, **settings) as machine,
    ):
        code, out = machine.finish(machine.job("migrate"))
        assert code == 1
        assert out.splitlines()[-1].startswith(
            f"  {PROJECT}: the broker amqp://guest:**@{NOBODY}// cannot be reached: "
        )
        assert "canary-7a" not in out
        with machine.instance() as instance:
            assert not instance.get_materialized_partitions(dg.AssetKey(["neptune", "export"]))
            assert all(run.is_finished for run in instance.get_runs())
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_database_that_is_not_there(settings: dict[str, str], tmp_path: Path) -> None:
    address = f"postgresql://postgres:canary-7a@{NOBODY}/none"
    with machines(tmp_path, DAGSTER_POSTGRES_URL=address, **settings) as machine:
        code, out = machine.finish(machine.job("migrate"))
        assert code != 0
        assert 'connection to server at "127.0.0.1", port 1 failed' in out
        assert "canary-7a" not in out
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_database_that_goes_away(
    settings: dict[str, str], server: RunningServer, tmp_path: Path
) -> None:
    server.faults.add(Fault("series", latency=5, times=1))
    with (
        postgres_database() as database,
        on_the_way(database, 5432) as (through, between),
        machines(tmp_path, DAGSTER_POSTGRES_URL=through, **settings) as machine,
    ):
        job = machine.job("migrate", "-c", str(run_config(tmp_path)))
        until(lambda: list(machine.data.rglob("*_part_0.parquet")), job)
        between.cut()
        code, out = machine.finish(job)
        assert code == 1
        assert "migrate: failed: Dagster's storage, which dagster.yaml" in out
        assert out.splitlines()[-1].endswith("the next start does the rest.")
        there = len(list(machine.data.rglob("*_part_0.parquet")))
        assert 0 < there < RUNS

        machine.environment["DAGSTER_POSTGRES_URL"] = database
        with machine.instance() as instance:
            steps = Steps(instance, PROJECT)
            assert not steps.done("finish_export")
        code, out = machine.finish(machine.job("migrate"))
        assert code == 0, out
        assert f"{RUNS - there} runs exported" in out.splitlines()[-1]
