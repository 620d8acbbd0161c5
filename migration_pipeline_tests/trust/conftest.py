"""Options of the trust tests, and the sample workspace that they export."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from migration_pipeline.neptune_server.sample import SAMPLE_ZIP


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample archive, unpacked."""
    folder = tmp_path_factory.mktemp("sample")
    with zipfile.ZipFile(SAMPLE_ZIP) as archive:
        archive.extractall(folder)
    return folder
