"""Weights & Biases as a source: a server, or folders of runs when some are given."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import ConfigError
from migration_pipeline.sources.reading import Reading, Task
from migration_pipeline.sources.source import Event, RunDone, RunRef, Selection
from migration_pipeline.sources.wandb.attributes import utc
from migration_pipeline.sources.wandb.client import WandbClient
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.folders import Folders
from migration_pipeline.sources.wandb.local import LocalReader, LocalRun
from migration_pipeline.sources.wandb.online import GROUP_RUNS, Group
from migration_pipeline.sources.wandb.reader import Reader

log = logging.getLogger(__name__)
BUFFERED = 8
"""Batches and files that may wait to be written; a batch has at most 1,000 rows of history."""


class WandbSource:
    """Reads through `wandb.Api`, connecting at the first request, or from folders."""

    name = "wandb"

    def __init__(self, config: WandbSourceConfig) -> None:
        self.config = config

    @cached_property
    def client(self) -> WandbClient:
        return WandbClient(self.config)

    @cached_property
    def folders(self) -> Folders | None:
        """None: a server is read."""
        if not self.config.local_paths:
            return None
        return Folders(self.config.local_paths, next(iter(self.config.entities), ""))

    def list_projects(self) -> list[str]:
        if self.folders:
            return sorted(self.folders.projects())
        return sorted(
            f"{entity}/{name}"
            for entity in self.client.entities()
            for name in self.client.projects(entity)
        )

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        """Runs by creation, then the project itself.

        Raises:
            UnknownProjectError: there is none of that name, as it is in the archive.
            ConfigError: a query in Neptune's language is selected.
        """
        check(selection)
        listed: list[RunRef] = []
        if self.folders:
            listed = self.folders.runs(project) if selection.wants_kind("run") else []
            return [ref for ref in listed if is_chosen(ref, selection)]
        if selection.wants_kind("run"):
            listed = [_ref(project, e) for e in self.client.runs(project, selection.run_ids)]
        if selection.wants_kind("project"):
            name = self.client.project_at(project)[1]
            listed.append(RunRef(RunKey(project, name, "project"), name))
        return [ref for ref in listed if is_chosen(ref, selection)]

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        reader: Reader | LocalReader
        begin: Callable[[Sequence[RunRef]], Task]
        if self.folders:
            reader = local = LocalReader(self.folders, selection, scratch)
            group, ahead, begin = 1, self.config.workers, lambda runs: LocalRun(local, runs[0])
        else:
            reader = online = Reader(self.client, selection, scratch)
            group, ahead, begin = GROUP_RUNS, GROUP_RUNS // 2, lambda runs: Group(online, runs)
        with Reading(
            runs,
            group,
            ahead,
            begin,
            self.config.workers,
            BUFFERED,
            self.config.accept_missing_files,
        ) as reading:
            for event in reading.events():
                if isinstance(event, RunDone):
                    # The handle of a run on disk is its folders.
                    parent = reader.parents.get(event.run)
                    event = replace(event, parent=parent, sys_id=event.run.key.run)
                yield event


def _ref(project: str, entry: Any) -> RunRef:
    return RunRef(RunKey(project, entry.id), entry.id, utc(entry._attrs.get("heartbeatAt")))


def is_chosen(ref: RunRef, selection: Selection) -> bool:
    if selection.run_ids:
        return ref.key.run in selection.run_ids
    return re.search(selection.run_regex, ref.key.run) is not None


def check(selection: Selection) -> None:
    """
    Raises:
        ConfigError: what W&B's runs cannot be selected by.
    """
    if selection.runs_query or selection.models_query:
        raise ConfigError(
            "runs_query or models_query is set, which only a Neptune server understands",
            "Leave them empty; run_regex and run_ids choose among W&B's runs.",
        )
