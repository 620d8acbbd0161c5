"""Peak resident memory of exporting one run with one million points, and with fifty million.

    uv run python -m migration_pipeline_tests.benchmarks.export_memory [--points 1000000 50000000]

Each export runs in a process of its own against a server in another; the figure is the kernel's
`ru_maxrss` of the exporting process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from migration_pipeline_tests.benchmarks.export_float_series import PROJECT, ours, start_clock

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.export_memory"]


def serve(points: int) -> None:
    from migration_pipeline.neptune_server.running import running_server
    from migration_pipeline.neptune_server.store import Store

    store = Store()
    run = store.project(PROJECT).create_run("long")
    times = 1_700_000_000_000 + np.arange(points, dtype=np.int64)
    values = np.random.default_rng(7).normal(size=points)
    run.extend_float_series("metrics/loss", np.arange(points, dtype=np.float64), times, values)
    with running_server(store) as server:
        print(server.token, flush=True)
        time.sleep(3600)


def measure(token: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start_clock()
        started = time.perf_counter()
        points = ours(token, Path(folder))
        seconds = time.perf_counter() - started
        parts = len(list(Path(folder).rglob("*.parquet")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "points": points, "seconds": seconds, "parts": parts}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="*", default=[1_000_000, 50_000_000])
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    if arguments.measure:
        return measure(arguments.measure)
    peaks = []
    for points in arguments.points:
        serving = [*THIS, "--serve", str(points)]
        server = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            token = server.stdout.readline().strip()
            done = subprocess.run(
                [*THIS, "--measure", token], stdout=subprocess.PIPE, text=True, check=True
            )
        finally:
            server.kill()
        result = json.loads(done.stdout.splitlines()[-1])
        peaks.append(result["peak"])
        print(
            f"{result['points']:>12,} points: peak {result['peak'] / 1e6:6.0f} MB, "
            f"{result['parts']} part(s), {result['seconds']:.1f} s, "
            f"{result['points'] / result['seconds']:,.0f} points/s"
        )
    print(f"largest against smallest: {peaks[-1] / peaks[0]:.2f}")
    return None


if __name__ == "__main__":
    main()
