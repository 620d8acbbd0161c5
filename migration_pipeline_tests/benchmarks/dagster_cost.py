"""What Dagster costs: the same export and load with it, and by the calls below it.

    uv run --all-extras python -m migration_pipeline_tests.benchmarks.dagster_cost
        [--projects 10] [--runs 1000] [--series 6] [--points 1000] [--latency 0] [--rounds 1]
        [--target mlflow] [--storages SQLite PostgreSQL]

`with`: `dagster job execute -j migrate` in a new DAGSTER_HOME on SQLite, and on PostgreSQL:
processes, records of runs, steps, checks, events. `without`: one process that makes the calls that
the steps make (plan, export, examine; plan, load, read back) over the same runs in the same chunks.
Each is a process of its own against a server in this one and new places to write to. Prints wall
and CPU seconds of the process and its children, and what is on top in percent of `without`.

Without `--latency` the source answers at once and the target is a file: the hardest case. With it
every answer of the source comes so many milliseconds later; MLflow's file stays as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline_tests.distributed.machines import ROOT, Machines, machines
from migration_pipeline_tests.targets.stores import postgres_database, sqlite_uri

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.dagster_cost"]
IMPORTING = "importing what lies beside Dagster's definitions: "
"""Two functions of the work do; `without` says what that took, and it is not counted as work."""


def store(projects: int, runs: int, series: int, points: int) -> Store:
    """Runs with twelve parameters and some curves."""
    made, steps = Store(), np.arange(float(points))
    for p in range(projects):
        project = made.project(f"bench/p{p}")
        for r in range(runs):
            run = project.create_run(f"run-{r}")
            for i in range(12):
                run.set(f"config/p{i}", "float", r + i / 10)
            for s in range(series):
                run.extend_float_series(f"m{s}", steps, 1_700_000_000_000 + steps, steps * s)
    return made


def without(data: str, files: str, target: str) -> None:
    """The measured process without Dagster; settings of source and target as the jobs read them."""
    from migration_pipeline.archive.archive import Archive
    from migration_pipeline.sources.export import export_runs, plan_export
    from migration_pipeline.sources.registry import SourceSettings, make_source
    from migration_pipeline.sources.source import Selection
    from migration_pipeline.targets.loading import load_runs, plan_load
    from migration_pipeline.targets.registry import config_class, open_target

    clocks = read_clocks()
    from migration_pipeline.defs.checks import examine
    from migration_pipeline.defs.export_chunks import chunked

    wall, cpu = (now - then for now, then in zip(read_clocks(), clocks, strict=True))
    print(f"{IMPORTING}{wall} {cpu}")
    archive = Archive(Path(data), Path(files))
    source = make_source("neptune3", SourceSettings("NEPTUNE_API_TOKEN", 4, False, archive, []))
    selection = Selection()
    for project in source.list_projects():
        for runs in chunked(plan_export(source, archive, project, selection).due):
            assert not export_runs(source, archive, runs, selection).failures
        assert not examine(archive, project).findings
        if target:
            config = config_class(target)
            given = {f: os.environ[v] for f, v in config.environment.items() if v in os.environ}
            opened = open_target(target, config.model_validate(given))
            plan = plan_load(opened, archive, project)
            for keys in plan.chunks(max(1, len(plan.due) // 25)):
                assert not load_runs(opened, archive, plan.mapping, keys).failures


def read_clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def cost(made: Machines, command: list[str] | None) -> tuple[float, float]:
    """Wall and CPU seconds of the job, or of a command of ours without importing Dagster."""
    before, started = os.times(), time.perf_counter()
    process = made.start("without", command, {}) if command else made.job("migrate")
    code, out = made.finish(process, seconds=36_000)
    seconds, after = time.perf_counter() - started, os.times()
    assert code == 0, out
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    for line in out.splitlines():
        if line.startswith(IMPORTING):
            wall, cpu = map(float, line.removeprefix(IMPORTING).split())
            return seconds - wall, spent - cpu
    return seconds, spent


def one_round(
    folder: Path, token: str, target: str, storages: Sequence[str]
) -> Iterator[tuple[str, float, float]]:
    """Name, wall and CPU seconds of each, as soon as it has ended."""
    for name in ("without", *storages):
        settings = {"NEPTUNE_API_TOKEN": token, "MIGRATION_TARGETS": target}
        settings["GOODSEED_HOME"] = str(folder / name / "goodseed")
        if target == "mlflow":
            settings["MLFLOW_TRACKING_URI"] = sqlite_uri(folder / name / "mlflow")
        with (
            postgres_database() as database,
            machines(folder / name, DAGSTER_POSTGRES_URL=database, **settings) as made,
        ):
            if name != "PostgreSQL":
                shutil.copy(ROOT / "dagster.yaml", made.home)
            paths = [str(made.data), str(made.files), target]
            command = [*THIS, "--without", *paths] if name == "without" else None
            yield (name, *cost(made, command))


def main() -> None:
    if sys.argv[1:2] == ["--without"]:
        without(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1_000, help="of each project")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--target", default="mlflow", help="empty: export only")
    parser.add_argument("--series", type=int, default=6, help="of each run")
    parser.add_argument("--points", type=int, default=1_000, help="of each series")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds an answer")
    storages = ["SQLite", "PostgreSQL"]
    parser.add_argument("--storages", nargs="*", default=storages, choices=storages)
    given = parser.parse_args()
    what = f"{given.projects} projects of {given.runs:,} runs"
    with running_server(store(given.projects, given.runs, given.series, given.points)) as server:
        if given.latency:
            server.faults.add(Fault("", latency=given.latency / 1000))
        for number in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                wall = cpu = 0.0
                for name, seconds, spent in one_round(
                    Path(folder), server.token, given.target, given.storages
                ):
                    if name == "without":
                        wall, cpu = seconds, spent
                    print(
                        f"round {number + 1}, {what}, {name}: {seconds:.1f} s "
                        f"({100 * (seconds / wall - 1):+.1f} %), CPU {spent:.1f} s "
                        f"({spent - cpu:+.1f} s, {100 * (spent / cpu - 1):+.1f} %)",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
