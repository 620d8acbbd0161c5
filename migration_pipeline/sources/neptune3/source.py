"""Neptune 3.x as a source."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from migration_pipeline.sources.neptune3 import listing
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.files import Downloader
from migration_pipeline.sources.neptune3.tasks import Reader, Values
from migration_pipeline.sources.reading import Reading
from migration_pipeline.sources.source import Event, RunRef, Selection

GROUP_RUNS = 100
"""Runs whose values are asked for together."""
BUFFERED = 2
"""Pages that may wait to be written; one can be of many megabytes."""


class Neptune3Source:
    """Reads through neptune-query's client; connects at the first request."""

    name = "neptune3"

    def __init__(self, config: Neptune3Config) -> None:
        self.config = config

    @cached_property
    def client(self) -> Neptune3Client:
        return Neptune3Client(self.config)

    def list_projects(self) -> list[str]:
        return self.client.list_projects()

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        return listing.list_runs(self.client, project, selection)

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        with contextlib.closing(Downloader(self.client, scratch)) as downloader:
            reader = Reader(self.client, selection, downloader)
            with Reading(
                runs,
                GROUP_RUNS,
                2 * GROUP_RUNS,
                lambda group: Values(reader, group),
                self.config.workers,
                BUFFERED,
                self.config.accept_missing_files,
            ) as reading:
                yield from reading.events()
