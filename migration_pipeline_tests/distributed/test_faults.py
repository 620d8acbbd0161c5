"""Two workers whose broker or database goes away in the middle, with a full disk, with other code;
and a pool on a target. What a step had begun is done again, or the last line says where to look."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import migration_pipeline
from migration_pipeline.defs.guards import THIS_CODE
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import IN_A_CHUNK, RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import (
    ROOT,
    kill,
    machines,
    rabbitmq,
    until,
)
from migration_pipeline_tests.distributed.proxy import on_the_way
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.distributed.stuck import CHUNKS, IMPATIENT, Deployment, stuck
from migration_pipeline_tests.machine import lacks
from migration_pipeline_tests.targets.stores import postgres_database

POOL = "target_dummy"
SMALL_DISKS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'for folder in "$1" "$2"; do mount -t tmpfs -o size=8k tmpfs "$folder" || exit; done; '
    'shift 2; exec "$@"',
    "sh",
)
"""Starts a command for which two folders are on disks of 8 KB of their own."""


@pytest.fixture(scope="module")
def deployment(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with (
        rabbitmq() as real_broker,
        postgres_database() as real_database,
        on_the_way(real_broker, 5672) as (broker, to_broker),
        on_the_way(real_database, 5432) as (database, to_database),
    ):
        settings = {
            "MIGRATION_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": f"db+{database}",
            "DAGSTER_POSTGRES_URL": real_database,
            "NEPTUNE_API_TOKEN": server.token,
            "MIGRATION_DUMMY_PATH": str(folder / "dummy"),
        }
        with machines(folder, **settings) as made, made.instance() as instance:
            made.environment["DAGSTER_POSTGRES_URL"] = database
            made.ready(*(made.worker(name) for name in ("first", "second")))
            yield Deployment(made, to_broker, to_database, instance, server)


def test_a_broker_that_goes_and_comes_back(deployment: Deployment, tmp_path: Path) -> None:
    """It gives the chunk under way out once more; the first worker goes on with it all the same."""
    made, project = deployment.machines, "ws/back"
    job, steps, _, held = stuck(deployment, project, tmp_path)
    workers = [made.by_name[name] for name in ("first", "second")]
    connected = [made.said(worker).count("Connected to") for worker in workers]
    deployment.broker.cut()
    deployment.broker.restore()
    until(
        lambda: all(
            made.said(worker).count("Connected to") > before
            for worker, before in zip(workers, connected, strict=True)
        ),
        *workers,
        job,
    )
    held.set()
    code, out = made.finish(job)
    assert code == 0, out
    assert out.splitlines()[-1].startswith(f"migrate: 1 of 1 projects done; {RUNS} runs exported")
    assert not steps.failed("export_chunk")
    assert deployment.published(project) == RUNS


def test_a_broker_that_stays_away(deployment: Deployment, tmp_path: Path) -> None:
    """The step under way comes to its end; nobody can be given the next one."""
    job, _, _, held = stuck(deployment, "ws/away", tmp_path, dagster=IMPATIENT)
    deployment.broker.cut()
    until(lambda: "does not answer" in deployment.machines.said(job), job)
    code, out = deployment.machines.finish(job)
    assert code == 1
    last = out.splitlines()[-1]
    assert last.startswith("  ws/away: the broker amqp://guest:**@127.0.0.1:")
    assert "cannot be reached" in last
    assert not deployment.exported("ws/away")
    assert deployment.published("ws/away") == RUNS - IN_A_CHUNK
    (run,) = deployment.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": "ws/away"}))
    assert run.status == dg.DagsterRunStatus.FAILURE

    deployment.broker.restore()
    held.set()
    deployment.finished("ws/away")
    assert deployment.exported("ws/away")
    assert deployment.published("ws/away") == RUNS


def test_a_database_that_goes_and_comes_back(deployment: Deployment, tmp_path: Path) -> None:
    """A run that waits for a step, and a step that waits for its source, outlive a restart."""
    job, steps, step, held = stuck(deployment, "ws/base", tmp_path)
    deployment.database.cut()
    held.set()
    deployment.database.restore()
    code, out = deployment.machines.finish(job)
    assert code == 0, out
    assert steps.starts(step) == 1
    assert deployment.exported("ws/base")
    assert deployment.published("ws/base") == RUNS


def test_a_database_that_stays_away(deployment: Deployment, tmp_path: Path) -> None:
    """Dagster's records and the workers' answers are gone at once; nothing more is called done.

    Whichever the run asks for first ends it; it waits for the second as test_redis.py shows.
    """
    job, _, _, held = stuck(deployment, "ws/gone", tmp_path, dagster=IMPATIENT)
    deployment.database.cut()
    held.set()
    code, out = deployment.machines.finish(job)
    assert code == 1
    assert out.splitlines()[-1].startswith("migrate: failed: Dagster's storage, which dagster.yaml")
    assert not deployment.exported("ws/gone")

    deployment.database.restore()
    deployment.finished("ws/gone")
    assert deployment.exported("ws/gone")
    assert deployment.published("ws/gone") == RUNS


def test_a_pool_on_a_target_holds_over_all_workers(deployment: Deployment, tmp_path: Path) -> None:
    """Its only slot is taken by somebody else first, so nothing begins; then one after another."""
    fill(deployment.server.store, "ws/target", 60)
    storage = deployment.instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    storage.claim_concurrency_slot(POOL, "somebody", "else")
    settings = {"NEPTUNE_PROJECT": "ws/target", "MIGRATION_TARGETS": "dummy"}
    job = deployment.machines.job("migrate", **settings)
    steps = Steps(deployment.instance, "ws/target")
    until(lambda: storage.get_concurrency_info(POOL).pending_steps, job)
    assert not steps.starts("plan_dummy")
    storage.free_concurrency_slot_for_step("somebody", "else")
    code, out = deployment.machines.finish(job)
    assert code == 0, out
    intervals = steps.intervals("plan_dummy") + steps.intervals("dummy_chunk")
    assert len(intervals) == 4
    for (_, ended), (began, _) in zip(sorted(intervals), sorted(intervals)[1:], strict=False):
        assert ended <= began


def test_a_worker_with_other_code(deployment: Deployment, tmp_path: Path) -> None:
    made = deployment.machines
    kill(made.by_name["second"])
    other = tmp_path / "other" / "migration_pipeline"
    shutil.copytree(ROOT / "migration_pipeline", other)
    with (other / "progress.py").open("a") as module:
        module.write("# changed\n")
    made.ready(made.worker("second", PYTHONPATH=str(other.parent)))
    fill(deployment.server.store, "ws/code")
    config = str(run_config(tmp_path))
    code, out = made.finish(made.job("migrate", "-c", config, NEPTUNE_PROJECT="ws/code"))
    assert code == 1
    said = next(line for line in out.splitlines()[-CHUNKS - 2 :] if "the worker on" in line)
    assert said.count(migration_pipeline.__version__) == 2
    assert THIS_CODE in said
    assert not deployment.exported("ws/code")
    assert deployment.published("ws/code") < RUNS

    kill(made.by_name["second"])
    deployment.finished("ws/code")
    assert deployment.published("ws/code") == RUNS


def test_a_full_disk_on_one_worker(deployment: Deployment, tmp_path: Path) -> None:
    made = deployment.machines
    if made.start("try", [*SMALL_DISKS, "/tmp", "/tmp", "true"], {}).wait():
        lacks("this machine does not let us mount a file system")
    folders = (str(made.data), str(made.files))
    made.files.mkdir(exist_ok=True)
    made.ready(made.worker("second", before=[*SMALL_DISKS, *folders]))
    fill(deployment.server.store, "ws/full")
    config = str(run_config(tmp_path))
    code, out = made.finish(made.job("migrate", "-c", config, NEPTUNE_PROJECT="ws/full"))
    assert code == 1
    assert "cannot write" in out.splitlines()[-1]
    assert "No space left on device. Free space, or" in out.splitlines()[-1]
    assert not deployment.exported("ws/full")
    steps = Steps(deployment.instance, "ws/full")
    by_first = [
        step
        for step in steps.done("export_chunk")
        if steps.begun("export_chunk")[step].startswith("first@")
    ]
    assert by_first  # the healthy one went on
    assert deployment.published("ws/full") == IN_A_CHUNK * len(by_first)

    kill(made.by_name["second"])
    deployment.finished("ws/full")
    assert deployment.exported("ws/full")
    assert deployment.published("ws/full") == RUNS
