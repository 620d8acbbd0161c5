"""What the real clients left goes into the archive, into MLflow and back to a Neptune server.

Each target is read back and compared. The runs are damaged, by what the clients had lost: they are
loaded as far as they go, and marked, as somebody who sets MIGRATION_LOAD_DAMAGED=1 asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from migration_pipeline.neptune_server import RunningServer, running_server
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.over_http import over_http
from migration_pipeline_tests.sources import onward
from migration_pipeline_tests.sources.neptune_local import left
from migration_pipeline_tests.sources.neptune_local.conftest import Killed
from migration_pipeline_tests.sources.neptune_local.left import Exported, exported


@pytest.fixture(scope="module")
def made(
    offline2: Path,
    killed2: Killed,
    offline3: Path,
    killed3: Killed,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """All four in one archive, and no folder has changed."""
    folders = (offline2, killed2.folder, offline3, killed3.folder)
    before = [left.tree(folder) for folder in folders]
    found = exported(tmp_path_factory.mktemp("made"), *folders)
    assert [left.tree(folder) for folder in folders] == before
    assert len(found.found()) == 5
    return found


def test_into_mlflow(made: Exported, tmp_path: Path) -> None:
    names = onward.into_mlflow(made.archive, tmp_path)
    assert names == {key.run for key in made.found()}


@pytest.mark.parametrize("to", [onward.minfx, onward.neptune])
def test_back_to_a_neptune_server(made: Exported, to: Callable[[RunningServer], Target]) -> None:
    with over_http(), running_server() as server:
        onward.into_neptune(made.archive, server, to)
