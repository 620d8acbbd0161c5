"""Neptune's model versions in MLflow's registry, and its artifacts as MLflow's datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.data
import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.naming import model_name
from migration_pipeline_tests.contract.datasets import (
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
    write_run,
)
from migration_pipeline_tests.contract.neptune2 import TABULAR, artifact
from migration_pipeline_tests.contract.test_contract import complaints, load_all
from migration_pipeline_tests.targets.stores import sqlite_target

NAME = "acme.tabular.TAB-MOD"


def version(number: int, stage: str, *more: Row) -> RunData:
    rows = (
        param("sys/id", "string", f"TAB-MOD-{number}"),
        param("sys/model_id", "string", "TAB-MOD"),
        param("sys/stage", "string", stage),
        param("sys/description", "string", f"the {number}th"),
        *curve("auc", 2),
        Row("binary", "file", b"%d" % number, extension=".onnx"),
        *more,
    )
    return RunData(f"TAB-MOD-{number}", rows, TABULAR, "model_version", plain=True)


MODEL = RunData(
    "TAB-MOD",
    (param("sys/id", "string", "TAB-MOD"), param("sys/description", "string", "who leaves")),
    TABULAR,
    "model",
    plain=True,
)
VERSIONS = (
    version(2, "production"),
    version(10, "production"),
    version(3, "none"),
    version(4, "staging"),
    version(5, "archived"),
)


@pytest.fixture
def target(tmp_path: Path) -> MlflowTarget:
    return sqlite_target(tmp_path / "store")


def registered(target: MlflowTarget) -> dict[str, tuple[str, str]]:
    """Neptune's number → stage, description of all versions there are."""
    found = list(target._to.client.search_model_versions(f"name = '{NAME}'"))
    return {v.tags["neptune.version"]: (v.tags["neptune.stage"], v.description) for v in found}


def aliases(target: MlflowTarget) -> dict[str, str]:
    """Alias → Neptune's number of the version."""
    client = target._to.client
    return {
        alias: client.get_model_version_by_alias(NAME, alias).tags["neptune.version"]
        for alias in client.get_registered_model(NAME).aliases
    }


ALL = {
    "2": ("production", "the 2th"),
    "10": ("production", "the 10th"),
    "3": ("none", "the 3th"),
    "4": ("staging", "the 4th"),
    "5": ("archived", "the 5th"),
}


@pytest.mark.parametrize("runs", [(MODEL, *VERSIONS), (*reversed(VERSIONS), MODEL)])
def test_versions_stages_sources(
    target: MlflowTarget, tmp_path: Path, runs: Iterable[RunData]
) -> None:
    """In whatever order they come: of two in one stage the later one has the alias."""
    archive = Archive(tmp_path / "data", tmp_path / "files")
    for run in runs:
        write_run(archive, run)
        assert complaints(load_all(target, archive)) == []
    client = target._to.client
    assert registered(target) == ALL
    assert aliases(target) == {"production": "10", "staging": "4", "archived": "5"}
    model = client.get_registered_model(NAME)
    assert model.description == "who leaves"
    assert model.tags["neptune.run_key"] == "acme/tabular|%model|TAB-MOD"
    assert client.get_run(model.tags["neptune.mlflow_run"]).info.run_name == "TAB-MOD"
    best = client.get_model_version_by_alias(NAME, "production")
    run = client.get_run(best.run_id)
    assert run.info.run_name == "TAB-MOD-10"
    assert best.source == run.info.artifact_uri
    fetched = mlflow.artifacts.download_artifacts(
        f"{best.source}/files/binary.onnx", dst_path=str(tmp_path), tracking_uri=target._to.uri
    )
    assert Path(fetched).read_bytes() == b"10"


def test_a_version_whose_content_changed_is_there_once(
    target: MlflowTarget, tmp_path: Path
) -> None:
    archive = build(tmp_path, DataSet("versions", VERSIONS))
    assert complaints(load_all(target, archive)) == []
    write_run(archive, version(10, "archived", param("note", "string", "later")))
    assert complaints(load_all(target, archive)) == []
    assert registered(target) == ALL | {"10": ("archived", "the 10th")}
    assert aliases(target) == {"production": "2", "staging": "4", "archived": "10"}


