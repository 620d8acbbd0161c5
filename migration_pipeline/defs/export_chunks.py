"""The runs of an export in pieces, and as plain data that goes from the plan to another step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs.config import MAX_CHUNKS, MIN_CHUNK
from migration_pipeline.mapping.forks import families
from migration_pipeline.sources.source import Event, RunRef, Selection


def chunked(runs: Sequence[RunRef], chunk_size: int = 0) -> list[list[RunRef]]:
    """At most `MAX_CHUNKS` lists; fork families stay together, parents first.

    Args:
        runs: of one project, in any order; a parent that is not among them is no matter.
        chunk_size: least runs a list; 0: `MIN_CHUNK`.
    """
    size = max(chunk_size or MIN_CHUNK, math.ceil(len(runs) / MAX_CHUNKS))
    chunks: list[list[RunRef]] = []
    by_key = {run.key: run for run in runs}
    parents = {run.key: replace(run.key, run=run.parent) if run.parent else None for run in runs}
    for family in families(by_key, parents):
        if not chunks or len(chunks[-1]) >= size:
            chunks.append([])
        chunks[-1].extend(by_key[key] for key in family)
    return chunks


class Listed:
    """The runs of a chunk as a listing, so that a repeated chunk does what is missing only."""

    name = "listed"

    def __init__(self, runs: list[RunRef]) -> None:
        self._runs = runs

    def list_projects(self) -> list[str]:
        raise NotImplementedError

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        return self._runs

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        raise NotImplementedError


def to_plain(run: RunRef) -> dict[str, Any]:
    return {
        "run": run.key.run,
        "kind": run.key.kind,
        "handle": run.handle,
        "modified": run.modified.isoformat() if run.modified else None,
        "parent": run.parent,
    }


def from_plain(project: str, run: dict[str, Any]) -> RunRef:
    modified = datetime.fromisoformat(run["modified"]) if run["modified"] else None
    key = RunKey(project, run["run"], run["kind"])
    return RunRef(key, run["handle"], modified, run["parent"])
