"""How long it takes to adopt an archive of many runs, the first time and again.

    uv run python -m migration_pipeline_tests.benchmarks.adopt [--runs 10000] [--postgres URL]

Writes runs as neptune-exporter does (no manifest, one small part each), adopts them with
`dagster job execute … -j adopt` and a new DAGSTER_HOME on SQLite, and prints wall seconds of a
first and a second start, those of the examination alone, and, as the baseline of the records, what
one costs by `context.log_event`. With `--postgres` Dagster's storage is that database, which should
be empty; it needs the package dagster-postgres.
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

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.schema import SCHEMA, make_batch
from migration_pipeline.defs.events import log_materializations

REPOSITORY = Path(__file__).parents[2]
DAGSTER = str(Path(sys.executable).parent / "dagster")
PROJECT = "bench/adopted"
SINGLE = 300
"""Records that are written one by one for the baseline."""


def write_archive(root: Path, runs: int) -> Archive:
    archive = Archive(root / "data", root / "files")
    directory = archive.project_directory(PROJECT)
    directory.mkdir(parents=True)
    archive.files.mkdir()
    for number in range(runs):
        run = f"run-{number}"
        points = [
            {"path": "loss", "type": "float_series", "value": 1 / (step + 1), "step": step * 10**6,
             "timestamp": 1_700_000_000_000 + step}
            for step in range(20)
        ]  # fmt: skip
        rows = [
            {"path": "config/epochs", "type": "int", "value": number},
            {"path": "config/lr", "type": "float", "value": 0.1 * number},
            {"path": "sys/id", "type": "string", "value": f"BEN-{number + 1}"},
            {"path": "sys/name", "type": "string", "value": f"experiment-{number % 50}"},
            *points,
        ]
        table = pa.Table.from_batches([make_batch(PROJECT, run, rows)]).cast(SCHEMA)
        part = layout.part_name(layout.name_on_disk(run), 0)
        pq.write_table(table, directory / part, compression="snappy")
    return archive


def adopt(home: Path, archive: Archive) -> tuple[float, str]:
    """Wall seconds and the last line of one run of the job."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "MIGRATION_DATA_PATH": str(archive.data),
        "MIGRATION_FILES_PATH": str(archive.files),
        "NEPTUNE_PROJECT": "",
    }
    started = time.perf_counter()
    done = subprocess.run(
        [DAGSTER, "job", "execute", "-m", "migration_pipeline.definitions", "-j", "adopt"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    seconds = time.perf_counter() - started
    return seconds, done.stdout.strip().splitlines()[-1]


def a_record(home: Path, batched: bool) -> float:
    """Milliseconds that a record takes in the same storage, one by one or in batches."""

    @dg.op
    def recording(context):  # type: ignore[no-untyped-def]
        made = [
            dg.AssetMaterialization(f"bench_{batched}", partition=f"{PROJECT}|run-{i}",
                                    metadata={"run": f"run-{i}", "grade": "plausible"})
            for i in range(SINGLE)
        ]  # fmt: skip
        started = time.perf_counter()
        if batched:
            log_materializations(context, made)
        else:
            for materialization in made:
                context.log_event(materialization)
        context.add_output_metadata({"seconds": time.perf_counter() - started})

    @dg.job
    def job() -> None:
        recording()

    with dg.DagsterInstance.from_config(str(home)) as instance:
        result = job.execute_in_process(instance=instance)
    (output,) = (e for e in result.all_events if e.is_successful_output)
    seconds: float = output.step_output_data.metadata["seconds"].value
    return seconds / SINGLE * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--postgres", default="", help="postgresql://… of an empty database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        shutil.copy(REPOSITORY / "dagster.yaml", home)
        if given.postgres:
            with (home / "dagster.yaml").open("a") as file:
                file.write(f"storage:\n  postgres:\n    postgres_url: {given.postgres}\n")
        started = time.perf_counter()
        archive = write_archive(Path(folder), given.runs)
        print(f"{given.runs:,} runs written in {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        examine(archive, PROJECT)
        print(f"the examination alone: {time.perf_counter() - started:.1f} s", flush=True)
        for what in ("adopted", "adopted again"):
            seconds, last = adopt(home, archive)
            print(f"{what}: {seconds:.1f} s ({seconds / given.runs * 1000:.2f} ms a run); "
                  f"said: {last}", flush=True)  # fmt: skip
        print(f"a record by log_event: {a_record(home, False):.2f} ms, "
              f"in batches: {a_record(home, True):.2f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
