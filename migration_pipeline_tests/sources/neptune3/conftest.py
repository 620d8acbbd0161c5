"""One empty server a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Project
from migration_pipeline_tests.sources.serving import PROJECT, Exported, exporting


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def project(server: RunningServer) -> Project:
    return server.store.project(PROJECT)


@pytest.fixture
def exported(server: RunningServer, tmp_path: Path) -> Exported:
    return exporting(server, tmp_path)
