"""Peak resident memory of an export of one run with one million points, and with fifty million, and
of its load into the dummy with read-back: the archive in a folder, and on S3.

    uv run python -m migration_pipeline_tests.benchmarks.export_memory [--points 1000000 50000000]

The run also has a file of a byte a point. Each export and each load runs in a process of its own,
against servers in another; the figure is the kernel's `ru_maxrss` of the process that works.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.store import StorePath, file_system
from migration_pipeline_tests.benchmarks.export_float_series import PROJECT

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.export_memory"]
BUCKET = "archive"


def serve(points: int) -> None:
    """A Neptune server with the run, and a store with an empty bucket."""
    from migration_pipeline.neptune_server.running import running_server
    from migration_pipeline.neptune_server.store import Store
    from migration_pipeline_tests.servers.s3 import s3_server

    store = Store()
    run = store.project(PROJECT).create_run("long")
    times = 1_700_000_000_000 + np.arange(points, dtype=np.int64)
    chance = np.random.default_rng(7)
    run.extend_float_series(
        "metrics/loss", np.arange(points, dtype=np.float64), times, chance.normal(size=points)
    )
    run.set_file("weights", chance.bytes(points), "weights.bin", "")
    with running_server(store) as server, s3_server() as s3:
        os.environ.update(s3.environment)
        file_system("s3").mkdir(BUCKET)
        print(json.dumps({"token": server.token, "environment": s3.environment}), flush=True)
        time.sleep(3600)


def export(archive: Archive, token: str) -> int:
    from migration_pipeline.sources.export import export_runs
    from migration_pipeline.sources.neptune3.config import Neptune3Config
    from migration_pipeline.sources.neptune3.source import Neptune3Source
    from migration_pipeline.sources.source import Selection

    source = Neptune3Source(Neptune3Config(api_token=token))
    selection = Selection()
    report = export_runs(source, archive, source.list_runs(PROJECT, selection), selection)
    assert not report.failures, report.failures
    return sum(manifest.points for manifest in report.exported)


def load(archive: Archive, token: str) -> int:
    from migration_pipeline.targets.dummy.client import DummyTarget
    from migration_pipeline.targets.dummy.config import DummyConfig
    from migration_pipeline.targets.loading import load_runs, plan_load

    with tempfile.TemporaryDirectory() as folder:
        target = DummyTarget(DummyConfig(path=folder))
        plan = plan_load(target, archive, PROJECT)
        result = load_runs(target, archive, plan.mapping, plan.due)
    (run,) = result.runs
    assert run.good, run.error or run.verdict
    assert run.report
    return run.report.points


WORK = {"export": export, "load": load}


def measure(work: str, place: str, token: str) -> None:
    from migration_pipeline.archive.location import location

    root = location(place, "place")
    started = time.perf_counter()
    points = WORK[work](Archive(root / "data", root / "files"), token)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "points": points, "seconds": seconds}))


def measured(points: int) -> dict[tuple[str, str], int]:
    """(work, where the archive is) → peak bytes."""
    peaks = {}
    serving = [*THIS, "--serve", str(points)]
    server = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready: dict[str, Any] = json.loads(server.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            for kind, place in (("folder", folder), ("s3", str(StorePath("s3", BUCKET)))):
                for work in WORK:
                    done = subprocess.run(
                        [*THIS, "--measure", work, place, ready["token"]],
                        stdout=subprocess.PIPE,
                        text=True,
                        check=True,
                        env=os.environ | ready["environment"],
                    )
                    result = json.loads(done.stdout.splitlines()[-1])
                    peaks[work, kind] = result["peak"]
                    print(
                        f"{points:>12,} points: {work:6} {kind:6} peak {result['peak'] / 1e6:6.0f} "
                        f"MB, {result['seconds']:.1f} s, "
                        f"{result['points'] / result['seconds']:,.0f} points/s",
                        flush=True,
                    )
    finally:
        server.kill()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="*", default=[1_000_000, 50_000_000])
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    if arguments.measure:
        return measure(*arguments.measure)
    peaks = [measured(points) for points in arguments.points]
    for (work, kind), peak in peaks[-1].items():
        print(
            f"{work} {kind}: largest against smallest {peak / peaks[0][work, kind]:.2f}, "
            f"against a folder {peak / peaks[-1][work, 'folder']:.2f}"
        )
    return None


if __name__ == "__main__":
    main()
