"""How fast runs go into ZenML with everything kept, in how many requests, and how long nothing to
do takes.

    uv run python -m migration_pipeline_tests.benchmarks.zenml_load [speed] [nothing] [memory]
        [--runs 100] [--plain 5] [--listed 5000]

`speed`: runs of 20 series of 5,000 points and 200 parameters, into a ZenML server in a process of
its own and into a store without a server. The plain way is the documented one: a model version,
`log_metadata` for the parameters and for the summary of each series, `save_artifact` of the points
as a Parquet file, from arrays in memory; it is taken a few runs long, in turns with the load of
as many, which reads the archive and is not verified. `nothing`: a listing of loaded runs, each
with cards of 200 parameters and 20 series. `memory`: a run of 50 million points loaded and read
back in a process of its own, whose highest memory counts.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from pydantic import SecretStr

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.zenml.client import MAPPING_VERSION, MARK, ZenmlTarget
from migration_pipeline.targets.zenml.config import ZenmlConfig
from migration_pipeline.targets.zenml.naming import DATA, artifact_name, model_name
from migration_pipeline_tests.benchmarks import local_loads
from migration_pipeline_tests.benchmarks.local_loads import PROJECT, START, Wide
from migration_pipeline_tests.targets.zenml_backend import make, zenml_server

POINTS = local_loads.SERIES * local_loads.POINTS


def many(folder: Path, runs: int) -> Archive:
    archive, data = Archive(folder / "data", folder / "files"), Wide()
    columns = {name: np.array([row[name] for row in data.rows]) for name in data.rows[0]}
    for number in range(runs):
        key = RunKey(PROJECT, f"run-{number}")
        with RunWriter(archive, key, "benchmark") as writer:
            rows = [{"path": p, "type": "float", "value": v} for p, v in data.parameters.items()]
            rows.append({"path": "sys/creation_time", "type": "datetime", "value": START})
            writer.write(make_batch(key.project, key.run, rows))
            for name, values in columns.items():
                writer.write(local_loads.series(key, name, np.arange(len(values)), values))
            writer.commit()
    return archive


class Plain:
    """The documented way, in the configuration that a target has opened."""

    def __init__(self, target: ZenmlTarget, folder: Path) -> None:
        from zenml.client import Client

        target.check()
        self._client, self._folder = Client(), folder
        self._model = self._client.create_model("plain").id
        data = Wide()
        self._parameters = data.parameters
        self._columns = {n: np.array([row[n] for row in data.rows]) for n in data.rows[0]}

    def load(self, number: int) -> None:
        from zenml import link_artifact_to_model, log_metadata, save_artifact
        from zenml.model.model import Model

        name = f"run-{number}"
        version = self._client.create_model_version(self._model, name=name)
        log_metadata({"params": self._parameters}, model_version_id=version.id)
        for path, values in self._columns.items():
            summary = {"min": float(values.min()), "max": float(values.max()), "count": len(values)}
            log_metadata({path: summary}, model_version_id=version.id)
        steps = np.arange(local_loads.POINTS)
        file = self._folder / f"{name}.parquet"
        with pq.ParquetWriter(file, SCHEMA, compression="snappy") as writer:
            for path, values in self._columns.items():
                paths = pa.array([path] * len(steps))
                columns = [paths, steps, START + steps * 1000, values]
                writer.write_batch(pa.RecordBatch.from_arrays(_arrays(columns), schema=SCHEMA))
        artifact = save_artifact(file, name=f"plain-{number}")
        link_artifact_to_model(artifact, Model(name="plain", version=name))


LISTED = "bench/listed"
SCHEMA = pa.schema(
    {"path": pa.string(), "step": pa.int64(), "time": pa.int64(), "value": pa.float64()}
)


def _arrays(columns: list[Any]) -> list[pa.Array]:
    return [pa.array(column) for column in columns]


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The HTTP requests that this process makes."""
    seen: list[str] = []
    request = requests.Session.request

    def counting(self: requests.Session, method: str, url: str, *args: Any, **more: Any) -> Any:
        seen.append(method)
        return request(self, method, url, *args, **more)

    requests.Session.request = counting  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        requests.Session.request = request  # type: ignore[method-assign]


