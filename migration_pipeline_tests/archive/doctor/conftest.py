from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline_tests.archive.doctor.projects import adopted_project, own_project
from migration_pipeline_tests.archive.making import archive_in


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Six runs as neptune-exporter writes them; nothing is wrong with them."""
    made = archive_in(tmp_path)
    adopted_project(made)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Archive:
    """The same six with manifests."""
    made = archive_in(tmp_path)
    own_project(made)
    return made
