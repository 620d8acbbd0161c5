"""Neptune 2.x as a source: runs, models, model versions, project metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from migration_pipeline.sources.neptune2 import listing
from migration_pipeline.sources.neptune2.client import Neptune2Client
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.reader import GROUP_RUNS, Reader
from migration_pipeline.sources.neptune2.values import Values
from migration_pipeline.sources.reading import Reading
from migration_pipeline.sources.source import Event, RunDone, RunRef, Selection

BUFFERED = 32
"""Pages and files that may wait to be written: a page has at most 10,000 points, half a MB."""


class Neptune2Source:
    """Reads through the 2.x client's session; connects at the first request."""

    name = "neptune2"

    def __init__(self, config: Neptune2Config) -> None:
        self.config = config

    @cached_property
    def client(self) -> Neptune2Client:
        return Neptune2Client(self.config)

    def list_projects(self) -> list[str]:
        return self.client.list_projects()

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        return listing.list_runs(self.client, project, selection)

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        reader = Reader(self.client, selection, scratch)
        with Reading(
            runs,
            GROUP_RUNS,
            GROUP_RUNS // 2,
            lambda group: Values(reader, group),
            self.config.workers,
            BUFFERED,
            self.config.accept_missing_files,
        ) as reading:
            for event in reading.events():
                # The handle is a UUID; the id that people know is the run's own.
                yield (
                    replace(event, sys_id=event.run.key.run)
                    if isinstance(event, RunDone)
                    else event
                )
