"""Redis as broker: a worker's process is killed, as the kernel does when memory runs out."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import machines, redis, until
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.targets.stores import postgres_database

PROJECT = "ws/redis"


def test_what_a_killed_process_had_begun_is_done_again(
    server: RunningServer, tmp_path: Path
) -> None:
    """A worker that dies whole is noticed by Redis only after minutes, which no test waits for."""
    fill(server.store, PROJECT)
    server.faults.add(Fault("series", latency=3600, times=1))
    with redis() as broker, postgres_database() as database:
        settings = {
            "MIGRATION_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": broker,
            "DAGSTER_POSTGRES_URL": database,
            "NEPTUNE_API_TOKEN": server.token,
            "NEPTUNE_PROJECT": PROJECT,
        }
        with machines(tmp_path, **settings) as made, made.instance() as instance:
            workers = [made.worker(name) for name in ("first", "second")]
            made.ready(*workers)
            job = made.job("migrate", "-c", str(run_config(tmp_path)))
            steps = Steps(instance, PROJECT)
            until(
                lambda: (
                    len(steps.processes("export_chunk")) == RUNS // 2
                    and len(steps.done("export_chunk")) == RUNS // 2 - 1
                ),
                job,
            )
            running = steps.processes("export_chunk")
            (stuck,) = running.keys() - steps.done("export_chunk")
            os.kill(running[stuck], signal.SIGKILL)
            code, out = made.finish(job)
            assert code == 0, out
            assert steps.starts(stuck) == 2
            assert out.splitlines()[-1].startswith(
                f"migrate: 1 of 1 projects done; {RUNS} runs exported"
            )
    assert len(list(made.data.rglob("*_part_0.parquet"))) == RUNS
