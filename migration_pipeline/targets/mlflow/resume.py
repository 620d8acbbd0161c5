"""What MLflow has of a run that was begun and not finished."""

from __future__ import annotations

from typing import Any

from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.remote.resume import Beginning, Held


def held_of(to: Connection, run_id: str) -> Held:
    """Reads what is there, point by point, and keeps sums."""
    run = to.client.get_run(run_id)
    held = Held(params=dict(run.data.params))
    for piece in to.metrics.points(run_id, list(run.data.metrics), others=True):
        held.series.setdefault(piece.key, Beginning()).add(piece.hashes())
    _list(to.artifacts(run.info.artifact_uri), None, held.files)
    return held


def _list(artifacts: Any, folder: str | None, files: dict[str, int]) -> None:
    for item in artifacts.list_artifacts(folder):
        if item.is_dir:
            _list(artifacts, item.path, files)
        elif item.file_size is not None:
            files[item.path] = item.file_size
