"""Loading into MLflow against `MlflowClient.log_batch`, listing loaded runs, memory of a long run.

    python -m migration_pipeline_tests.benchmarks.mlflow_load compare [sqlite] [postgres] [server]
    python -m migration_pipeline_tests.benchmarks.mlflow_load idle [--runs 5000]
    python -m migration_pipeline_tests.benchmarks.mlflow_load memory [--points 50000000]

`compare` sends 20 series of 5,000 points and 200 parameters, in turns with the documented way,
which is fed from memory and sends a thousand points a call; ours reads the archive, writes all that
it keeps beside, and is stated with and without reading back. `idle` is what a load costs when
nothing is to be done. `memory` is the kernel's `ru_maxrss` of the process that loads and reads
back.
PostgreSQL is the one at MIGRATION_TEST_POSTGRES, or on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline_tests.targets.stores import mlflow_server, sqlite_uri

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.mlflow_load"]
POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1/postgres")
PROJECT, START = "bench/mlflow", 1_760_000_000_000
SERIES, POINTS, PARAMETERS = 20, 5000, 200
_AT_A_TIME = 262_144


def points_of(series: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, times in ms, values."""
    steps = np.arange(first, first + count, dtype=np.int64)
    return steps, START + steps * 10, np.random.default_rng([series, first]).normal(size=count)


def write_run(archive: Archive, run: str, series: int, points: int, parameters: int) -> None:
    key = RunKey(PROJECT, run)
    with RunWriter(archive, key, "benchmark") as writer:
        rows = [{"path": f"p/{i}", "type": "float", "value": i / 7} for i in range(parameters)]
        rows.append({"path": "sys/creation_time", "type": "datetime", "value": START})
        writer.write(make_batch(PROJECT, run, rows))
        for number in range(series):
            for first in range(0, points, _AT_A_TIME):
                count = min(_AT_A_TIME, points - first)
                steps, times, values = points_of(number, first, count)
                zeros = pa.array(np.zeros(count, dtype=np.int32))
                paths = pa.DictionaryArray.from_arrays(zeros, [f"metrics/{number}"])
                batch = float_series_batch(PROJECT, run, paths, steps * 1_000_000, times, values)
                writer.write(batch)
        writer.commit()


def documented(uri: str, artifacts: str) -> float:
    """Seconds of `MlflowClient.log_batch` for the same data, from memory."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(uri)
    experiment = client.create_experiment(f"plain {time.time_ns()}", artifact_location=artifacts)
    data = [points_of(number, 0, POINTS) for number in range(SERIES)]
    started = time.perf_counter()
    run = client.create_run(experiment, start_time=START).info.run_id
    params = [Param(f"p/{i}", str(i / 7)) for i in range(PARAMETERS)]
    for i in range(0, PARAMETERS, 100):
        client.log_batch(run, params=params[i : i + 100])
    for number, (steps, times, values) in enumerate(data):
        for i in range(0, POINTS, 1000):
            part = slice(i, i + 1000)
            triples = zip(
                values[part].tolist(), times[part].tolist(), steps[part].tolist(), strict=True
            )
            name = f"metrics/{number}"
            client.log_batch(run, metrics=[Metric(name, v, t, s) for v, t, s in triples])
    client.set_terminated(run)
    return time.perf_counter() - started


def ours(uri: str, artifacts: str, archive: Archive, prefix: str) -> tuple[float, float]:
    """Seconds of a load, and of reading back and comparing."""
    from migration_pipeline.mapping.terms import ProjectMapping

    root = "" if uri.startswith("http") else artifacts
    target = MlflowTarget(MlflowConfig(tracking_uri=uri, artifact_root=root))
    target.check()  # the other way has its connection, too
    mapping = ProjectMapping(name_prefix=prefix)
    keys = list(archive.runs(PROJECT))
    started = time.perf_counter()
    result = load_runs(target, archive, mapping, keys, verify="off")
    loaded = time.perf_counter()
    assert not result.failures, result.failures
    verified = load_runs(target, archive, mapping, keys)
    assert all(verdict.equal_to_archive for verdict in verified.verdicts)
    assert len(verified.verdicts) == len(keys)
    return loaded - started, time.perf_counter() - loaded


@contextlib.contextmanager
def store(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield sqlite_uri(folder)
    elif kind == "server":
        with mlflow_server(folder) as address:
            yield address
    else:
        name = f"migration_benchmark_{os.getpid()}"
        subprocess.run(["psql", "-q", POSTGRES, "-c", f"CREATE DATABASE {name}"], check=True)
        try:
            yield f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
        finally:
            drop = f"DROP DATABASE {name} WITH (FORCE)"
            subprocess.run(["psql", "-q", POSTGRES, "-c", drop], check=True)


def compare(kinds: list[str], rounds: int) -> None:
    points = SERIES * POINTS
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
            folder = Path(name)
            archive = Archive(folder / "data", folder / "files")
            write_run(archive, "one", SERIES, POINTS, PARAMETERS)
            artifacts = "mlflow-artifacts:/plain" if kind == "server" else str(folder / "artifacts")
            with store(kind, folder / "store") as uri:
                for number in range(rounds):
                    plain = documented(uri, artifacts)
                    load, back = ours(uri, artifacts, archive, f"round {number}")
                    print(
                        f"{kind}: log_batch {plain:.2f} s ({points / plain:,.0f} points/s), ours "
                        f"{load:.2f} s ({points / load:,.0f} points/s): {plain / load:.1f} times; "
                        f"read back and compared in {back:.2f} s; load average "
                        f"{os.getloadavg()[0]:.1f}",
                        flush=True,
                    )


def idle(runs: int) -> None:
    """One run is loaded; in the store it is copied under the other names."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        archive = Archive(folder / "data", folder / "files")
        for number in range(runs):
            write_run(archive, f"run-{number}", 5, 10, 50)
        uri = sqlite_uri(folder / "store")
        first = MlflowTarget(MlflowConfig(tracking_uri=uri))
        plan = plan_load(first, archive, PROJECT)
        load_runs(first, archive, plan.mapping, [RunKey(PROJECT, "run-0")])
        _multiply(folder / "store" / "mlflow.db", runs)
        print(f"{runs:,} loaded runs of 5 series and 50 parameters; nothing to do:")
        _nothing_to_do("sqlite", uri, archive, runs)
        (folder / "server").mkdir()
        with mlflow_server(folder / "server") as address:
            with contextlib.closing(sqlite3.connect(folder / "store" / "mlflow.db")) as database:
                database.execute("VACUUM INTO ?", (str(folder / "server" / "copy.db"),))
            os.replace(folder / "server" / "copy.db", folder / "server" / "mlflow.db")
            _nothing_to_do("server", address, archive, runs)


