"""What the benchmarks of trackers on this machine share: archives, timing, memory."""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.digest import RunSums
from migration_pipeline.archive.schema import MICROS, float_series_batch, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.mapping.scan import scan_run
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.target import Kin, Target

PROJECT, START = "bench/project", 1_700_000_000_000
SERIES, POINTS, PARAMETERS, PAIRS = 20, 5_000, 200, 5
Make = Callable[[Path], Target]
_MODULE = "migration_pipeline_tests.benchmarks.local_loads"


@dataclass
class Wide:
    """The run of the speed benchmark, as a training script has it: `rows` are what it logs at a
    step, all series at once, or, when they are `apart`, one at each."""

    apart: bool = False
    parameters: dict[str, float] = field(
        default_factory=lambda: {f"parameters/{i}": i / 7 for i in range(PARAMETERS)}
    )
    rows: list[dict[str, float]] = field(default_factory=list)
    steps: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.random.default_rng(0).random((POINTS, SERIES))
        names = [f"train/metric_{i}" for i in range(SERIES)]
        steps = np.arange(POINTS, dtype=np.int64)
        for i, name in enumerate(names):
            self.values[name] = values[:, i]
            self.steps[name] = steps * SERIES + i if self.apart else steps
        rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
        self.rows = [{n: v} for row in rows for n, v in row.items()] if self.apart else rows


def wide_archive(folder: Path, runs: int, data: Wide) -> Archive:
    """So many runs of one content."""
    archive = Archive(folder / "data", folder / "files")
    for number in range(runs):
        key = RunKey(PROJECT, f"wide-{number}")
        with RunWriter(archive, key, "benchmark") as writer:
            rows = [{"path": p, "type": "float", "value": v} for p, v in data.parameters.items()]
            rows.append({"path": "sys/creation_time", "type": "datetime", "value": START})
            writer.write(make_batch(key.project, key.run, rows))
            for name, values in data.values.items():
                writer.write(series(key, name, data.steps[name], values))
            writer.commit()
    return archive


def series(key: RunKey, name: str, steps: Any, values: Any) -> pa.RecordBatch:
    paths = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(values), dtype=np.int32)), pa.array([name])
    )
    return float_series_batch(
        key.project, key.run, paths, steps * MICROS, START + steps * 1000, values
    )


Documented = Callable[[Path, str, Wide], float]


def speed(
    folder: Path,
    make: Make,
    documented: Documented,
    called: str,
    floor: Callable[[Path], float] | None = None,
) -> None:
    """With series that share their steps, and with series of which no two have a step in common.

    Args:
        floor: seconds in which what one run left in the store below a folder is put into an empty
            one, with nothing read, mapped or made.
    """
    for name, pairs in (("together", PAIRS), ("apart", 2)):
        print(f"{SERIES} series of {POINTS:,} points, steps {name}:")
        one_speed(folder / name, make, documented, called, Wide(name == "apart"), pairs)
        if floor is not None:
            seconds = statistics.median(floor(folder / name / "ours") for _ in range(pairs))
            print(f"finished rows into the same tables, nothing else: {seconds:.3f} s")


def one_speed(
    folder: Path, make: Make, documented: Documented, called: str, data: Wide, pairs: int
) -> None:
    """Into one project each way; the first run, which makes the project, does not count."""
    archive = wide_archive(folder / "wide", pairs + 1, data)
    target = make(folder / "ours")
    target.check()
    plain, ours = [], []
    for number, run in enumerate(archive.runs(PROJECT).values()):
        used = time.process_time()
        seconds = documented(folder, f"{folder.name}-{number}", data)
        plain.append((seconds, time.process_time() - used))
        started, used = time.perf_counter(), time.process_time()
        scan = scan_run(run, target.capabilities, ProjectMapping())
        read = time.process_time() - used
        target.load(scan, ProjectMapping(), Kin())
        ours.append((time.perf_counter() - started, time.process_time() - used, read))
    slow, slow_used = (statistics.median(p[i] for p in plain[1:]) for i in (0, 1))
    fast, fast_used, read = (statistics.median(o[i] for o in ours[1:]) for i in (0, 1, 2))
    points = SERIES * POINTS
    print(f"{called}, step by step: {slow:.3f} s ({points / slow:,.0f} points/s)")
    print(f"load from the archive: {fast:.3f} s ({points / fast:,.0f} points/s)")
    print(f"{slow / fast:.1f} times as fast; {pairs} pairs: " + ", ".join(
        f"{p[0]:.3f}/{o[0]:.3f}" for p, o in zip(plain[1:], ours[1:], strict=True)))  # fmt: skip
    print(f"seconds of the processor: {slow_used:.3f} and {fast_used:.3f} "
          f"({slow_used / fast_used:.1f} times), of which the first of two readings of the archive "
          f"{read:.3f}")  # fmt: skip


