"""Directories that the real clients wrote; nobody changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.store import Project
from migration_pipeline_tests.sources.neptune_local import left, writing


@dataclass(frozen=True)
class Killed:
    """What a killed client left, and the server that it wrote to."""

    folder: Path
    server: RunningServer


def has_points(project: Project) -> Callable[[], bool]:
    """Whether the server has some of the run's points."""
    return lambda: any("/loss" in f"/{path}" for run in list(project) for path in [*run.attributes])


@pytest.fixture(scope="module")
def offline2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return left.write("offline2", tmp_path_factory.mktemp("offline2") / "training")


@pytest.fixture(scope="module")
def offline3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return left.write("offline3", tmp_path_factory.mktemp("offline3") / "training")


@pytest.fixture(scope="module")
def killed2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    store = Store()
    project = store.project(writing.PROJECT2, version=2)
    with running_server(store) as server:
        folder = tmp_path_factory.mktemp("killed2") / "training"
        yield Killed(left.kill("async2", folder, server, 1_000, has_points(project)), server)


@pytest.fixture(scope="module")
def killed3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    store = Store()
    project = store.project(writing.PROJECT3, version=3)
    with running_server(store) as server:
        folder = tmp_path_factory.mktemp("killed3") / "training"
        yield Killed(left.kill("async3", folder, server, 1_000, has_points(project)), server)
