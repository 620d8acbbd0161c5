"""Export of a 2.x project: requests a run, wall time against the client's public way, memory.

    uv run python -m migration_pipeline_tests.benchmarks.neptune2_export [--rounds 3]

Every figure is of one server process and measuring processes of their own, which start with
nothing: the handshake (about ten requests a process) is part of each.

- `mixed`: 5 runs of 24 parameters, 10 float series of 1,500 points, 2 string series, 2 files, a
  file set, an artifact and 3 images, written by the real client. Requests a run with series pages
  of 10,000 and of 1,000 points; seconds with 20 ms added to each answer and 8 workers, of `ours`
  (`export_runs`: Parquet, digests and syncs included) and of two that keep nothing of what they
  get. `public` opens each run read-only and asks for a field at a time, `fetch_values` for series
  and `fetch` for the rest, a run a worker: what the vendor's published backup script does, which
  has no workers. `frugal` takes all single values by one `run.fetch` and spreads fields over the
  workers.
- `parameters`: requests a run for 1,000 runs of 24 parameters.
- `listing`: 12,000 runs listed, and the peak memory against that of listing 1,000.

The runs are a day old: what was written a minute ago is read singly, since tables lag behind.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.neptune_server.store import Store

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.neptune2_export"]
PROJECT = "bench/tabular"
WORKERS, LATENCY, RUNS = 8, 0.02, 5
PARAMETERS, SERIES, POINTS = 24, 10, 1_500
DAY = 86_400_000
ONE_PAGE = 10_000


def serve(what: str) -> None:
    """The server's process: `what` is a data set and, after a colon, its size or page length."""
    from migration_pipeline.neptune_server.faults import Fault
    from migration_pipeline.neptune_server.running import running_server

    name, _, number = what.partition(":")
    store = Store()
    store.clock = lambda: time.time_ns() // 1_000_000 - DAY
    store.project(PROJECT, version=2)
    with running_server(store) as server, tempfile.TemporaryDirectory() as folder:
        if name == "mixed":
            write_mixed(server.token, Path(folder))
            server.faults.limits.points_of_one = int(number)
            server.faults.add(Fault("", latency=LATENCY))
        else:
            fill(store, int(number), PARAMETERS if name == "parameters" else 1)
        server.traffic.reset()
        print(server.token, flush=True)
        for line in sys.stdin:  # each line is a question
            if line.strip() == "reset":
                server.traffic.reset()
            print(json.dumps(server.requests), flush=True)


