"""What the real clients left goes into the archive, into MLflow and back to a Neptune server.

Each target is read back and compared. The runs are damaged, by what the clients had lost: they are
loaded as far as they go, and marked, as somebody who sets MIGRATION_LOAD_DAMAGED=1 asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.neptune_server import Store, running_server
from migration_pipeline.targets.damage import look_for_damage
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.sources.neptune_local import left
from migration_pipeline_tests.sources.neptune_local.conftest import Killed
from migration_pipeline_tests.sources.neptune_local.left import Exported, exported
from migration_pipeline_tests.targets import mlflow_backend

MOVED = "acme/moved"


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


def load(made: Exported, open_target: Callable[[], Target]) -> set[RunKey]:
    """Into a target, and read back; the runs that are there and equal."""
    good = set()
    for project in made.archive.projects():
        target = open_target()
        archive = look_for_damage(made.archive, project, "load").archive
        plan = plan_load(target, archive, project)
        result = load_runs(target, archive, plan.mapping, plan.due)
        assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
        assert all(run.verdict is not None for run in result.runs)
        good |= {run.key for run in result.runs}
    return good


def test_into_mlflow(made: Exported, tmp_path: Path) -> None:
    assert load(made, lambda: mlflow_backend.make(tmp_path)) == set(made.found())
    names = {name for _, name, *_ in mlflow_backend.whole(tmp_path)["runs"]}
    assert names >= {"exp", "the name"} or {key.run for key in made.found()} <= names


def test_back_to_a_neptune_server(
    made: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    store = Store()
    project = store.project(MOVED, version=2)
    with running_server(store) as server:
        config = MinfxConfig(api_token=SecretStr(server.token), project=MOVED)
        assert load(made, lambda: MinfxTarget(config)) == set(made.found())
    runs = {run.attributes["import/original_run_id"].value: run for run in project}
    assert set(runs) == {key.run for key in made.found()}
    for key in made.found():
        for path in ("m/loss", "loss", "other"):
            expected = [value for _, _, value in made.series(path, key.run)]
            finite = [one for one in expected if one == one and abs(one) != float("inf")]
            if finite == expected and expected:
                assert list(runs[key.run].float_series(path).values) == expected
