"""Peak resident memory of an export of a W&B run with many rows of system metrics.

    python -m migration_pipeline_tests.benchmarks.wandb_system_memory [--rows 10000 100000]

W&B gives them in one answer. Each export runs in a process of its own, against the stand-in in
another; the figures are the kernel's, for the process that works and for the SDK's wandb-core.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.sources.export import export_runs
from migration_pipeline.sources.source import Selection
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline_tests.servers.standin import account_key, serving
from migration_pipeline_tests.servers.wandb import Wandb

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.wandb_system_memory"]
KEY = account_key("system memory")
METRICS = 20


def serve(rows: int) -> None:
    chance = random.Random(7)
    server = Wandb()
    account = server.account(KEY)
    account.upsert({"name": "long", "modelName": "vision", "config": "{}"})
    names = [f"system.gpu.{i}.memoryAllocated" for i in range(METRICS)]
    account.projects["vision"].of["long"].monitored = [
        json.dumps({"_timestamp": 1.7e9 + i} | {name: 100 * chance.random() for name in names})
        for i in range(rows)
    ]
    with serving(server):
        print(server.url, flush=True)
        time.sleep(3600)


def peak_of(process: str) -> int:
    """Bytes; `process` is an id or `self`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure(url: str) -> None:
    source = WandbSource(WandbSourceConfig.model_validate({"api_key": KEY, "base_url": url}))
    selection = Selection(kinds=("run",))
    runs = source.list_runs("team/vision", selection)
    before = peak_of("self")
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder) / "data", Path(folder) / "files")
        report = export_runs(source, archive, runs, selection)
    assert not report.failures, report.failures
    tasks = Path("/proc/self/task").glob("*/children")
    children = {c for task in tasks for c in task.read_text().split()}
    peaks = {"before": before, "own": peak_of("self"), "core": max(map(peak_of, children))}
    print(json.dumps(peaks | {"points": sum(one.points for one in report.exported)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    if arguments.measure:
        return measure(arguments.measure)
    for rows in arguments.rows:
        serving = [*THIS, "--serve", str(rows)]
        server = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            measuring = [*THIS, "--measure", url]
            done = subprocess.run(measuring, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            server.kill()
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{rows:>9,} rows of {METRICS} metrics, {found['points']:,} points: peak "
            f"{found['own'] / 1e6:.0f} MB ({found['before'] / 1e6:.0f} MB before), "
            f"wandb-core {found['core'] / 1e6:.0f} MB",
            flush=True,
        )
    return None


if __name__ == "__main__":
    main()
