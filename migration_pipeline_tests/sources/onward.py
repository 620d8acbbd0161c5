"""What a source brought into an archive goes on to targets, which are read back and compared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import isfinite
from operator import itemgetter
from pathlib import Path

from pydantic import SecretStr

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.store import Run
from migration_pipeline.targets.damage import look_for_damage
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.neptune.client import NeptuneTarget
from migration_pipeline.targets.neptune.config import NeptuneConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.archive.making import read_rows
from migration_pipeline_tests.targets import mlflow_backend

WORKSPACE = "moved"


def load(archive: Archive, open_target: Callable[[], Target]) -> set[RunKey]:
    """Every run that the environment lets be loaded; those that are there and equal to the archive.

    Fails where one is not.
    """
    good = set()
    for project in archive.projects():
        target = open_target()
        sound = look_for_damage(archive, project, "load").archive
        plan = plan_load(target, sound, project)
        result = load_runs(target, sound, plan.mapping, plan.due)
        assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
        assert all(verdict.equal_to_archive for verdict in result.verdicts)
        assert len(result.verdicts) == len(result.runs)
        good |= {run.key for run in result.runs}
    return good


def into_mlflow(archive: Archive, folder: Path) -> set[str]:
    """Loads all; the names of the runs that MLflow has then, where they hold its numbers."""
    keys = {key for project in archive.projects() for key in archive.runs(project)}
    assert load(archive, lambda: mlflow_backend.make(folder)) == keys
    there = mlflow_backend.whole(folder)
    ours = {value for key in keys for values in _numbers(archive, key).values() for value in values}
    infinite = {sys.float_info.max, -sys.float_info.max}  # of its SQL store
    assert {value for _, _, value, *_ in there["points"]} - infinite == ours - infinite
    return {name for _, name, *_ in there["runs"]}


def minfx(server: RunningServer) -> Target:
    server.store.project(f"{WORKSPACE}/everything", version=2)
    config = MinfxConfig(api_token=SecretStr(server.token), project=f"{WORKSPACE}/everything")
    return MinfxTarget(config)


def neptune(server: RunningServer) -> Target:
    server.accounts.add_workspace(WORKSPACE)
    return NeptuneTarget(NeptuneConfig(api_token=SecretStr(server.token), workspace=WORKSPACE))


def into_neptune(
    archive: Archive, server: RunningServer, to: Callable[[RunningServer], Target]
) -> dict[RunKey, Run]:
    """Loads all; what the server has of each run then, where its finite numbers are the archive's.

    A path that others lie below has another name there, which the load lists.
    """
    keys = {key for project in archive.projects() for key in archive.runs(project)}
    assert load(archive, lambda: to(server)) == keys
    runs = {
        RunKey(
            run.attributes["import/original_project_id"].value,
            run.attributes["import/original_run_id"].value,
            run.attributes["import/run/kind"].value,
        ): run
        for project in server.store.projects.values()
        if project.workspace == WORKSPACE
        for run in project
    }
    assert runs.keys() == keys
    for key, run in runs.items():
        compared = 0
        for path, values in _numbers(archive, key).items():
            if not any(other.startswith(f"{path}/") for other in run.attributes):
                there = run.float_series(path).values.tolist()
                assert [value for value in there if isfinite(value)] == values, (key, path)
                compared += 1
        assert compared or not _numbers(archive, key)
    return runs


def _numbers(archive: Archive, key: RunKey) -> dict[str, list[float]]:
    """Path → finite values of each float series, by step."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(archive, key):
        if row["type"] == "float_series" and isfinite(row["value"]):
            found.setdefault(row["path"], []).append((row["step"], row["value"]))
    by_step = {path: sorted(points, key=itemgetter(0)) for path, points in found.items()}
    return {path: [value for _, value in points] for path, points in by_step.items()}
