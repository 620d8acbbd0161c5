"""One server for all tests that do not break it, with an empty 2.x project for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Project
from migration_pipeline_tests.sources.serving import PROJECT, Exported, exporting


@pytest.fixture(scope="package")
def shared_server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def server(shared_server: RunningServer) -> RunningServer:
    store = shared_server.store
    with store.lock:
        store.projects.clear()
        store.by_uuid.clear()
        store.changes += 1
        store.model_registry = True
    shared_server.faults.clear()
    shared_server.traffic.reset()
    return shared_server


@pytest.fixture
def project(server: RunningServer) -> Project:
    return server.store.project(PROJECT, "TAB", version=2)


@pytest.fixture
def exported(server: RunningServer, tmp_path: Path) -> Exported:
    return exporting(server, tmp_path, "neptune2")
