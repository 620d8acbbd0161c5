"""Rows a second and peak memory of the doctor over archives of many runs.

    uv run python -m migration_pipeline_tests.benchmarks.doctor [--rows 20000000] [--runs 1000]

Three archives with the same rows are made in a temporary directory and examined, each by a process
of its own: one as neptune-exporter writes it (no manifest: all columns that can have values are
read), and one of ours, with and without its digests. The figures are of `examine`, from the listing
to the diagnosis; the memory is the kernel's `ru_maxrss` of the whole process. Seconds of CPU tell
more than seconds where the machine has other work.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.schema import (
    MICROS,
    SCHEMA,
    float_series_batch,
    in_memory_form,
    make_batch,
)
from migration_pipeline.archive.writer import RunWriter

PROJECT = "bench/big"
SERIES = 10
START = 1_735_689_600_000
THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.doctor"]


def batches(number: int, points: int) -> Iterator[pa.RecordBatch]:
    """Parameters, then metrics as neptune-exporter orders them (step by step), then text."""
    key = RunKey(PROJECT, f"run-{number}")
    created = START + 60_000 * number
    system: dict[str, tuple[str, Any]] = {
        "sys/id": ("string", f"BIG-{number + 1}"),
        "sys/custom_run_id": ("string", key.run),
        "sys/name": ("string", f"exp-{number % 50}"),
        "sys/creation_time": ("datetime", created),
        "sys/modification_time": ("datetime", created + 10**10),
    }
    config = {f"config/f{i}": ("float", i / 7) for i in range(20)}
    config |= {f"config/s{i}": ("string", f"value {i}") for i in range(10)}
    rows = [{"path": p, "type": t, "value": v} for p, (t, v) in {**system, **config}.items()]
    yield make_batch(PROJECT, key.run, rows)
    names = [f"metrics/group_{i % 3}/series_{i:02}" for i in range(SERIES)]
    codes = pa.array(np.tile(np.arange(SERIES, dtype=np.int32), points))
    steps = np.repeat(np.arange(points, dtype=np.int64), SERIES)
    values = np.random.default_rng(number).normal(size=points * SERIES)
    paths = pa.DictionaryArray.from_arrays(codes, pa.array(names))
    times = created + 1_000 + 1_000 * steps
    yield float_series_batch(PROJECT, key.run, paths, MICROS * steps, times, values)
    lines = [
        {"path": "runtime/stdout", "type": "string_series", "value": f"line {i}",
         "step": i * MICROS, "timestamp": created + 1_000 + i}
        for i in range(50)
    ]  # fmt: skip
    yield make_batch(PROJECT, key.run, lines)


def make(folder: Path, runs: int, rows: int, ours: bool) -> None:
    archive = Archive(folder / "data", folder / "files")
    points = rows // runs // SERIES
    directory = archive.project_directory(PROJECT)
    directory.mkdir(parents=True)
    archive.files_root(PROJECT).mkdir(parents=True)
    for number in range(runs):
        key = RunKey(PROJECT, f"run-{number}")
        if ours:
            with RunWriter(archive, key, "benchmark") as writer:
                for batch in batches(number, points):
                    writer.write(batch)
                writer.commit(sys_id=f"BIG-{number + 1}")
            continue
        part = directory / layout.part_name(layout.name_on_disk(key.run), 0)
        with pq.ParquetWriter(part, SCHEMA, compression="snappy") as file:
            for batch in batches(number, points):
                file.write_batch(in_memory_form(batch, SCHEMA), row_group_size=1 << 30)


def measure(folder: Path, thorough: bool) -> None:
    pa.set_cpu_count(2)
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = examine(Archive(folder / "data", folder / "files"), PROJECT, thorough=thorough)
    used = resource.getrusage(resource.RUSAGE_SELF)
    said = {
        "rows": found.rows,
        "seconds": found.seconds,
        "cpu": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "peak": used.ru_maxrss * 1024,
        "grades": found.grades(),
    }
    print(json.dumps(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(arguments.measure, not arguments.quick)
    cases = (
        ("no manifest, all rows", False, []),
        ("manifest, digests", True, []),
        ("manifest, no digests", True, ["--quick"]),
    )
    with tempfile.TemporaryDirectory() as name:
        folders = {False: Path(name, "adopted"), True: Path(name, "ours")}
        for ours, folder in folders.items():
            make(folder, arguments.runs, arguments.rows, ours)
        for what, ours, options in cases:
            command = [*THIS, "--measure", str(folders[ours]), *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            said = json.loads(done.stdout.splitlines()[-1])
            grades = ", ".join(f"{n} {grade}" for grade, n in said["grades"].items() if n)
            print(
                f"{what:22} {said['rows']:>11,} rows, {arguments.runs:,} runs: "
                f"{said['seconds']:6.1f} s, {said['rows'] / said['seconds'] / 1e6:6.1f} million "
                f"rows/s, {said['cpu']:.1f} s of CPU, peak {said['peak'] / 1e6:4.0f} MB ({grades})",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
