"""Options of the trust tests, and the sample workspace that they export."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline.neptune_server.store import Store


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample archive, unpacked."""
    folder = tmp_path_factory.mktemp("sample")
    with zipfile.ZipFile(SAMPLE_ZIP) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="package")
def sample_store(sample: Path) -> Store:
    store = Store()
    load_archive(store, sample / "data", sample / "files")
    return store


@pytest.fixture
def server(sample_store: Store) -> Iterator[RunningServer]:
    """The sample workspace over the 3.x protocol, without faults."""
    with running_server(sample_store) as running:
        yield running
