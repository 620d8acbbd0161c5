"""Objects of four kinds and one id at MLflow: each is a run of its own, found and kept apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import KINDS, Kind
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.datasets import RunData, build, curve, param, write_run
from migration_pipeline_tests.contract.neptune2 import NEPTUNE2_DATASETS, TABULAR
from migration_pipeline_tests.targets.stores import sqlite_target

KEYS = {kind: RunKey(TABULAR, "TAB-1", kind) for kind in KINDS}
(ONE_ID,) = [dataset for dataset in NEPTUNE2_DATASETS if dataset.name == "kinds of one id"]
ONE_ID = replace(ONE_ID, runs=ONE_ID.runs[: len(KINDS)])
NO_MAPPING = ProjectMapping()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, ONE_ID)


@pytest.fixture
def target(tmp_path: Path) -> MlflowTarget:
    return sqlite_target(tmp_path / "store")


def opened_anew(folder: Path) -> MlflowTarget:
    """The same store, by someone who knows nothing of it yet."""
    return MlflowTarget(MlflowConfig(tracking_uri=f"sqlite:///{folder}/store/mlflow.db"))


def load(target: MlflowTarget, archive: Archive) -> dict[RunKey, str]:
    """Loads and verifies what is due; MLflow's ids of what was sent."""
    plan = plan_load(target, archive, TABULAR)
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert all(run.good for run in result.runs), [str(run.error) for run in result.runs]
    return {report.key: report.id for report in result.loaded}


def test_each_is_a_run_in_the_experiment_of_its_kind(
    target: MlflowTarget, archive: Archive
) -> None:
    ids = load(target, archive)
    assert set(ids) == set(KEYS.values())
    assert len(set(ids.values())) == len(KINDS)
    client = target._to.client
    found = {}
    for key, run_id in ids.items():
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id).name
        tags = run.data.tags
        found[key.kind] = (experiment, tags["neptune.kind"], tags["neptune.run_key"])
        assert (run.info.run_name, tags["neptune.run_id"]) == ("TAB-1", "TAB-1")
    assert found == {
        "run": ("acme/tabular", "run", "acme/tabular|TAB-1"),
        "model": ("acme/tabular/models", "model", "acme/tabular|%model|TAB-1"),
        "model_version": (
            "acme/tabular/model versions",
            "model_version",
            "acme/tabular|%model_version|TAB-1",
        ),
        "project": ("acme/tabular/project metadata", "project", "acme/tabular|%project|TAB-1"),
    }


def test_each_is_found_and_listed_as_what_it_is(
    target: MlflowTarget, archive: Archive, tmp_path: Path
) -> None:
    ids = load(target, archive)
    fresh = opened_anew(tmp_path)
    for key, run_id in ids.items():
        assert fresh.find(key, NO_MAPPING).ids == (run_id,)
    assert {key: run.ids for key, run in fresh.runs(TABULAR, NO_MAPPING).items()} == {
        key: (run_id,) for key, run_id in ids.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_discarding_one_leaves_the_others(
    target: MlflowTarget, archive: Archive, kind: Kind
) -> None:
    ids = load(target, archive)
    target.discard(KEYS[kind], NO_MAPPING)
    assert target.find(KEYS[kind], NO_MAPPING).state is LoadState.ABSENT
    assert set(target.runs(TABULAR, NO_MAPPING)) == set(ids) - {KEYS[kind]}


def test_only_what_changed_is_loaded_again(target: MlflowTarget, archive: Archive) -> None:
    first = load(target, archive)
    write_run(archive, RunData("TAB-1", (param("n", "int", 1),), TABULAR, "model"))
    again = load(target, archive)
    assert set(again) == {KEYS["model"]}
    assert again[KEYS["model"]] != first[KEYS["model"]]
    assert load(target, archive) == {}


def test_a_fork_of_a_run_is_no_child_of_a_model(target: MlflowTarget, archive: Archive) -> None:
    write_run(archive, RunData("TAB-2", tuple(curve("m/a", 2)), TABULAR, parent="TAB-1"))
    ids = load(target, archive)
    child = target._to.client.get_run(ids[RunKey(TABULAR, "TAB-2")])
    assert child.data.tags["mlflow.parentRunId"] == ids[KEYS["run"]]
    target.discard(KEYS["model"], NO_MAPPING)
    load(target, archive)  # a model that comes later does not take the run's child
    child = target._to.client.get_run(ids[RunKey(TABULAR, "TAB-2")])
    assert child.data.tags["mlflow.parentRunId"] == ids[KEYS["run"]]


def test_one_taken_for_another_is_found(
    target: MlflowTarget, archive: Archive, tmp_path: Path
) -> None:
    ids = load(target, archive)
    with closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        changed = database.execute(
            "UPDATE tags SET value = 'model_version' WHERE key = 'neptune.kind' AND run_uuid = ?",
            [ids[KEYS["model"]]],
        ).rowcount
        database.commit()
    assert changed == 1
    fresh = opened_anew(tmp_path)
    plan = plan_load(fresh, archive, TABULAR)
    assert KEYS["model"] in plan.due
    assert {key: set(found) for key, found in plan.duplicates.items()} == {
        KEYS["model_version"]: {ids[KEYS["model"]], ids[KEYS["model_version"]]}
    }
    verdicts = verify_runs(fresh, archive, NO_MAPPING, [KEYS["model"]]).verdicts
    assert [f.kind for v in verdicts for f in v.findings] == ["state"]
