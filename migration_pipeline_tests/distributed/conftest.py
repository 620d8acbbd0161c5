"""One server, one database and two workers for a module: starting them takes longer than tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline_tests.distributed.machines import Machines, machines, rabbitmq
from migration_pipeline_tests.targets.stores import postgres_database, sqlite_uri

RUNS, IN_A_CHUNK = 8, 2


def fill(store: Store, project: str, runs: int = RUNS) -> None:
    """Small runs with a parameter and a curve; once."""
    if project in store.projects:
        return
    made = store.project(project)
    steps = np.arange(50.0)
    for number in range(runs):
        run = made.create_run(f"r-{number}")
        run.set("config/lr", "float", number / 8)
        run.extend_float_series("loss", steps, 1_700_000_000_000 + steps, steps * number)


def run_config(folder: Path, **more: object) -> Path:
    """A file for `-c` that cuts projects into small chunks."""
    path = folder / "run.yaml"
    config = {"chunk_size": IN_A_CHUNK, **more}
    path.write_text(json.dumps({"ops": {"migrate_projects": {"config": config}}}))
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(Store()) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """RabbitMQ, PostgreSQL and two workers that are ready."""
    folder = tmp_path_factory.mktemp("cluster")
    with rabbitmq() as broker, postgres_database() as database:
        settings = {
            "MIGRATION_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": f"db+{database}",
            "DAGSTER_POSTGRES_URL": database,
            "NEPTUNE_API_TOKEN": server.token,
            "MLFLOW_TRACKING_URI": sqlite_uri(folder / "mlflow"),
        }
        with machines(folder, **settings) as made:
            with made.instance():  # makes the tables
                pass
            made.ready(*(made.worker(name) for name in ("first", "second")))
            yield made


@pytest.fixture
def instance(cluster: Machines) -> Iterator[dg.DagsterInstance]:
    with cluster.instance() as opened:
        yield opened
