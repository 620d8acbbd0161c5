"""Export of float series: CPU-seconds of the exporting process, against the public way and a floor.

    uv run python -m migration_pipeline_tests.benchmarks.export_float_series [--rounds 3]

Three ways over the same server (a process of its own), in turns, each in a process of its own:

- `ours`: `export_runs`, Parquet, digests and syncs included;
- `public`: what the public interface costs: `neptune_query.runs.fetch_metrics`, then `stack`, then
  a Decimal per step, then the same Parquet;
- `floor`: the same answers fetched raw and thrown away, plus the same rows written to Parquet from
  memory.

Each process does a small project of the same form first, so that what a process pays once (imports
on first use, memory of the pools) is in none of the figures.

Dense: 4 runs × 32 series × 20,000 common steps. Sparse: the same with 5,000 disjoint steps each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.neptune_server.store import Store

PROJECT, WARM_UP = "bench/floats", "bench/warm-up"
RUNS, SERIES = 4, 32
SHAPES = {"dense": 20_000, "sparse": 5_000}


def serve() -> None:
    """The server's process: prints the token of each shape, then serves until it is killed."""
    from contextlib import ExitStack

    from migration_pipeline.neptune_server.running import running_server

    with ExitStack() as stack:
        for shape, points in SHAPES.items():
            store = Store()
            fill(store, PROJECT, shape, points)
            fill(store, WARM_UP, shape, 200)
            server = stack.enter_context(running_server(store))
            print(shape, server.token, flush=True)
        time.sleep(3600)


def fill(store: Store, name: str, shape: str, points: int) -> None:
    project = store.project(name)
    generator = np.random.default_rng(7)
    times = 1_700_000_000_000 + np.arange(points, dtype=np.int64) * 1000
    for r in range(RUNS):
        run = project.create_run(f"run-{r}")
        for s in range(SERIES):
            steps = np.arange(points, dtype=np.float64)
            if shape == "sparse":
                steps = steps * SERIES + s
            values = generator.normal(size=points)
            run.extend_float_series(f"metrics/layer_{s}/loss", steps, times, values)


def ours(token: str, out: Path, name: str = PROJECT) -> int:
    from migration_pipeline.archive.archive import Archive
    from migration_pipeline.sources.export import export_runs
    from migration_pipeline.sources.neptune3.config import Neptune3Config
    from migration_pipeline.sources.neptune3.source import Neptune3Source
    from migration_pipeline.sources.source import Selection

    source = Neptune3Source(Neptune3Config(api_token=token))
    selection = Selection(classes=("metrics",))
    runs = source.list_runs(name, selection)
    start_clock()
    report = export_runs(source, Archive(out / "data", out / "files"), runs, selection)
    assert not report.failures, report.failures
    return sum(m.points for m in report.exported)


def public(token: str, out: Path, name: str = PROJECT) -> int:
    import neptune_query
    import neptune_query.runs as nq

    from migration_pipeline.archive.schema import SCHEMA

    names = [f"run-{r}" for r in range(RUNS)]
    paths = [f"metrics/layer_{s}/loss" for s in range(SERIES)]
    neptune_query.set_api_token(token)
    nq.list_runs(project=name)
    start_clock()
    wide = nq.fetch_metrics(project=name, runs=names, attributes=paths, include_time="absolute")
    long = wide.stack(level=0, future_stack=True).reset_index()
    long.columns = ["run_id", "step", "attribute_path", *long.columns[3:]]
    long = long.dropna(subset=["value"])
    rows = len(long)
    columns: dict[str, pa.Array] = {
        "project_id": pa.array([name] * rows),
        "run_id": pa.array(long["run_id"], type=pa.string()),
        "attribute_path": pa.array(long["attribute_path"], type=pa.string()),
        "attribute_type": pa.array(["float_series"] * rows),
        "step": pa.array(
            [Decimal(s).quantize(Decimal("0.000001")) for s in long["step"]],
            type=SCHEMA.field("step").type,
        ),
        "timestamp": pa.array(long["absolute_time"]).cast(SCHEMA.field("timestamp").type),
        "float_value": pa.array(long["value"], type=pa.float64()),
    }
    table = pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in SCHEMA], schema=SCHEMA)
    pq.write_table(table, out / "public.parquet", compression="snappy")
    return rows


