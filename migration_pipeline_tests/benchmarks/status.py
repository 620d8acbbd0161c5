"""What records of runs and `migration/status` cost, and what the page asks of them.

    uv run --all-extras python -m migration_pipeline_tests.benchmarks.status
        [--runs 10000] [--projects 10] [--storage SQLite|PostgreSQL]

Writes the records of runs that were exported and loaded into the dummy, by the code that the jobs
write them with and as many at a time as a chunk of a big project has, and prints wall and CPU
seconds of that; of the one query with which a project's plan learns which runs have a record; of
the states of all partitions, the first time and again, which the page asks Dagster for; and of a
status: from nothing, when nothing is new, and after a chunk of runs more.
"""

import argparse
import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import partitions, records, status
from migration_pipeline.defs.config import MAX_CHUNKS, MIN_CHUNK
from migration_pipeline_tests.targets.stores import postgres_database

ASSETS = (records.EXPORTED, records.loaded("dummy"))
SHOWN: dict[str, Any] = {
    "attributes": 18, "rows": 6_012, "points": 6_000, "files": 2, "bytes of files": 10,
    "digest": "0123456789abcdef0123456789abcdef", "verified": True,
}  # fmt: skip


@contextlib.contextmanager
def storage(name: str) -> Iterator[dg.DagsterInstance]:
    """A new instance whose storage is SQLite or PostgreSQL."""
    with contextlib.ExitStack() as on_exit:
        home = on_exit.enter_context(tempfile.TemporaryDirectory())
        given: dict[str, Any] = {"telemetry": {"enabled": False}}
        if name == "PostgreSQL":
            url = on_exit.enter_context(postgres_database())
            given["storage"] = {"postgres": {"postgres_url": url}}
        yield on_exit.enter_context(dg.DagsterInstance.local_temp(home, overrides=given))


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    wall, cpu = time.monotonic(), time.process_time()
    yield
    print(
        f"{what}: {time.monotonic() - wall:.2f} s, {time.process_time() - cpu:.2f} s of CPU",
        flush=True,
    )


def add_records(instance: dg.DagsterInstance, chunks: Sequence[Sequence[RunKey]]) -> None:
    @dg.op
    def recording(context: dg.OpExecutionContext) -> None:
        for keys in chunks:
            for asset in ASSETS:
                records.record(context, asset, [(key, SHOWN) for key in keys])

    @dg.job
    def benchmark() -> None:
        recording()

    assert benchmark.execute_in_process(instance=instance).success


def write_status(instance: dg.DagsterInstance, folder: Path, what: str) -> None:
    log: Any = logging.getLogger(__name__)
    with timed(f"status {what}"):
        status.materialize(instance, str(folder), what, log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--storage", default="SQLite", choices=["SQLite", "PostgreSQL"])
    given = parser.parse_args()
    names = [f"team/project-{i}" for i in range(given.projects)]
    of_each = given.runs // given.projects
    size = max(MIN_CHUNK, of_each // MAX_CHUNKS)
    keys = {name: [RunKey(name, f"run-{i:06}") for i in range(of_each)] for name in names}
    chunks = [k[i : i + size] for k in keys.values() for i in range(0, of_each, size)]
    with storage(given.storage) as instance, tempfile.TemporaryDirectory() as folder:
        print(f"{given.storage}, {given.runs:,} runs in {given.projects} projects", flush=True)
        records.add_partitions(instance, partitions.projects, names)
        with timed(f"{2 * given.runs:,} records, {size} at a time"):
            add_records(instance, chunks)
        with timed("which runs of a project have a record"):
            assert len(records.recorded(instance, records.EXPORTED, names[0])) == of_each
        for when in ("for the first time", "again"):
            with timed(f"states of all partitions of neptune/run {when}"):
                found = get_and_update_asset_status_cache_value(
                    instance, records.EXPORTED, partitions.runs
                )
            assert found is not None
        for what in ("from nothing", "when nothing is new"):
            write_status(instance, Path(folder), what)
        add_records(instance, [[RunKey(names[0], f"new-{i}") for i in range(MIN_CHUNK)]])
        write_status(instance, Path(folder), f"after {MIN_CHUNK} runs more")


if __name__ == "__main__":
    main()