def _nothing_to_do(kind: str, uri: str, archive: Archive, runs: int) -> None:
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    target.check()
    started, cpu = time.perf_counter(), time.process_time()
    plan = plan_load(target, archive, PROJECT)
    planned = time.perf_counter()
    assert (len(plan.complete), plan.due) == (runs, []), (len(plan.complete), len(plan.due))
    result = load_runs(target, archive, plan.mapping, plan.complete)
    assert len(result.skipped) == runs
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"  {kind}: {seconds:.1f} s (the plan {planned - started:.1f} s), {cpu:.1f} s of CPU here; "
        f"load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def _multiply(path: Path, runs: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TEMP TABLE n (i INTEGER)")
        database.executemany("INSERT INTO n VALUES (?)", [(i,) for i in range(1, runs)])
        for table in ("runs", "tags", "params", "latest_metrics"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            new = {column: column for column in columns} | {"run_uuid": "printf('%032x', i)"}
            if table == "runs":
                new["name"] = "'run-' || i"
            elif table == "tags":
                new["value"] = (
                    "CASE WHEN key IN ('neptune.run_key', 'neptune.run_id', 'mlflow.runName') "
                    "THEN replace(value, 'run-0', 'run-' || i) ELSE value END"
                )
            database.execute(
                f"INSERT INTO {table} ({', '.join(new)}) SELECT {', '.join(new.values())} "
                f"FROM {table}, n WHERE run_uuid NOT LIKE '0000000%'"
            )
        database.commit()


def memory(points: int) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        write_run(Archive(folder / "data", folder / "files"), "long", 10, points // 10, 10)
        sqlite_uri(folder / "store")
        done = subprocess.run(
            [*THIS, "measure", "--folder", name], stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        size = (folder / "store" / "mlflow.db").stat().st_size
        print(
            f"{found['rows']:,} rows: peak {found['peak'] / 1e6:.0f} MB; loaded in "
            f"{found['load']:.0f} s, read back and compared in {found['back']:.0f} s; the database "
            f"has {size / 1e9:.1f} GB; load average {os.getloadavg()[0]:.1f}"
        )


def measure(folder: Path) -> None:
    uri = f"sqlite:///{folder}/store/mlflow.db"
    archive = Archive(folder / "data", folder / "files")
    load, back = ours(uri, str(folder / "artifacts"), archive, "long")
    run = archive.find(RunKey(PROJECT, "long"))
    assert run is not None
    assert run.manifest is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "load": load, "back": back, "rows": run.manifest.rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["compare", "idle", "memory", "measure"])
    parser.add_argument("kinds", nargs="*", default=["sqlite", "postgres", "server"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--points", type=int, default=50_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "compare":
        compare(given.kinds, given.rounds)
    elif given.what == "idle":
        idle(given.runs)
    elif given.what == "memory":
        memory(given.points)
    else:
        measure(given.folder)


if __name__ == "__main__":
    main()