def floor(token: str, out: Path, name: str = PROJECT) -> int:
    from migration_pipeline.archive.schema import SCHEMA
    from migration_pipeline.sources.neptune3 import series as series_module
    from migration_pipeline.sources.neptune3.client import Neptune3Client
    from migration_pipeline.sources.neptune3.config import Neptune3Config
    from migration_pipeline.sources.neptune3.source import Neptune3Source
    from migration_pipeline.sources.neptune3.values import read_values
    from migration_pipeline.sources.source import Selection

    config = Neptune3Config(api_token=token)
    source, selection = Neptune3Source(config), Selection(classes=("metrics",))
    runs = source.list_runs(name, selection)
    answers: list[tuple[object, dict[str, object]]] = []
    batches: dict[str, list[pa.RecordBatch]] = {}
    record = Neptune3Client.float_series

    def recording(self: Neptune3Client, project: str, body: dict[str, object]) -> bytes:
        answers.append((project, body))
        return record(self, project, body)

    Neptune3Client.float_series = recording  # type: ignore[method-assign]
    parts = read_values(source.client, runs, selection)
    announced = next(part for part in parts if isinstance(part, dict))
    floats = [s for run in runs for s in announced[run].float_series]
    for cursors in series_module.in_groups(floats, series_module.FLOAT_SERIES_PER_REQUEST):
        while cursors:
            rows, cursors = series_module.float_page(source.client, cursors, False)
            for part in rows:
                batches.setdefault(part.run.key.run, []).append(part.batch)
    tables = {run: pa.Table.from_batches(b).cast(SCHEMA) for run, b in batches.items()}
    Neptune3Client.float_series = record  # type: ignore[method-assign]
    start_clock()
    for project, body in answers:
        record(source.client, str(project), body)
    for run, table in tables.items():
        pq.write_table(table, out / f"{run}.parquet", compression="snappy")
    return sum(t.num_rows for t in tables.values())


_started = (0.0, 0.0)


def start_clock() -> None:
    global _started
    _started = (time.process_time(), time.perf_counter())


def measure(way: str, token: str) -> None:
    """A measuring process: prints CPU seconds, wall seconds and points as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        globals()[way](token, Path(folder), WARM_UP)
        points = globals()[way](token, Path(folder))
        cpu, wall = (time.process_time() - _started[0], time.perf_counter() - _started[1])
    print(json.dumps({"cpu": cpu, "wall": wall, "points": points}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve()
    if arguments.measure:
        return measure(*arguments.measure)
    this = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.export_float_series"]
    server = subprocess.Popen([*this, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        tokens = dict(server.stdout.readline().split() for _ in SHAPES)
        for shape in SHAPES:
            results: dict[str, list[dict[str, float]]] = {}
            for _ in range(arguments.rounds):
                for way in ("floor", "ours", "public"):
                    done = subprocess.run(
                        [*this, "--measure", way, tokens[shape]],
                        stdout=subprocess.PIPE, text=True, check=True,
                    )  # fmt: skip
                    results.setdefault(way, []).append(json.loads(done.stdout.splitlines()[-1]))
            report(shape, results)
    finally:
        server.kill()
    return None


def report(shape: str, results: dict[str, list[dict[str, float]]]) -> None:
    cpu = {way: statistics.median(r["cpu"] for r in rows) for way, rows in results.items()}
    wall = {way: statistics.median(r["wall"] for r in rows) for way, rows in results.items()}
    points = {rows[0]["points"] for rows in results.values()}
    assert len(points) == 1, f"the three ways saw different points: {points}"
    total = points.pop()
    print(f"{shape}: {total:,.0f} points, median of {len(results['ours'])} rounds")
    for way in ("floor", "ours", "public"):
        print(
            f"  {way:7} {cpu[way]:7.2f} CPU-s {wall[way]:7.2f} s wall "
            f"{total / cpu[way]:12,.0f} points/CPU-s"
        )
    print(
        f"  ours against public: {cpu['public'] / cpu['ours']:.1f}x per CPU-second; "
        f"against the floor: {cpu['ours'] / cpu['floor']:.2f}"
    )


if __name__ == "__main__":
    main()
