"""A served 2.x project for the real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline_tests.over_http import over_http

from .clients import PROJECT


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """With a project of version 2, in an empty working directory, which is home, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    store = Store()
    store.project(PROJECT, key="TAB", version=2)
    with over_http(), running_server(store) as server:
        yield server