def write_mixed(token: str, folder: Path) -> None:
    """Through the real client."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    import neptune
    from neptune.types import File

    generator = np.random.default_rng(7)
    for i in range(3):
        (folder / f"part{i}.bin").write_bytes(generator.bytes(2_000))
    for r in range(RUNS):
        run = neptune.init_run(
            project=PROJECT,
            api_token=token,
            source_files=[],
            git_ref=False,
            capture_hardware_metrics=False,
            capture_stdout=False,
            capture_stderr=False,
            capture_traceback=False,
        )
        for p in range(PARAMETERS):
            run[f"parameters/p{p}"] = r * 100 + p / 3
        times = [1_700_000_000.0 + i for i in range(POINTS)]
        for s in range(SERIES):
            values = [float(v) for v in generator.normal(size=POINTS)]
            run[f"metrics/m{s}"].extend(values, steps=list(range(POINTS)), timestamps=times)
        for s in range(2):
            run[f"logs/l{s}"].extend([f"line {i}" for i in range(30)])
        for f in range(2):
            run[f"files/f{f}"].upload(File.from_content(f"file {f}" * 200, extension="txt"))
        run["files/set"].upload_files([str(folder / f"part{i}.bin") for i in range(3)])
        run["dataset"].track_files(f"file://{folder / 'part0.bin'}")
        for i in range(3):
            run["images"].append(File.as_image(np.full((4, 4), i / 4)), step=i)
        run.stop()


def fill(store: Store, runs: int, parameters: int) -> None:
    from migration_pipeline.neptune_server.neptune2.creation import create_run

    project = store.project(PROJECT)
    for r in range(runs):
        run = create_run(project)
        for p in range(parameters):
            run.set(f"parameters/p{p}", "float", r + p / 3)


def ours(token: str) -> dict[str, Any]:
    """Everything of the project, as the job does it."""
    from migration_pipeline.archive.archive import Archive
    from migration_pipeline.sources.export import export_runs, plan_export
    from migration_pipeline.sources.neptune2.config import Neptune2Config
    from migration_pipeline.sources.neptune2.source import Neptune2Source
    from migration_pipeline.sources.source import Selection

    with tempfile.TemporaryDirectory() as folder:
        started = begin()
        archive = Archive(Path(folder) / "data", Path(folder) / "files")
        source = Neptune2Source(Neptune2Config(api_token=token, workers=WORKERS))
        selection = Selection(kinds=("run",))
        plan = plan_export(source, archive, PROJECT, selection)
        report = export_runs(source, archive, plan.due, selection)
        seconds = time.perf_counter() - started
        assert not report.failures, report.failures
        files = sum(len(m.files) for m in report.exported)
        points = sum(m.points for m in report.exported)
    return {"runs": len(plan.due), "seconds": seconds, "points": points, "files": files}


def begin() -> float:
    """Now, without what imports leave to be collected: that pauses every thread for 0.15 s."""
    gc.collect()
    return time.perf_counter()


def public(token: str) -> dict[str, Any]:
    """A run a task, a field at a time: what Neptune's own backup script does, with threads."""
    return documented_calls(token, frugal=False)


def frugal(token: str) -> dict[str, Any]:
    """As few documented calls as there can be, all of them spread over the workers."""
    return documented_calls(token, frugal=True)


def documented_calls(token: str, frugal: bool) -> dict[str, Any]:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    import neptune
    import neptune.internal.backends.hosted_neptune_backend

    started = begin()
    options: dict[str, Any] = {"api_token": token, "project": PROJECT, "mode": "read-only"}
    with neptune.init_project(**options) as project:
        table = project.fetch_runs_table(columns=["sys/id"], sort_by="sys/id", ascending=True)
        ids = list(table.to_pandas()["sys/id"])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:

        def open_run(sys_id: str) -> tuple[Any, list[str], Path]:
            run = neptune.init_run(with_id=sys_id, **options)
            if frugal:
                run.fetch()
            own = Path(folder) / sys_id
            own.mkdir()
            return run, list(paths_of(run.get_structure())), own

        def whole(sys_id: str) -> int:
            run, paths, own = open_run(sys_id)
            points = sum(fetch(run, path, own, frugal) for path in paths)
            run.stop()
            return points

        if frugal:
            opened = list(pool.map(open_run, ids))
            tasks = [(run, path, own, frugal) for run, paths, own in opened for path in paths]
            points = sum(pool.map(lambda task: fetch(*task), tasks))
            for run, _, _ in opened:
                run.stop()
        else:
            points = sum(pool.map(whole, ids))
    seconds = time.perf_counter() - started
    return {"runs": len(ids), "seconds": seconds, "points": points}


def fetch(run: Any, path: str, folder: Path, frugal: bool) -> int:
    """One field; returns its points."""
    field, kind = run[path], type(run.get_attribute(path)).__name__
    if kind in ("FloatSeries", "StringSeries"):
        return len(field.fetch_values(progress_bar=False))
    if kind == "Artifact":
        field.fetch_files_list()
        return 0
    if kind not in ("File", "FileSet", "FileSeries"):
        if not frugal and kind not in ("RunState", "GitRef"):
            field.fetch()
        return 0
    if kind == "File" and not frugal:
        field.fetch_extension()
    target = folder / path.replace("/", "_")
    field.download(str(target), progress_bar=False)
    return len(list(target.iterdir())) if kind == "FileSeries" else 0


