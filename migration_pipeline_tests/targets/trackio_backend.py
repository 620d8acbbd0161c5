"""Trackio for the contract: a folder, and every statement to its databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from migration_pipeline.targets.target import Target
from migration_pipeline.targets.trackio.client import TrackioTarget
from migration_pipeline.targets.trackio.config import TrackioConfig
from migration_pipeline_tests.targets.watching import watched_connection


def make(folder: Path) -> TrackioTarget:
    """The store below a folder; a new one when there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    return TrackioTarget(TrackioConfig(directory=str(folder / "trackio")))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    assert isinstance(target, TrackioTarget)
    target._opener.factory = watched_connection(before, after)


def whole(folder: Path) -> Any:
    """Every run of every project: rows of all tables without the numbers that SQLite gives, and
    files."""
    home = folder / "trackio"
    return {
        "projects": {path.name: _rows(path) for path in sorted(home.glob("*.db"))},
        "files": {
            path.relative_to(home).as_posix(): path.read_bytes()
            for path in sorted(home.glob("artifacts/**/*"))
            if path.is_file()
        },
    }


def _rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as database:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return sorted(database.execute(query).fetchall(), key=repr)

        if not rows("SELECT 1 FROM sqlite_master WHERE name = 'neptune_runs'"):
            return {}
        runs = "JOIN neptune_runs r ON r.id = t.run"
        return {
            "metrics": rows(
                "SELECT run_id, run_name, timestamp, step, metrics, log_id FROM metrics"
            ),
            "configs": rows("SELECT run_id, run_name, config, created_at FROM configs"),
            "artifacts": rows(
                "SELECT a.name, a.type, a.description, v.version, v.manifest, v.created_at,"
                " v.producer_run_id, x.alias, l.run_id, l.run_name, l.direction FROM artifacts a"
                " LEFT JOIN artifact_versions v ON v.artifact_id = a.id"
                " LEFT JOIN artifact_aliases x ON x.artifact_version_id = v.id"
                " LEFT JOIN run_artifact_links l ON l.artifact_version_id = v.id"
            ),
            "runs": rows(
                "SELECT project, kind, run, state, tracker_id, digest, verified, losses"
                " FROM neptune_runs"
            ),
            "attributes": rows(
                "SELECT r.run, path, type, name, rows, timeless FROM neptune_attributes t " + runs
            ),
            "values": rows(f"SELECT r.run, attribute, again, value FROM neptune_values t {runs}"),
            "points": rows(
                f"SELECT r.run, attribute, shown, step, time, bits FROM neptune_points t {runs}"
            ),
            "lines": rows(
                f"SELECT r.run, attribute, step, time, value FROM neptune_lines t {runs}"
            ),
            "placed": rows(
                f"SELECT r.run, attribute, step, time, content FROM neptune_files t {runs}"
            ),
        }