def test_cut_off_after_the_registry(
    target: MlflowTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = build(tmp_path, DataSet("one", (VERSIONS[0],)))
    client = target._to.client

    def cut_off(*_: Any) -> None:
        raise RuntimeError("cut off")

    for call in ("set_registered_model_alias", "set_terminated"):
        with monkeypatch.context() as patch:
            patch.setattr(client, call, cut_off)
            plan = plan_load(target, archive, TABULAR)
            assert load_runs(target, archive, plan.mapping, plan.due).failures
        assert registered(target) == {"2": ALL["2"]}
    assert complaints(load_all(target, archive)) == []
    assert registered(target) == {"2": ALL["2"]}
    assert aliases(target) == {"production": "2"}


def test_a_model_of_somebody_else_is_left_alone(target: MlflowTarget, tmp_path: Path) -> None:
    archive = build(tmp_path, DataSet("one", (VERSIONS[0],)))
    target._to.client.create_registered_model(NAME)
    plan = plan_load(target, archive, TABULAR)
    ((_, error),) = load_runs(target, archive, plan.mapping, plan.due).failures
    assert isinstance(error, TargetRefusedError)
    assert f"the registered model '{NAME}' at sqlite:" in str(error)
    assert "MIGRATION_NAME_PREFIX" in str(error)
    assert registered(target) == {}
    plan = plan_load(target, archive, TABULAR, LoadSettings(name_prefix="moved"))
    assert load_runs(target, archive, plan.mapping, plan.due).failures == []
    (found,) = target._to.client.search_model_versions(f"name = 'moved.{NAME}'")
    assert found.tags["neptune.version"] == "2"


def test_names_of_models_are_told_apart() -> None:
    none, a = ProjectMapping(), ProjectMapping(name_prefix="a")
    assert model_name("w/p", "P-M", none) == "w.p.P-M"
    assert model_name("w/p", "P-M", a) == "a.w.p.P-M"
    names = [
        model_name(project, model, mapping)
        for project, model, mapping in (
            ("w/p", "P-M", none),
            ("w.p/P-M", "x", none),
            ("w/p.P-M", "x", none),
            ("w/p", "P-M.x", none),
            ("w/p", "P-M:x", none),
            ("w/p", "P-M/x", none),
            ("w/p", "P-M_x", none),
            ("w/p", "x" * 300, none),
            ("w/p", "x" * 301, none),
            ("w/p", "P-M", a),
            ("a.w/p", "P-M", none),
        )
    ]
    assert len(set(names)) == len(names)
    from mlflow.utils.validation import _validate_model_name

    for name in names:
        _validate_model_name(name)
        assert len(name) <= 256


FILES = {"train.csv": b"a,b\n1,2\n", "more/x.csv": b""}


def test_artifacts_are_datasets(target: MlflowTarget, tmp_path: Path) -> None:
    own_hash = artifact("data/train", FILES)
    listed = Row("data/list", "artifact", b'[{"path": "a", "size": 3}]', extension=".json")
    odd = Row("data/odd", "artifact", b"no JSON", extension=".json")
    run = RunData("TAB-1", (*own_hash, listed, odd), project=TABULAR)
    archive = build(tmp_path, DataSet("two runs", (run, replace(run, run="TAB-2"))))
    assert complaints(load_all(target, archive)) == []
    plan = plan_load(target, archive, TABULAR)
    found = {}
    for key in plan.complete:
        (run_id,) = target.find(key, plan.mapping).ids
        inputs = target._to.client.get_run(run_id).inputs.dataset_inputs
        assert {tag.value for i in inputs for tag in i.tags} == {"neptune artifact"}
        found[key.run] = {i.dataset.name: i.dataset for i in inputs}
    first = found["TAB-1"]
    assert {(name, d.digest, d.profile) for name, d in first.items()} == {
        ("data/train", "f" * 36, json.dumps({"num_files": 2, "total_size": 8})),
        ("data/list", digest(b'[{"path": "a", "size": 3}]'), '{"num_files": 1, "total_size": 3}'),
        ("data/odd", digest(b"no JSON"), None),
    }
    assert {n: d.digest for n, d in first.items()} == {
        n: d.digest for n, d in found["TAB-2"].items()
    }
    path = Path(mlflow.data.get_source(first["data/train"]).load())
    assert json.loads(path.read_bytes())["hash"] == "f" * 64


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:36]
