"""How long the cron line takes when all runs are already exported, and what each run cost before.

    uv run python -m migration_pipeline_tests.benchmarks.nothing_to_do [--runs 10000]

Runs `dagster job execute … -j migrate` twice against a server in a process of its own, with a new
DAGSTER_HOME (SQLite), and prints wall seconds, requests and requests a run of both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from migration_pipeline.neptune_server.running import SpawnedServer, spawn_server
from migration_pipeline.neptune_server.store import Store

REPOSITORY = Path(__file__).parents[2]
DAGSTER = str(Path(sys.executable).parent / "dagster")
RUNS_VARIABLE = "BENCHMARK_RUNS"


def many_runs() -> Store:
    """Small runs of one project: parameters, one series, one text."""
    store = Store()
    project = store.project("bench/many")
    for i in range(int(os.environ[RUNS_VARIABLE])):
        run = project.create_run(f"run-{i}", experiment=f"experiment-{i % 50}")
        run.set("config/lr", "float", 0.1 * i)
        run.set("config/epochs", "int", i)
        run.extend_float_series("loss", [0.0, 1.0], [1_700_000_000_000, 1_700_000_001_000], [1, 2])
    return store


def migrate(server: SpawnedServer, home: Path) -> tuple[float, int, str]:
    """Wall seconds, requests to the server, and the last line of one run of the job."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "NEPTUNE_API_TOKEN": server.token,
        "MIGRATION_DATA_PATH": str(home / "data"),
        "MIGRATION_FILES_PATH": str(home / "files"),
        "MIGRATION_TARGETS": "",
    }
    environment.pop("NEPTUNE_PROJECT", None)
    before = sum(server.traffic()["requests"].values())
    started = time.perf_counter()
    done = subprocess.run(
        [DAGSTER, "job", "execute", "-m", "migration_pipeline.definitions", "-j", "migrate"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    said = (done.stderr.strip() + "\n" + done.stdout.strip()).strip().splitlines()
    return seconds, sum(server.traffic()["requests"].values()) - before, said[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    os.environ[RUNS_VARIABLE] = str(runs)
    store = "migration_pipeline_tests.benchmarks.nothing_to_do:many_runs"
    with tempfile.TemporaryDirectory() as folder, spawn_server(["--store", store]) as server:
        home = Path(folder)
        shutil.copy(REPOSITORY / "dagster.yaml", home)
        for what in ("export of everything", "nothing to do"):
            seconds, requests, last = migrate(server, home)
            print(f"{what}: {runs:,} runs, {seconds:.1f} s, {requests} requests "
                  f"({requests / runs:.4f} a run); said: {last}")  # fmt: skip


if __name__ == "__main__":
    main()
