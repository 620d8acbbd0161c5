"""What Dagster costs: the same export and load with it, and by the calls below it.

    uv run --all-extras python -m migration_pipeline_tests.benchmarks.dagster_cost
        [--projects 10] [--runs 1000] [--rounds 1] [--target mlflow]

`with`: `dagster job execute -j migrate` in a new DAGSTER_HOME on SQLite, and on PostgreSQL:
processes, records of runs, steps, checks, events. `without`: one process that makes the calls that
the steps make (plan, export, examine; plan, load, read back) over the same runs in the same chunks.
Each is a process of its own against a server in this one and new places to write to. Prints wall
and CPU seconds of the process and its children, and what is on top in percent of `without`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from migration_pipeline.neptune_server.running import running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline_tests.distributed.machines import ROOT, Machines, machines
from migration_pipeline_tests.targets.stores import postgres_database, sqlite_uri

THIS = [sys.executable, "-m", "migration_pipeline_tests.benchmarks.dagster_cost"]
SERIES, POINTS = 6, 1_000


def store(projects: int, runs: int) -> Store:
    """Runs of an ordinary size: twelve parameters, six curves of a thousand points."""
    made, steps = Store(), np.arange(float(POINTS))
    for p in range(projects):
        project = made.project(f"bench/p{p}")
        for r in range(runs):
            run = project.create_run(f"run-{r}")
            for i in range(12):
                run.set(f"config/p{i}", "float", r + i / 10)
            for s in range(SERIES):
                run.extend_float_series(f"m{s}", steps, 1_700_000_000_000 + steps, steps * s)
    return made


def without(data: str, files: str, target: str) -> None:
    """The measured process without Dagster; settings of source and target as the jobs read them."""
    from migration_pipeline.archive.archive import Archive
    from migration_pipeline.defs.checks import examine
    from migration_pipeline.defs.export import chunked
    from migration_pipeline.sources.export import export_runs, plan_export
    from migration_pipeline.sources.registry import SourceSettings, make_source
    from migration_pipeline.sources.source import Selection
    from migration_pipeline.targets.loading import load_runs, plan_load
    from migration_pipeline.targets.registry import config_class, open_target

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


def cost(made: Machines, command: list[str] | None) -> tuple[float, float]:
    """Wall and CPU seconds of the job, or of a command of ours."""
    before, started = os.times(), time.perf_counter()
    process = made.start("without", command, {}) if command else made.job("migrate")
    code, out = made.finish(process, seconds=36_000)
    seconds, after = time.perf_counter() - started, os.times()
    assert code == 0, out
    spent = after.children_user + after.children_system
    return seconds, spent - before.children_user - before.children_system


def one_round(folder: Path, token: str, target: str) -> dict[str, tuple[float, float]]:
    found = {}
    for name in ("without", "SQLite", "PostgreSQL"):
        settings = {"NEPTUNE_API_TOKEN": token, "MIGRATION_TARGETS": target}
        if target == "mlflow":
            settings["MLFLOW_TRACKING_URI"] = sqlite_uri(folder / name / "mlflow")
        with (
            postgres_database() as database,
            machines(folder / name, DAGSTER_POSTGRES_URL=database, **settings) as made,
        ):
            if name != "PostgreSQL":
                shutil.copy(ROOT / "dagster.yaml", made.home)
            paths = [str(made.data), str(made.files), target]
            found[name] = cost(made, [*THIS, "--without", *paths] if name == "without" else None)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--without"]:
        without(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1_000, help="of each project")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--target", default="mlflow", help="empty: export only")
    given = parser.parse_args()
    what = f"{given.projects} projects of {given.runs:,} runs"
    with running_server(store(given.projects, given.runs)) as server:
        for number in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found = one_round(Path(folder), server.token, given.target)
            wall, cpu = found["without"]
            for name, (seconds, spent) in found.items():
                print(
                    f"round {number + 1}, {what}, {name}: {seconds:.1f} s "
                    f"({100 * (seconds / wall - 1):+.1f} %), CPU {spent:.1f} s "
                    f"({100 * (spent / cpu - 1):+.1f} %)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