def paths_of(structure: Any, above: str = "") -> Iterator[str]:
    for name, inner in structure.items():
        path = f"{above}/{name}" if above else name
        if isinstance(inner, dict):
            yield from paths_of(inner, path)
        else:
            yield path


def listing(token: str) -> dict[str, Any]:
    from migration_pipeline.sources.neptune2.config import Neptune2Config
    from migration_pipeline.sources.neptune2.source import Neptune2Source
    from migration_pipeline.sources.source import Selection

    source = Neptune2Source(Neptune2Config(api_token=token))
    started = time.perf_counter()
    found = source.list_runs(PROJECT, Selection(kinds=("run",)))
    seconds = time.perf_counter() - started
    ids = {ref.key.run for ref in found}
    return {"runs": len(found), "different": len(ids), "seconds": seconds, "ids": sorted(ids)[-1]}


def measure(way: str, token: str) -> None:
    result = globals()[way](token)
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


class Served:
    """A server process that tells its requests."""

    def __init__(self, process: subprocess.Popen[str], token: str) -> None:
        self.process, self.token = process, token

    def requests(self, question: str = "count") -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        answer: dict[str, int] = json.loads(self.process.stdout.readline())
        return answer

    def run(self, way: str) -> dict[str, Any]:
        """A measuring process; `requests` is what it asked."""
        self.requests("reset")
        done = subprocess.run(
            [*THIS, "--measure", way, self.token], stdout=subprocess.PIPE, text=True, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result | {"requests": self.requests()}


@contextmanager
def served(what: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [*THIS, "--serve", what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        token = next(line for line in process.stdout if not line.startswith("["))
        yield Served(process, token.strip())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    if arguments.measure:
        return measure(*arguments.measure)
    for page in (ONE_PAGE, 1_000):
        mixed(page, arguments.rounds)
    with served("parameters:1000") as server:
        result = server.run("ours")
        asked = sum(result["requests"].values())
        print(f"parameters: {result['runs']:,} runs, {asked} requests: {asked / 1000:.3f} a run")
    list_many()
    return None


WAYS = ("ours", "public", "frugal")


def mixed(page: int, rounds: int) -> None:
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with served(f"mixed:{page}") as server:
        for _ in range(rounds):
            for way in WAYS:
                results[way].append(server.run(way))
    print(f"mixed, series pages of {page:,} points, {LATENCY * 1000:.0f} ms, {WORKERS} workers:")
    seconds = {w: statistics.median(r["seconds"] for r in rows) for w, rows in results.items()}
    for way in WAYS:
        asked = sum(results[way][-1]["requests"].values())
        print(
            f"  {way:7} {asked:4} requests, {asked / RUNS:5.1f} a run; median of {rounds}: "
            f"{seconds[way]:.2f} s, {seconds[way] / seconds['ours']:.1f}x ours"
        )
    print("  ours in detail:")
    for name, count in sorted(results["ours"][-1]["requests"].items(), key=lambda one: -one[1]):
        print(f"    {count:5} {name}")
    points = {rows[-1]["points"] for rows in results.values()}
    assert len(points) == 1, f"the ways saw different points: {points}"


def list_many() -> None:
    peaks = []
    for runs in (1_000, 12_000):
        with served(f"listing:{runs}") as server:
            result = server.run("listing")
        assert result["runs"] == result["different"] == runs, result
        peaks.append(result["peak"])
        print(
            f"listing: {result['runs']:,} runs, {result['different']:,} different, "
            f"{sum(result['requests'].values())} requests, {result['seconds']:.1f} s, "
            f"peak {result['peak'] / 1e6:.0f} MB"
        )
    print(f"  12,000 against 1,000: {peaks[1] / peaks[0]:.2f} of the memory")


if __name__ == "__main__":
    main()