def nothing_to_do(folder: Path, make: Make, runs: int = 5_000) -> None:
    archive = Archive(folder / "many" / "data", folder / "many" / "files")
    for number in range(runs):
        key = RunKey(PROJECT, f"run-{number}")
        with RunWriter(archive, key, "benchmark") as writer:
            row = {"path": "parameters/n", "type": "int", "value": number}
            writer.write(make_batch(key.project, key.run, [row]))
            writer.write(series(key, "loss", np.arange(10), np.arange(10) / 7))
            writer.commit()
    target = make(folder / "many-target")
    plan = plan_load(target, archive, PROJECT)
    started = time.perf_counter()
    load_runs(target, archive, plan.mapping, plan.due, verify="new", progress=lambda _: None)
    loaded = time.perf_counter() - started
    started = time.perf_counter()
    plan = plan_load(make(folder / "many-target"), archive, PROJECT)
    again = time.perf_counter() - started
    assert (plan.due, plan.unverified) == ([], [])
    listing = time.perf_counter()
    target.runs(PROJECT, ProjectMapping())
    print(f"{runs:,} runs loaded and verified: {loaded:.1f} s; nothing to do: {again:.1f} s, "
          f"of which listing {time.perf_counter() - listing:.1f} s")  # fmt: skip


def memory(folder: Path, maker: str, points: int = 50_000_000, count: int = 100) -> None:
    """A run of `points` in `count` series, written, loaded and read back, in processes."""
    for action in ("write", "load", "read"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "migration_pipeline_tests.benchmarks.local_loads",
                action,
                str(folder),
                maker,
                str(points),
                str(count),
            ],
            check=True,
            stdout=subprocess.PIPE,
        )
        said = json.loads(done.stdout.splitlines()[-1])
        print(f"{points:,} points, {action}: {said['seconds']:.0f} s, highest memory "
              f"{said['megabytes']:.0f} MB; {said['said']}")  # fmt: skip


def _act(action: str, folder: Path, maker: str, points: int, count: int) -> str:
    archive = Archive(folder / "large" / "data", folder / "large" / "files")
    key = RunKey(PROJECT, "large")
    if action == "write":
        random, each = np.random.default_rng(0), points // count
        with RunWriter(archive, key, "benchmark") as writer:
            for number in range(count):
                for first in range(0, each, 100_000):
                    values = random.random(min(100_000, each - first))
                    steps = np.arange(first, first + len(values), dtype=np.int64)
                    writer.write(series(key, f"train/metric_{number}", steps, values))
            writer.commit()
        return ""
    module, _, name = maker.partition(":")
    target: Target = getattr(importlib.import_module(module), name)(folder / "large-target")
    run = archive.runs(PROJECT)[key]
    if action == "load":
        scan = scan_run(run, target.capabilities, ProjectMapping())
        target.load(scan, ProjectMapping(), Kin())
        size = sum(p.stat().st_size for p in folder.glob("large-target/**/*") if p.is_file())
        return f"{size / 1e9:.1f} GB at the target"
    sums = RunSums(lambda path: archive.runs(PROJECT)[key].file_info(path))
    with tempfile.TemporaryDirectory() as scratch:
        for batch in target.read_back(key, ProjectMapping(), Path(scratch)):
            sums.update(batch)
    assert run.manifest
    return "equal to the archive" if sums.digest() == run.manifest.digest else "DIFFERENT"


if __name__ == "__main__":
    begun = time.perf_counter()
    said = _act(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken = time.perf_counter() - begun
    print(json.dumps({"seconds": taken, "megabytes": peak, "said": said}))
