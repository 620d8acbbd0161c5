"""How fast a plan reads an archive, with which memory, and how fast points go into MLflow.

`python -m migration_pipeline_tests.benchmarks.plan [runs] [points of a run]` makes an archive in a
temporary directory (by default 1,000 runs with 20,000 points each, half of them without a manifest,
as neptune-exporter writes them), plans it for every target in a process of its own, and loads
100,000 points into MLflow: SQLite, and a server with one worker over SQLite.

The baseline of the first figure is reading the same rows through Arrow alone; the second must not
grow with the number of runs; the third is what `measured` of MLflow's capabilities states.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline_tests.targets.stores import mlflow_server, sqlite_target

PROJECT, SERIES = "bench/plan", 10
_PLAN = """
import json, resource, sys, time
from pathlib import Path
from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.forecasting import Candidate, forecast_project
from migration_pipeline.targets.planning import LoadSettings
from migration_pipeline.targets.registry import capabilities_of, target_names
archive = Archive(Path(sys.argv[1]) / "data", Path(sys.argv[1]) / "files")
candidates = [Candidate(name, capabilities_of(name)) for name in target_names()]
started = time.perf_counter()
plan = forecast_project(archive, sys.argv[2], candidates, LoadSettings(), lambda said: None)
print(json.dumps({
    "seconds": time.perf_counter() - started, "points": plan.points, "targets": len(plan.targets),
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def make(folder: Path, runs: int, points: int, adopted: bool = True) -> Archive:
    """Runs of `SERIES` float series each; of `adopted` ones every other has no manifest."""
    archive = Archive(folder / "data", folder / "files")
    random = np.random.default_rng(0)
    for number in range(runs):
        key = RunKey(PROJECT, f"run-{number}")
        with RunWriter(archive, key, "benchmark") as writer:
            parameters = [{"path": f"p/{i}", "type": "float", "value": i / 7} for i in range(50)]
            writer.write(make_batch(key.project, key.run, parameters))
            of_one = points // SERIES
            for series in range(SERIES):
                writer.write(_series(key, f"m/{series}", random.random(of_one)))
            writer.commit()
        if adopted and number % 2:
            _forget(archive, key)
    return archive


def _series(key: RunKey, path: str, values: np.ndarray) -> pa.RecordBatch:
    paths = pa.array([path] * len(values)).dictionary_encode()
    steps = np.arange(len(values), dtype=np.int64) * 250_000
    times = np.arange(len(values), dtype=np.int64) + 1_760_000_000_000
    return float_series_batch(key.project, key.run, paths, steps, times, values)


def _forget(archive: Archive, key: RunKey) -> None:
    """Takes the manifest out of a run, as if another tool had written it."""
    run = archive.find(key)
    assert run is not None
    for part in run.parts:
        table = pq.read_table(part)
        pq.write_table(table.replace_schema_metadata(None), part, compression="snappy")


def read_only(archive: Archive) -> float:
    """Seconds that Arrow takes for all rows."""
    started = time.perf_counter()
    for run in archive.runs(PROJECT).values():
        for _ in run.batches():
            pass
    return time.perf_counter() - started


def load_rate(target: MlflowTarget, archive: Archive) -> float:
    """Points a second, without read-back."""
    plan = plan_load(target, archive, PROJECT)
    started = time.perf_counter()
    result = load_runs(target, archive, plan.mapping, plan.due, verify="off")
    assert not result.failures
    return sum(r.points for r in result.loaded) / (time.perf_counter() - started)


def main(runs: int = 1000, points: int = 20_000) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-plan-") as name:
        folder = Path(name)
        archive = make(folder / "archive", runs, points)
        alone = read_only(archive)
        command = [sys.executable, "-c", _PLAN, str(folder / "archive"), PROJECT]
        plan = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"plan of {plan['points']:,} points in {runs:,} runs for {plan['targets']} targets: "
            f"{plan['seconds']:.1f} s, {plan['points'] / plan['seconds']:,.0f} points/s, "
            f"{plan['megabytes']:,.0f} MB at most; Arrow alone reads them in {alone:.1f} s"
        )
        small = make(folder / "small", 4, 25_000, adopted=False)
        rate = load_rate(sqlite_target(folder / "store"), small)
        print(f"MLflow over SQLite: {rate:,.0f} points/s")
        with mlflow_server(folder / "server") as address:
            rate = load_rate(MlflowTarget(MlflowConfig(tracking_uri=address)), small)
        print(f"MLflow's server with one worker over SQLite: {rate:,.0f} points/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
