"""Two Celery workers against one, on an export whose server takes 50 ms for each answer.

    uv run --all-extras python -m migration_pipeline_tests.benchmarks.celery_workers [--runs 128]

RabbitMQ carries the steps, PostgreSQL holds runs and results; the server is in this process, job
and each worker in their own, and every worker does one step at a time with one request under way.
A run has some curves, which are read many runs a request, and some files, each a request. Prints
how many requests there were, seconds from the first chunk's start to the last one's end, which is
what workers can share, and of the whole Dagster run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import dagster as dg
import numpy as np

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline_tests.distributed.machines import machines, rabbitmq
from migration_pipeline_tests.targets.stores import postgres_database

PROJECT, LATENCY, CHUNKS = "bench/latency", 0.05, 8
SERIES, POINTS, FILES, SIZE = 4, 2_000, 8, 10_000


def store(runs: int) -> Store:
    """Runs with some curves and files; of the same content at every start."""
    made = Store()
    project = made.project(PROJECT)
    steps = np.arange(float(POINTS))
    for number in range(runs):
        run = project.create_run(f"run-{number}")
        run.set("config/lr", "float", number / 10)
        for series in range(SERIES):
            run.extend_float_series(f"m{series}", steps, 1_700_000_000_000 + steps, steps)
        for file in range(FILES):
            content = f"{number}/{file} ".encode() * (SIZE // 8)
            run.set_file(f"files/f{file}", content, f"{number}/f{file}.txt", "text/plain")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=128)
    runs = parser.parse_args().runs
    seconds = {}
    with running_server(store(runs)) as server, tempfile.TemporaryDirectory() as folder:
        server.faults.add(Fault("", latency=LATENCY))
        for workers in (1, 2):
            place = Path(folder) / str(workers)
            server.traffic.reset()
            seconds[workers] = export(place, server.token, workers, runs)
            chunks, whole = seconds[workers]
            print(
                f"{workers} worker(s): chunks {chunks:.1f} s, the Dagster run {whole:.1f} s, "
                f"{sum(server.requests.values()):,} requests"
            )
    print(f"chunks: {seconds[1][0] / seconds[2][0]:.2f} times, "
          f"the run: {seconds[1][1] / seconds[2][1]:.2f} times as fast")  # fmt: skip


def export(place: Path, token: str, workers: int, runs: int) -> tuple[float, float]:
    with rabbitmq() as broker, postgres_database() as database:
        settings = {
            "MIGRATION_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": f"db+{database}",
            "DAGSTER_POSTGRES_URL": database,
            "NEPTUNE_API_TOKEN": token,
        }
        with machines(place, **settings) as made, made.instance() as instance:
            made.ready(*(made.worker(f"worker-{number}") for number in range(workers)))
            for warm in (True, False):  # the first time workers import
                config = {
                    "ops": {"migrate_projects": {"config": {
                        "chunk_size": -(-runs // CHUNKS),
                        "run_regex": "^run-0$" if warm else "",
                    }}},
                    "resources": {"source": {"config": {"workers": 1}}},
                }  # fmt: skip
                (place / "run.yaml").write_text(json.dumps(config))
                code, out = made.finish(made.job("migrate", "-c", "run.yaml"))
                assert code == 0, out
            return figures(instance)


def figures(instance: dg.DagsterInstance) -> tuple[float, float]:
    """Seconds of the chunks and of the whole, of the latest run."""
    (record,) = instance.get_run_records(
        dg.RunsFilter(job_name="migrate_project"), limit=1, order_by="id"
    )
    times = [
        entry.timestamp
        for entry in instance.all_logs(record.dagster_run.run_id)
        if (event := entry.dagster_event)
        and "export_chunk" in str(event.step_key)
        and (event.is_step_start or event.is_step_success)
    ]
    return max(times) - min(times), (record.end_time or 0.0) - (record.start_time or 0.0)


if __name__ == "__main__":
    main()
