"""Two workers on RabbitMQ and PostgreSQL: pools, a run that is cancelled, a worker that dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dagster as dg

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.registry import SourceSettings, make_source
from migration_pipeline.sources.source import Selection
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline_tests.distributed.conftest import IN_A_CHUNK, RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import Machines, kill, until
from migration_pipeline_tests.distributed.steps import Steps
from migration_pipeline_tests.targets import mlflow_backend
from migration_pipeline_tests.targets.stores import sqlite_target

POOL = "neptune_source"
FOREVER = Fault("series", latency=3600, times=1)


def digests(archive: Archive, project: str) -> dict[RunKey, str]:
    found = archive.manifests(project, list(archive.runs(project)))
    return {key: manifest.digest for key, manifest in found.items() if manifest}


def test_a_pool_holds_over_all_workers_and_a_cancelled_run_frees_its_slot(
    cluster: Machines, instance: dg.DagsterInstance, server: RunningServer, tmp_path: Path
) -> None:
    fill(server.store, "ws/pool")
    instance.event_log_storage.set_concurrency_slots(POOL, 1)
    server.faults.add(FOREVER)
    settings = {"NEPTUNE_PROJECT": "ws/pool"}
    job = cluster.job("migrate", "-c", str(run_config(tmp_path)), **settings)
    steps = Steps(instance, "ws/pool")
    pool = instance.event_log_storage.get_concurrency_info
    until(lambda: len(pool(POOL).pending_steps) == RUNS // IN_A_CHUNK, job)
    until(lambda: steps.begun("export_chunk") and server.faults.injected["latency"], job)
    assert len(pool(POOL).claimed_slots) == 1
    assert len(steps.begun("export_chunk")) == 1  # three chunks and a worker wait

    job.send_signal(signal.SIGINT)
    code, out = cluster.finish(job)
    assert code == 1
    assert out.splitlines()[-1].startswith("migrate: interrupted; what is done stays")
    assert not pool(POOL).claimed_slots
    until(
        lambda: steps.failed("export_chunk"), cluster.by_name["first"]
    )  # it was stopped on its worker too
    assert not instance.get_materialized_partitions(dg.AssetKey(["neptune", "export"]))

    code, out = cluster.finish(cluster.job("migrate", **settings))
    assert code == 0, out
    assert out.splitlines()[-1].startswith(f"migrate: 1 of 1 projects done; {RUNS} runs exported")
    instance.event_log_storage.set_concurrency_slots(POOL, 4)


def test_what_a_killed_worker_had_begun_is_done_by_another(
    cluster: Machines, instance: dg.DagsterInstance, server: RunningServer, tmp_path: Path
) -> None:
    fill(server.store, "ws/killed")
    server.faults.add(FOREVER)
    settings = {
        "NEPTUNE_PROJECT": "ws/killed",
        "MIGRATION_TARGETS": "mlflow",
    }
    job = cluster.job("migrate", "-c", str(run_config(tmp_path)), **settings)
    steps = Steps(instance, "ws/killed")
    chunks = RUNS // IN_A_CHUNK
    until(
        lambda: (
            len(steps.begun("export_chunk")) == chunks
            and len(steps.done("export_chunk")) == chunks - 1
        ),
        job,
    )
    (stuck,) = steps.begun("export_chunk").keys() - steps.done("export_chunk")
    victim = steps.begun("export_chunk")[stuck]
    kill(cluster.by_name[victim.partition("@")[0]])

    code, out = cluster.finish(job)
    assert code == 0, out
    assert out.splitlines()[-1] == (
        f"migrate: 1 of 1 projects done; {RUNS} runs exported, {RUNS} loaded, {RUNS} read back and "
        "compared"
    )
    assert steps.begun("export_chunk")[stuck] != victim
    assert steps.starts(stuck) == 2

    undisturbed = Archive(tmp_path / "data", tmp_path / "files")
    os.environ["NEPTUNE_API_TOKEN"] = server.token
    source = make_source("neptune3", SourceSettings("NEPTUNE_API_TOKEN", 2, False, undisturbed, []))
    plan = plan_export(source, undisturbed, "ws/killed", Selection())
    assert not export_runs(source, undisturbed, plan.due, Selection()).failures
    disturbed = Archive(cluster.data, cluster.files)
    assert len(digests(disturbed, "ws/killed")) == RUNS
    assert digests(disturbed, "ws/killed") == digests(undisturbed, "ws/killed")
    target = sqlite_target(tmp_path / "undisturbed")
    found = plan_load(target, undisturbed, "ws/killed")
    load_runs(target, undisturbed, found.mapping, [k for f in found.families for k in f])
    assert mlflow_backend.whole(cluster.folder / "mlflow") == mlflow_backend.whole(
        tmp_path / "undisturbed"
    )