def speed(where: str, target: ZenmlTarget, folder: Path, archive: Archive, pairs: int) -> None:
    plain = Plain(target, folder)
    plan = plan_load(target, archive, PROJECT)
    first, rest = plan.due[:pairs], plan.due[pairs:]
    seconds: dict[str, float] = {"plain": 0.0, "ours": 0.0}
    sent: dict[str, int] = {"plain": 0, "ours": 0}
    for number, key in enumerate(first):
        with counted() as seen:
            started = time.perf_counter()
            plain.load(number)
            seconds["plain"] += time.perf_counter() - started
        sent["plain"] += len(seen)
        with counted() as seen:
            started = time.perf_counter()
            result = load_runs(target, archive, plan.mapping, [key], verify="off", parallel=1)
            seconds["ours"] += time.perf_counter() - started
        sent["ours"] += len(seen)
        assert not result.failures
    for name, taken in seconds.items():
        print(f"{where}, {name}: {taken / pairs:.2f} s and {sent[name] / pairs:.0f} requests a run "
              f"of {POINTS:,} points ({pairs} in turns)")  # fmt: skip
    print(f"{where}: {seconds['plain'] / seconds['ours']:.1f} times as fast")
    for verify, keys in (("off", rest), ("new", plan.due)):
        with counted() as seen:
            started = time.perf_counter()
            result = load_runs(target, archive, plan.mapping, keys, verify=verify)  # type: ignore[arg-type]
            taken = time.perf_counter() - started
        assert all(run.good for run in result.runs)
        what = "loaded" if verify == "off" else "read back and compared"
        print(f"{where}: {len(keys)} runs of {POINTS:,} points {what}: {taken:.1f} s, "
              f"{len(seen)} requests, {len(keys) * POINTS / taken:,.0f} points/s")  # fmt: skip


def nothing_to_do(folder: Path, runs: int) -> None:
    """Puts marks and cards there as loads would, without the data, then lists them: in the store,
    and by a server over the same database."""
    target = make(folder / "server")
    _fill(target, runs)
    _list("store", target, runs)
    with zenml_server(folder, auth="NO_AUTH") as url:
        _list("server", _on(url, folder), runs)


def _fill(target: ZenmlTarget, runs: int) -> None:
    records = target._records
    model = model_name(LISTED, ProjectMapping())
    model_id = records.make_model(model, "")
    params = {f"{i}": i / 7 for i in range(200)}
    summary = {"count": 5000, "min": 0.123456789, "max": 9.87654321, "last": 1.23456789}
    series = {f"metric_{i}": summary for i in range(20)}
    for number in range(runs):
        name = f"run-{number}"
        mark: dict[str, Any] = {"project": LISTED, "run_id": name, "kind": "run"}
        mark |= {"state": "complete", "mapping_version": MAPPING_VERSION, "digest": "0" * 32}
        artifact = records.make_artifact(artifact_name(model, DATA), name, f"/x/{number}", {})
        records.put_mark(artifact, {MARK: mark})
        version = records.make_version(model_id, name, "", ["one", "two"])
        records.put_cards(version, {MARK: mark, "params": params, "series": series})


def _list(where: str, target: ZenmlTarget, runs: int) -> None:
    target.check()
    with counted() as seen:
        started = time.perf_counter()
        found = target.runs(LISTED, ProjectMapping())
        taken = time.perf_counter() - started
    assert len(found) == runs
    print(f"{where}: {runs:,} runs listed in {taken:.1f} s, {len(seen)} requests")


def _on(url: str, folder: Path) -> ZenmlTarget:
    return ZenmlTarget(ZenmlConfig(store_url=SecretStr(url), config_path=str(folder / "client")))


def store(folder: Path) -> ZenmlTarget:
    return make(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["speed", "nothing", "memory"])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--plain", type=int, default=5)
    parser.add_argument("--listed", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in given.what:
            archive = many(folder / "archive", given.runs)
            speed("store", make(folder / "store"), folder, archive, given.plain)
            with zenml_server(folder, auth="NO_AUTH") as url:
                speed("server", _on(url, folder), folder, archive, given.plain)
        if "nothing" in given.what:
            (folder / "listed").mkdir()
            nothing_to_do(folder / "listed", given.listed)
        if "memory" in given.what:
            local_loads.memory(folder, "migration_pipeline_tests.benchmarks.zenml_load:store")


if __name__ == "__main__":
    main()
