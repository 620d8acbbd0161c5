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
    """The sample workspace for each source. For 2.x it has the project of 2.x and one of 3.x, which
    is served as one of 2.x, without what that does not have."""
    stores = {}
    for name in ("neptune3", "neptune2"):
        store = stores[name] = Store()
        load_archive(store, sample / "data", sample / "files")
    del stores["neptune2"].projects["acme/hostile"]
    stores["neptune2"].projects["acme/digits"].version = 2
    return stores
