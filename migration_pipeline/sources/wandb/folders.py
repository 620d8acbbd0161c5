"""Which folders of W&B's SDK lie under some paths, and which runs of which projects they are.

Several folders of one run, which was resumed, are one run. What a folder does not say (entity and
project of a run that was never sent) comes from WANDB_ENTITY or is `local` and `uncategorized`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import ConfigError, UnknownProjectError
from migration_pipeline.sources.source import RunRef
from migration_pipeline.sources.wandb.names import archive_projects
from migration_pipeline.sources.wandb.records import UnreadableFrom, read_records

_NO_PROJECT, _NO_ENTITY = "uncategorized", "local"
_HEAD = 20
"""The record of the run is among the first."""


@dataclass(frozen=True)
class Found:
    """A folder, and which run it says that it is."""

    log: Path
    run: str
    entity: str
    project: str


class Folders:
    """What lies under some paths.

    Args:
        paths: folders in which runs are looked for, at any depth.
        entity: of runs that name none.
    """

    def __init__(self, paths: Sequence[Path], entity: str) -> None:
        self._paths, self._entity = paths, entity

    def found(self) -> list[Found]:
        """By folder name, which begins with the time.

        Raises:
            ConfigError: a path is not there, or what a log says of its run cannot be read.
        """
        logs: dict[Path, Path] = {}
        for path in self._paths:
            if not path.is_dir():
                raise ConfigError(
                    f"MIGRATION_LOCAL_PATH: {path} is no folder",
                    "Give folders that hold `run-*` or `offline-run-*`, or one of these.",
                )
            logs |= {log.resolve(): log for log in path.rglob("run-*.wandb")}
        return [self._of(log) for log in sorted(logs.values(), key=lambda p: (_stamp(p), str(p)))]

    def _of(self, log: Path) -> Found:
        run = entity = project = ""
        try:
            for record in itertools.islice(read_records(log), _HEAD):
                if record.WhichOneof("record_type") == "run":
                    run, entity = record.run.run_id, record.run.entity
                    project = record.run.project
                    break
        except UnreadableFrom:
            pass
        except OSError as error:
            raise ConfigError(
                f"MIGRATION_LOCAL_PATH: {log} cannot be read: {error.strerror or error}",
                "Give this user the right to read it, or name the other folders.",
            ) from error
        return Found(
            log,
            run or log.stem.removeprefix("run-"),
            entity or self._entity or _NO_ENTITY,
            project or _NO_PROJECT,
        )

    def projects(self) -> dict[str, list[Found]]:
        """Name in the archive → its folders."""
        found = self.found()
        names: dict[str, dict[str, str]] = {}
        for entity in {one.entity for one in found}:
            of_entity = archive_projects(one.project for one in found if one.entity == entity)
            names[entity] = {theirs: ours for ours, theirs in of_entity.items()}
        projects: dict[str, list[Found]] = {}
        for one in found:
            name = f"{one.entity}/{names[one.entity][one.project]}"
            projects.setdefault(name, []).append(one)
        return projects

    def runs(self, project: str) -> list[RunRef]:
        """
        Raises:
            UnknownProjectError: no folder is of this project.
        """
        projects = self.projects()
        if (found := projects.get(project)) is None:
            raise UnknownProjectError(project, projects)
        by_run: dict[str, list[Found]] = {}
        for one in found:
            by_run.setdefault(one.run, []).append(one)
        return [
            RunRef(
                RunKey(project, run),
                json.dumps([str(one.log) for one in folders]),
                max(_modified(one.log) for one in folders),
            )
            for run, folders in by_run.items()
        ]


def _stamp(log: Path) -> str:
    """`20261122_115542` of `offline-run-20261122_115542-<id>`."""
    name = log.parent.name
    return name.removeprefix("offline-").removeprefix("run-")[:15]


def _modified(log: Path) -> datetime:
    return datetime.fromtimestamp(int(log.stat().st_mtime), UTC)
