"""W&B's runs, from a server and from folders, go on into MLflow and to a Neptune server.

The real SDK wrote them; each target is read back and compared.
"""

from __future__ import annotations

from pathlib import Path

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.neptune_server import running_server
from migration_pipeline_tests.over_http import over_http
from migration_pipeline_tests.sources import onward
from migration_pipeline_tests.sources.serving import Exported
from migration_pipeline_tests.sources.wandb.conftest import PROJECT
from migration_pipeline_tests.sources.wandb.writing import STEPS


def test_into_mlflow(exported: Exported, tmp_path: Path) -> None:
    names = onward.into_mlflow(exported.archive, tmp_path)
    assert names == {key.run for key in exported.archive.runs(PROJECT)}


def test_to_a_neptune_server(exported: Exported) -> None:
    with over_http(), running_server() as server:
        runs = onward.into_neptune(exported.archive, server, onward.neptune)
        assert [*server.store.projects] == ["moved/my-vision"]
    rich = runs[RunKey(PROJECT, "rich")]
    assert rich.float_series("loss").steps.tolist() == [*range(STEPS), 1_000_000]
    assert rich.attributes["config/lr"].value == 0.1
    assert rich.attributes["config/nest/b/c"].value == "x"
    assert rich.attributes["sys/name"].value == "A rich run"
    assert rich.attributes["sys/tags"].value == ("one", "two, three")
    assert rich.attributes["text"].value.values == [f"line {i} ü" for i in range(STEPS)]
    files = {path for path, one in rich.attributes.items() if one.type == "file"}
    assert files >= {"files/f.txt", "checkpoints/sub/model.ckpt"}
