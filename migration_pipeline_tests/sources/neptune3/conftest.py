"""One server for all tests that do not break it, empty for each."""

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
    shared_server.store.projects.clear()
    shared_server.faults.clear()
    shared_server.traffic.reset()
    shared_server.object_stores.provider = "gcp"
    return shared_server


@pytest.fixture
def project(server: RunningServer) -> Project:
    return server.store.project(PROJECT)


@pytest.fixture
def exported(server: RunningServer, tmp_path: Path) -> Exported:
    return exporting(server, tmp_path)
