"""Figures as JSON: steps are strings, since a double would round them; times ISO 8601 in UTC."""

from __future__ import annotations

import json
from typing import Any

from migration_pipeline.archive.summary import words
from migration_pipeline.archive.summary.figures import ProjectFigures, Range, RunFigures
from migration_pipeline.archive.summary.metrics import Metrics


def dump(value: object) -> str:
    """On one line; NaN and infinities, which JSON has not, are refused."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def project(figures: ProjectFigures, metrics: Metrics) -> dict[str, Any]:
    """A project's figures, without the list of its runs."""
    return {
        "project": figures.project,
        "kinds": figures.kinds,
        "adopted": figures.adopted,
        "unreadable": figures.unreadable,
        "parts": figures.parts,
        "parquet_bytes": figures.parquet_bytes,
        "files": figures.files,
        "missing_files": figures.missing_files,
        "file_bytes": figures.file_bytes,
        "attributes": figures.attributes,
        "rows": figures.rows,
        "points": figures.points,
        "types": [
            {
                "type": t.type,
                "attributes": t.attributes,
                "rows": t.rows,
                "rows_with_step": t.stepped,
            }
            | steps(t.steps)
            for t in figures.types
        ],
        "steps": {
            "rows": figures.steps.rows,
            "distinct": figures.steps.distinct,
            **steps(figures.steps.range),
        },
        "times": times(figures.times),
        "created": times(figures.created),
        "biggest": [run(one) for one in figures.biggest],
        "metrics": {
            "drawn": metrics.paths,
            "asked": metrics.asked,
            "unmatched": metrics.unmatched,
            "left_out": metrics.left_out,
        },
        "problems": [vars(problem) for problem in figures.problems],
    }


def run(figures: RunFigures) -> dict[str, Any]:
    """A run's figures."""
    return {
        "run": figures.key.run,
        "kind": figures.key.kind,
        "name": figures.name,
        "sys_id": figures.sys_id,
        "owner": figures.owner,
        "tags": figures.tags,
        "failed": figures.failed,
        "trashed": figures.trashed,
        "created": words.time(figures.created),
        "modified": words.time(figures.modified),
        "adopted": figures.adopted,
        "attributes": figures.attributes,
        "rows": figures.rows,
        "points": figures.points,
        "steps": steps(figures.steps),
        "times": times(figures.times),
        "parts": figures.parts,
        "parquet_bytes": figures.parquet_bytes,
        "files": figures.files,
        "missing_files": figures.missing_files,
        "file_bytes": figures.file_bytes,
    }


def steps(given: Range) -> dict[str, str | None]:
    return {"least": words.step(given.least), "most": words.step(given.most)}


def times(given: Range) -> dict[str, str | None]:
    return {"first": words.time(given.least), "last": words.time(given.most)}
