"""Minfx for tests: a server on loopback, started once a process, a project a folder."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_pipeline.neptune_server.store import Project
from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline_tests.servers.minfx import Minfx
from migration_pipeline_tests.servers.standin import account_key, start
from migration_pipeline_tests.targets.neptune2_backend import held, keep_open, read_only


@functools.cache
def server() -> Minfx:
    """That of this process and of all that are forked from it."""
    return start(Minfx())


def configuration(folder: Path, retry_seconds: float = 0.3) -> MinfxConfig:
    return MinfxConfig(
        api_token=SecretStr(server().token),
        project=f"{account_key(folder)}/runs",
        retry_seconds=retry_seconds,
    )


def make(folder: Path) -> MinfxTarget:
    target = MinfxTarget(configuration(folder))
    keep_open(target, server().url)
    return target


def project(folder: Path) -> Project:
    found: Project = server().store.projects.get(f"{account_key(folder)}/runs")
    return found


def whole(folder: Path) -> Any:
    return held(project(folder).runs.values())


def locked(folder: Path) -> AbstractContextManager[None]:
    return read_only(server(), folder)
