"""Neptune 2.x for tests: a server on loopback, started once a process, a workspace a folder."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_pipeline.neptune_server.store import Project
from migration_pipeline.targets.neptune.client import NeptuneTarget
from migration_pipeline.targets.neptune.config import NeptuneConfig
from migration_pipeline_tests.servers.neptune import Neptune, add_workspace
from migration_pipeline_tests.servers.standin import account_key, start
from migration_pipeline_tests.targets.neptune2_backend import held, keep_open, read_only


@functools.cache
def server() -> Neptune:
    """That of this process and of all that are forked from it."""
    return start(Neptune())


def configuration(folder: Path, **more: Any) -> NeptuneConfig:
    """Settings for the folder's workspace, which is there then."""
    settings = {"workspace": account_key(folder), "retry_seconds": 0.3} | more
    add_workspace(server().url, account_key(folder))
    return NeptuneConfig(api_token=SecretStr(server().token), **settings)


def make(folder: Path) -> NeptuneTarget:
    target = NeptuneTarget(configuration(folder))
    keep_open(target, server().url)
    return target


def projects(folder: Path) -> dict[str, Project]:
    """Those of the folder's workspace by their names."""
    found = list(server().store.projects.values())
    return {project.name: project for project in found if project.workspace == account_key(folder)}


def whole(folder: Path) -> Any:
    """Name of a project → what it holds."""
    return {name: held(project.runs.values()) for name, project in projects(folder).items()}


def locked(folder: Path) -> AbstractContextManager[None]:
    return read_only(server(), folder)
