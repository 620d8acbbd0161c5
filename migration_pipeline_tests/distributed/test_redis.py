"""Redis as broker and for results: a worker's process is killed, as the kernel does when memory
runs out; Redis itself goes away."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import Machines, machines, redis, until
from migration_pipeline_tests.distributed.proxy import on_the_way
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.distributed.stuck import IMPATIENT, Deployment, stuck
from migration_pipeline_tests.targets.stores import postgres_database

PROJECT = "ws/redis"


@contextlib.contextmanager
def two_workers(
    folder: Path, broker: str, database: str, server: RunningServer
) -> Iterator[tuple[Machines, dg.DagsterInstance]]:
    settings = {
        "MIGRATION_EXECUTOR": "celery",
        "CELERY_BROKER_URL": broker,
        "CELERY_RESULT_BACKEND": broker,
        "DAGSTER_POSTGRES_URL": database,
        "NEPTUNE_API_TOKEN": server.token,
    }
    with machines(folder, **settings) as made, made.instance() as instance:
        made.ready(*(made.worker(name) for name in ("first", "second")))
        yield made, instance


def test_what_a_killed_process_had_begun_is_done_again(
    server: RunningServer, tmp_path: Path
) -> None:
    """A worker that dies whole is noticed by Redis only after minutes, which no test waits for."""
    fill(server.store, PROJECT)
    server.faults.add(Fault("series", latency=3600, times=1))
    with (
        redis() as broker,
        postgres_database() as database,
        two_workers(tmp_path, broker, database, server) as (made, instance),
    ):
        job = made.job("migrate", "-c", str(run_config(tmp_path)), NEPTUNE_PROJECT=PROJECT)
        steps = Steps(instance, PROJECT)
        until(
            lambda: (
                len(steps.processes("export_chunk")) == RUNS // 2
                and len(steps.done("export_chunk")) == RUNS // 2 - 1
            ),
            job,
        )
        running = steps.processes("export_chunk")
        (lost,) = running.keys() - steps.done("export_chunk")
        os.kill(running[lost], signal.SIGKILL)
        code, out = made.finish(job)
        assert code == 0, out
        assert steps.starts(lost) == 2
        assert out.splitlines()[-1].startswith(
            f"migrate: 1 of 1 projects done; {RUNS} runs exported"
        )
    assert len(list(made.data.rglob("*_part_0.parquet"))) == RUNS


def test_redis_goes_and_comes_back_and_then_stays_away(
    server: RunningServer, tmp_path: Path
) -> None:
    with (
        redis() as real,
        on_the_way(real, 6379) as (there, between),
        postgres_database() as database,
        two_workers(tmp_path, there, database, server) as (made, instance),
    ):
        deployment = Deployment(made, between, between, instance, server)
        job, _, _, held = stuck(deployment, "ws/back", tmp_path)
        between.cut()
        until(lambda: "does not answer" in made.said(job), job)
        between.restore()
        held.set()
        code, out = made.finish(job)
        assert code == 0, out
        assert "answers again" in out
        assert deployment.published("ws/back") == RUNS

        job, _, _, held = stuck(deployment, "ws/away", tmp_path, dagster=IMPATIENT)
        between.cut()
        code, out = made.finish(job)
        assert code == 1
        assert "  ws/away: redis://127.0.0.1:" in out.splitlines()[-1]
        assert "cannot be reached" in out.splitlines()[-1]
        assert not deployment.exported("ws/away")
        between.restore()
        held.set()
        deployment.finished("ws/away")
        assert deployment.published("ws/away") == RUNS
