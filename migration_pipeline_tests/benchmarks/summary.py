"""What a summary of a big archive costs: rows a second and peak resident memory.

    uv run python -m migration_pipeline_tests.benchmarks.summary [--runs 1000] [--points 20000]

Writes an archive with the archive's own writer into a temporary directory, then summarizes it,
pages included, in a process of its own that may have no more than 256 files open. The memory is
the kernel's `ru_maxrss` of that process. 20 million rows in 1,000 runs: 5 s of CPU with imports and
300 MB; 3.7 s (5.4 million rows a second) with two cores to itself, 7 to 9 s on cores with a load of
ten. 80 million rows in 2 runs: 27 s and 460 MB; 10,000 runs of 400 points: 14 s and 300 MB, both
under load. Asked for are 3 million rows a second below 600 MB.
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
import pyarrow as pa

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch, make_batch
from migration_pipeline.archive.summary.listing import projects_on_disk
from migration_pipeline.archive.summary.report import write_reports
from migration_pipeline.archive.writer import RunWriter

PROJECT, SERIES, PARAMETERS = "bench/summary", 20, 18
OPEN_FILES = 256
START = 1_700_000_000_000


def archive_in(folder: Path) -> Archive:
    return Archive(folder / "data", folder / "files")


def make(folder: Path, runs: int, points: int) -> None:
    """Runs of twenty series, with noisy losses and steps in hundredths."""
    random = np.random.default_rng(7)
    each = points // SERIES
    micros = np.arange(each, dtype=np.int64) * 10_000
    times = START + np.arange(each, dtype=np.int64) * 500
    rows = [{"path": f"config/p{i}", "type": "float", "value": i / 7} for i in range(PARAMETERS)]
    for number in range(runs):
        key = RunKey(PROJECT, f"run-{number}")
        facts = [
            {"path": "sys/name", "type": "string", "value": f"experiment {number % 50}"},
            {"path": "sys/creation_time", "type": "datetime", "value": START + number * 60_000},
        ]
        with RunWriter(archive_in(folder), key, "benchmark") as writer:
            writer.write(make_batch(key.project, key.run, rows + facts))
            for series in range(SERIES):
                name = f"train/loss_{series}" if series < 4 else f"layers/{series}/norm"
                paths = pa.DictionaryArray.from_arrays(np.zeros(each, dtype=np.int32), [name])
                values = np.exp(-micros / 3e6) + random.normal(0, 0.02, each)
                writer.write(float_series_batch(key.project, key.run, paths, micros, times, values))
            writer.commit()


def measure(folder: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    archive = archive_in(folder)
    started = time.perf_counter()
    projects, problems = projects_on_disk(archive)
    (report,) = write_reports(
        archive, projects, problems, [], folder / "report", done=lambda report: None
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu": used.ru_utime + used.ru_stime,
        "rows": report.figures.rows,
        "page": report.page.stat().st_size,
        "problems": len(report.figures.problems),
        "peak": used.ru_maxrss * 1024,
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=20_000, help="of each run")
    parser.add_argument("--times", type=int, default=3, help="how often it is measured")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        make(Path(folder), arguments.runs, arguments.points)
        print(f"written in {time.perf_counter() - started:.0f} s", flush=True)
        for _ in range(arguments.times):
            this = "migration_pipeline_tests.benchmarks.summary"
            command = [sys.executable, "-m", this, "--measure", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            print(f"{found['rows']:,} rows in {arguments.runs:,} runs: {found['seconds']:.1f} s "
                  f"({found['cpu']:.1f} s of CPU with imports), "
                  f"{found['rows'] / found['seconds'] / 1e6:.1f} million rows/s, peak "
                  f"{found['peak'] / 1e6:.0f} MB, page {found['page'] / 1e6:.1f} MB, "
                  f"{found['problems']} problems", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
