"""Options of the trust tests, and the sample workspace that they export."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.archive_store import load_archive
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
def sample_stores(sample: Path) -> dict[str, Store]:
    """The sample workspace for each source; for 2.x with its project of 2.x alone, which has every
    kind of object and every type."""
    stores = {}
    for name in ("neptune3", "neptune2"):
        store = stores[name] = Store()
        load_archive(store, sample / "data", sample / "files")
    for project in ("acme/hostile", "acme/digits"):
        del stores["neptune2"].projects[project]
    return stores
