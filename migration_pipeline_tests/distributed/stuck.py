"""A migration on workers of which one chunk waits, so that something can happen meanwhile."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline_tests.distributed.conftest import IN_A_CHUNK, RUNS, fill, run_config
from migration_pipeline_tests.distributed.machines import Machines, until
from migration_pipeline_tests.distributed.proxy import Proxy
from migration_pipeline_tests.distributed.steps import Steps

CHUNKS = RUNS // IN_A_CHUNK
EXPORT = dg.AssetKey(["neptune", "export"])
IMPATIENT = (
    "-c",
    "from migration_pipeline.defs import execution\n"
    "execution._LOOK_SECONDS, execution._PATIENCE_SECONDS = 0.5, 3.0\n"
    "from dagster._cli import main\n"
    "main()",
)
"""Dagster's command line where who is away is given up soon."""


class Deployment(NamedTuple):
    machines: Machines
    broker: Proxy
    database: Proxy
    instance: dg.DagsterInstance
    """By a way that is never cut."""
    server: RunningServer

    def finished(self, project: str, **settings: str) -> str:
        """Starts `migrate` for a project; the last line when it has succeeded."""
        code, out = self.machines.finish(
            self.machines.job("migrate", NEPTUNE_PROJECT=project, **settings)
        )
        assert code == 0, out
        return out.splitlines()[-1]

    def exported(self, project: str) -> bool:
        return project in self.instance.get_materialized_partitions(EXPORT)

    def published(self, project: str) -> int:
        """Runs of which a part 0 is in the archive."""
        folder = project.replace("/", "_")
        return len(list(self.machines.data.glob(f"{folder}-*/*_part_0.parquet")))


class Stuck(NamedTuple):
    """A migration of which one chunk waits for the source, while all others are done."""

    job: subprocess.Popen[str]
    steps: Steps
    step: str
    held: threading.Event


def hold_the_first(server: RunningServer) -> threading.Event:
    """The first request for series, which clients repeat when they have waited for long, waits."""
    held, first = threading.Event(), list[bytes]()

    def is_first(body: bytes) -> bool:
        if not first:
            first.append(body)
        return body == first[0]

    server.faults.clear()
    server.faults.add(Fault("series", hold=held, body=is_first))
    return held


def ended(deployment: Deployment) -> int:
    """Steps that workers have done with."""
    machines = deployment.machines
    return sum(
        machines.said(machines.by_name[name]).count(" succeeded in ")
        for name in ("first", "second")
    )


def stuck(deployment: Deployment, project: str, folder: Path, **how: tuple[str, ...]) -> Stuck:
    fill(deployment.server.store, project)
    held = hold_the_first(deployment.server)
    config = str(run_config(folder))
    before = ended(deployment)
    job = deployment.machines.job("migrate", "-c", config, NEPTUNE_PROJECT=project, **how)  # type: ignore[arg-type]
    steps = Steps(deployment.instance, project)

    def all_but_one() -> bool:
        begun, done = steps.begun("export_chunk"), steps.done("export_chunk")
        return len(begun) == CHUNKS and len(done) == CHUNKS - 1

    until(all_but_one, job)
    # A step still writes when its success is stored; the plan is one of those that end.
    until(lambda: ended(deployment) - before >= CHUNKS, job)
    (step,) = steps.begun("export_chunk").keys() - steps.done("export_chunk")
    return Stuck(job, steps, step, held)
