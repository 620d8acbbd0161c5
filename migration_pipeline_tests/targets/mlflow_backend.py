"""MLflow for the contract: a store in SQLite, and calls to MLflow's client."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.targets.stores import sqlite_uri
from migration_pipeline_tests.targets.watching import WatchedObject

_BATCH = 400
"""Points at a time: so few that a load has moments between them."""


def make(folder: Path) -> MlflowTarget:
    """The store below a folder; a new one when there is none."""
    database = folder / "mlflow.db"
    uri = f"sqlite:///{database}" if database.exists() else sqlite_uri(folder)
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    if target._to.tables:
        target._to.tables.batch = _BATCH
    return target


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    """Calls to MLflow's client, and statements to its tables."""
    assert isinstance(target, MlflowTarget)
    put_before(target, lambda calls: WatchedObject(calls, before, after))


def put_before(target: MlflowTarget, around: Callable[[Any], Any]) -> None:
    """Puts something of ours before all that a target talks to."""
    to = target._to
    client, entities = to._opened
    metrics, tables = around(to.metrics), to.tables
    to.__dict__["metrics"] = metrics
    to.__dict__["tables"] = metrics if tables else None
    to.__dict__["_opened"] = (around(client), entities)


def whole(folder: Path) -> Any:
    """Every run that is not in the trash: name, status, times, points, parameters, tags;
    datasets, models."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return sorted(database.execute(query).fetchall(), key=repr)

        active = "JOIN runs r USING (run_uuid) WHERE r.lifecycle_stage = 'active'"
        names = dict(rows("SELECT run_uuid, name FROM runs"))
        tags = rows(f"SELECT r.name, t.key, t.value FROM tags t {active}")
        return {
            "runs": rows(
                "SELECT e.name, r.name, r.status, r.start_time, r.end_time FROM runs r"
                " JOIN experiments e USING (experiment_id) WHERE r.lifecycle_stage = 'active'"
            ),
            "points": rows(
                f"SELECT r.name, key, value, timestamp, step, is_nan FROM metrics m {active}"
            ),
            "latest": rows(
                f"SELECT r.name, key, value, step, is_nan FROM latest_metrics m {active}"
            ),
            "parameters": rows(f"SELECT r.name, key, value FROM params p {active}"),
            "tags": [(run, key, names.get(value, value)) for run, key, value in tags],
            "datasets": rows(
                "SELECT r.name, d.name, d.digest, d.dataset_profile FROM inputs i JOIN datasets d"
                " ON d.dataset_uuid = i.source_id JOIN runs r ON r.run_uuid = i.destination_id"
                " WHERE r.lifecycle_stage = 'active'"
            ),
            "models": [
                (name, key, names.get(value, value))
                for name, key, value in rows(
                    "SELECT name, key, value FROM registered_model_tags UNION ALL"
                    " SELECT t.name, t.key, t.value FROM model_version_tags t"
                    " JOIN model_versions v USING (name, version)"
                    " WHERE v.current_stage <> 'Deleted_Internal'"
                )
            ],
            "stages": rows(
                "SELECT a.name, a.alias, t.value FROM registered_model_aliases a"
                " JOIN model_version_tags t USING (name, version) WHERE t.key = 'neptune.version'"
            ),
        }
