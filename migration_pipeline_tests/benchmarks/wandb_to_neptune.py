"""W&B → archive → Neptune, verified, against the same done run by run through both public clients.

    python -m migration_pipeline_tests.benchmarks.wandb_to_neptune [--rounds 3]

The case of Neptune's own migration script: 32 runs in 8 projects, about 1 MB in metrics and files.
Both servers are stand-ins in processes of their own, and 20 ms are added to each of their answers.
The other way is that script's: a thread a run, `wandb.Api` for reading, `neptune` for writing. It
does not read back; ours does, and its archive stays.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from starlette.types import ASGIApp

from migration_pipeline.archive.archive import Archive
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.source import Selection
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.neptune.client import NeptuneTarget
from migration_pipeline.targets.neptune.config import NeptuneConfig
from migration_pipeline.wandb_sdk import public_api
from migration_pipeline_tests.neptune_server.neptune2.clients import QUIET
from migration_pipeline_tests.servers.neptune import Neptune, token_of
from migration_pipeline_tests.servers.standin import account_key, spawned
from migration_pipeline_tests.servers.wandb import Wandb

PROJECTS, RUNS, ROWS, METRICS, FILES, FILE_BYTES = 8, 32, 200, 5, 2, 5_000
KEY = account_key("wandb to neptune")
LATENCY = "MIGRATION_BENCHMARK_LATENCY"
RUNS_ONLY = Selection(kinds=("run",))
_HERE = "migration_pipeline_tests.benchmarks.wandb_to_neptune"


def slow() -> Fault:
    return Fault("", latency=float(os.environ[LATENCY]))


class SlowWandb(Wandb):
    """Holds the case."""

    def app(self) -> ASGIApp:
        self.faults.add(slow())
        account, chance = self.account(KEY), random.Random(20261122)
        for number in range(RUNS):
            project, name = f"project-{number % PROJECTS}", f"run-{number}"
            config = {f"p{i}": {"value": chance.random()} for i in range(20)}
            account.upsert({"name": name, "modelName": project, "config": json.dumps(config)})
            run = account.projects[project].of[name]
            run.state = "finished"
            run.lines = [
                json.dumps(
                    {"_step": i, "_timestamp": 1.7e9 + i}
                    | {f"m{k}": chance.random() for k in range(METRICS)}
                )
                for i in range(ROWS)
            ]
            run.monitored = [
                json.dumps({"_timestamp": 1.7e9 + 15 * i, "system.cpu": chance.random()})
                for i in range(20)
            ]
            run.summaryMetrics = json.dumps({"best": number, "m0": 0.5})
            for i in range(FILES):
                file = account.file_of(run, f"file-{i}.bin")
                file.content = chance.randbytes(FILE_BYTES)
        return super().app()


class SlowNeptune(Neptune):
    def app(self) -> ASGIApp:
        self.faults.add(slow())
        return super().app()


def workspace(url: str, name: str) -> str:
    place = f"{url}/workspaces/{name}"
    urllib.request.urlopen(urllib.request.Request(place, method="PUT")).close()
    return name


def ours(wandb_url: str, neptune_url: str, folder: Path, threads: int) -> int:
    """Exports, loads, reads back and compares; returns the points."""
    archive = Archive(folder / "data", folder / "files")
    source = WandbSource(
        WandbSourceConfig(api_key=SecretStr(KEY), base_url=wandb_url, entity="team", workers=8)
    )
    target = NeptuneTarget(
        NeptuneConfig(
            api_token=SecretStr(token_of(neptune_url)),
            workspace=workspace(neptune_url, folder.name),
        )
    )

    def do(project: str) -> int:
        plan = plan_export(source, archive, project, RUNS_ONLY)
        exported = export_runs(source, archive, plan.due, RUNS_ONLY)
        assert not exported.failures, exported.failures
        due = plan_load(target, archive, project)
        loaded = load_runs(target, archive, due.mapping, due.due)
        assert all(run.good for run in loaded.runs), loaded.runs
        assert all(verdict.equal_to_archive for verdict in loaded.verdicts)
        assert len(loaded.verdicts) == RUNS // PROJECTS
        return sum(
            count.rows
            for manifest in exported.exported
            for kind, count in manifest.types.items()
            if kind == "float_series"
        )

    with ThreadPoolExecutor(min(threads, PROJECTS)) as pool:
        return sum(pool.map(do, source.list_projects()))


def theirs(wandb_url: str, neptune_url: str, folder: Path, threads: int) -> None:
    """Run by run, as the script does it."""
    import neptune
    from neptune import management
    from neptune.types import File

    public, token = public_api(), token_of(neptune_url)
    place = workspace(neptune_url, folder.name)
    api = public.Api(overrides={"base_url": wandb_url}, api_key=KEY, timeout=120)
    numbers = itertools.count()

    def copy(entry: Any, project: str) -> None:
        to = folder / str(next(numbers))
        with neptune.init_run(
            api_token=token, project=project, custom_run_id=entry.id, name=entry.name, **QUIET
        ) as run:
            run["config"] = {key: str(value) for key, value in entry.config.items()}
            run["summary"] = {key: str(value) for key, value in entry.summary_metrics.items()}
            for row in entry.scan_history():
                step, at = row.pop("_step"), row.pop("_timestamp")
                for key, value in row.items():
                    run[key].append(value, step=step, timestamp=at)
            for row in entry.history(stream="system", pandas=False):
                at = row.pop("_timestamp")
                for key, value in row.items():
                    run[f"monitoring/{key.removeprefix('system.')}"].append(value, timestamp=at)
            for file in entry.files():
                file.download(root=str(to)).close()
                run[f"files/{file.name}"].upload(File(str(to / file.name)))

    with ThreadPoolExecutor(threads) as pool:
        waiting = []
        for project in api.projects("team"):
            name = management.create_project(project.name, workspace=place, api_token=token)
            for entry in api.runs(f"team/{project.name}"):
                waiting.append(pool.submit(copy, entry, name))
        for one in waiting:
            one.result()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.environ[LATENCY] = str(given.latency)
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as name,
        spawned(f"{_HERE}:SlowWandb") as wandb_url,
        spawned(f"{_HERE}:SlowNeptune") as neptune_url,
    ):
        os.environ["WANDB_DIR"] = os.environ["WANDB_CACHE_DIR"] = name
        os.chdir(name)  # neptune keeps a folder of its own where it is started
        import neptune  # noqa: F401  what is imported is imported for both

        public_api().Api(overrides={"base_url": wandb_url}, api_key=KEY, timeout=120)  # wandb-core
        took: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(given.rounds):
            for how, do in (("ours", ours), ("theirs", theirs)):
                started, busy = time.perf_counter(), time.process_time()
                do(wandb_url, neptune_url, Path(name) / f"{how}-{number}", given.threads)
                took[how].append(time.perf_counter() - started)
                busy, load = time.process_time() - busy, os.getloadavg()[0]
                said = f"{took[how][-1]:.1f} s ({busy:.1f} s of this process's CPU)"
                print(f"{how}: {said}, load average {load:.1f}", flush=True)
    own, other = (statistics.median(took[how]) for how in ("ours", "theirs"))
    print(
        f"{RUNS} runs in {PROJECTS} projects, {given.threads} threads, {given.latency * 1e3:g} ms "
        f"an answer, medians of {given.rounds}: ours {own:.1f} s with the comparison, run by run "
        f"{other:.1f} s without: {other / own:.1f} times"
    )


if __name__ == "__main__":
    main()
