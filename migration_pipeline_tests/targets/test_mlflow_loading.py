"""Loads into MLflow: whole steps, parents, names of experiments, runs of another tool."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import float_series_batch, make_batch, repeated
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import (
    ConfigError,
    StepsMeetError,
    StepTooLargeError,
    TargetRefusedError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline_tests.contract.datasets import (
    BY_NAME,
    PROJECT,
    START,
    RunData,
    build,
    curve,
    param,
    write_run,
)
from migration_pipeline_tests.contract.making import adopt
from migration_pipeline_tests.targets.loads import load, write
from migration_pipeline_tests.targets.stores import sqlite_target

NO_MAPPING = ProjectMapping()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "data", tmp_path / "files")


@pytest.fixture
def target(tmp_path: Path) -> MlflowTarget:
    return sqlite_target(tmp_path / "store")


def runs_at(target: MlflowTarget) -> dict[str, list[str]]:
    """Run name → ids of all runs that are not deleted."""
    client = target._to.client
    found: dict[str, list[str]] = {}
    experiments = [e.experiment_id for e in client.search_experiments()]
    for run in client.search_runs(experiments):
        found.setdefault(run.info.run_name, []).append(run.info.run_id)
    return found


def test_finer_steps_load_the_project_again(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    assert load(target, archive) == []
    write(archive, "b", ("0.25", START, 1.0))
    plan = plan_load(target, archive, PROJECT)
    assert plan.mapping.step_multiplier == 100
    assert plan.reasons[RunKey(PROJECT, "a")] == "loaded with step multiplier 1, not 100"
    assert load(target, archive) == []
    assert plan_load(target, archive, PROJECT).due == []


def test_steps_that_meet_are_refused_before_anything_is_sent(
    target: MlflowTarget, archive: Archive
) -> None:
    key = write(archive, "a", ("0.25", START, 1.0), ("0.5", START, 2.0))
    write(archive, "ok", ("1", START, 1.0))
    plan = plan_load(target, archive, PROJECT, LoadSettings(step_multiplier=1))
    result = load_runs(target, archive, plan.mapping, plan.due)
    ((failed, error),) = result.failures
    assert failed == key
    assert isinstance(error, StepsMeetError)
    assert "steps 0.25 and 0.5 become one with step multiplier 1" in str(error)
    assert set(runs_at(target)) == {"ok"}


def test_a_step_that_is_not_whole_is_a_loss_and_kept(
    target: MlflowTarget, archive: Archive
) -> None:
    write(archive, "a", ("0.25", START, 1.0), ("1.5", START, 2.0))
    plan = plan_load(target, archive, PROJECT, LoadSettings(step_multiplier=1))
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert [(loss.reason, loss.count, loss.kept) for loss in result.losses] == [
        ("step is not whole", 2, "neptune/points.jsonl")
    ]
    assert result.verdicts[0].equal_to_archive


def test_steps_out_of_range(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("999999999999", START, 1.0))
    plan = plan_load(target, archive, PROJECT, LoadSettings(step_multiplier=10**10))
    ((_, error),) = load_runs(target, archive, plan.mapping, plan.due).failures
    assert isinstance(error, StepTooLargeError)
    with pytest.raises(ConfigError, match="MIGRATION_STEP_MULTIPLIER is 0"):
        plan_load(target, archive, PROJECT, LoadSettings(step_multiplier=0))


def test_forks_have_their_parents(target: MlflowTarget, tmp_path: Path) -> None:
    archive = build(tmp_path, BY_NAME["forks"])
    plan = plan_load(target, archive, PROJECT)
    assert ("root", "child", "grandchild") in [tuple(k.run for k in f) for f in plan.families]
    assert {k.run for f in plan.families if len(f) == 2 for k in f} == {"cycle a", "cycle b"}
    load_runs(target, archive, plan.mapping, plan.due)
    ids = {name: ids[0] for name, ids in runs_at(target).items()}

    def parent(name: str) -> str | None:
        tags: dict[str, str] = target._to.client.get_run(ids[name]).data.tags
        return tags.get("mlflow.parentRunId")

    assert (parent("grandchild"), parent("child")) == (ids["child"], ids["root"])
    assert (parent("root"), parent("orphan")) == (None, None)
    # A parent that is loaded anew has another id; its children learn of it.
    write_run(archive, RunData("root", tuple(curve("m/a", 3))))
    assert load(target, archive) == []
    new = runs_at(target)["root"][0]
    assert new != ids["root"]
    assert parent("child") == new


def test_a_fork_named_by_sys_id(target: MlflowTarget, archive: Archive) -> None:
    write_run(archive, RunData("root", (param("sys/id", "string", "ABC-1"),)))
    child = (param("sys/forking/parent", "string", "ABC-1"),)
    for name in ("child", "later"):
        adopt(archive, write_run(archive, RunData(name, child)))
    adopt(archive, RunKey(PROJECT, "root"))
    plan = plan_load(target, archive, PROJECT)
    assert plan.families == [tuple(RunKey(PROJECT, n) for n in ("root", "child", "later"))]
    load_runs(target, archive, plan.mapping, plan.due[:2])
    load_runs(target, archive, plan.mapping, plan.due[2:])
    ids = {name: ids[0] for name, ids in runs_at(target).items()}
    tags = target._to.client.get_run(ids["later"]).data.tags
    assert tags["mlflow.parentRunId"] == ids["root"]


def test_runs_of_another_tool(target: MlflowTarget, archive: Archive, tmp_path: Path) -> None:
    key = write(archive, "a", *((f"{i}.5", START + i, float(i)) for i in range(50)))
    content = archive.runs(PROJECT)[key].sums().digest()
    adopt(archive, key)
    assert archive.runs(PROJECT)[key].manifest is None
    plan = plan_load(target, archive, PROJECT)
    assert plan.mapping.step_multiplier == 10
    assert load(target, archive) == []
    assert plan_load(target, archive, PROJECT).due == []
    known = target.find(key, NO_MAPPING)
    assert (known.digest, known.step_decimals) == (content, 1)
    # A copy with other footers but the same rows is the same content …
    run = archive.runs(PROJECT)[key]
    table = pa.concat_tables(pq.read_table(p) for p in run.parts)
    pq.write_table(table, run.parts[0], row_group_size=7)
    run.parts[1].unlink()
    assert plan_load(target, archive, PROJECT).due == []
    # … and other rows are another one.
    pq.write_table(table.slice(1), run.parts[0])
    assert plan_load(target, archive, PROJECT).due == [key]


def test_equal_rows_twice_in_an_adopted_run(target: MlflowTarget, archive: Archive) -> None:
    key = write(archive, "a", ("1", START, 1.0), ("2", START, 2.0))
    adopt(archive, key)
    run = archive.runs(PROJECT)[key]
    shutil.copy(run.parts[1], run.parts[1].parent / run.parts[1].name.replace("_1.", "_2."))
    assert load(target, archive) == []


def test_a_deleted_experiment_is_named(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    assert load(target, archive) == []
    client = target._to.client
    client.delete_experiment(client.get_experiment_by_name(PROJECT).experiment_id)
    other = MlflowTarget(target_config(target))
    plan = plan_load(other, archive, PROJECT)
    assert len(plan.due) == 1
    ((_, error),) = load_runs(other, archive, plan.mapping, plan.due).failures
    assert isinstance(error, TargetRefusedError)
    assert "was deleted, so its name is taken" in str(error)
    assert load(other, archive, name_prefix="again") == []


def target_config(target: MlflowTarget) -> object:
    from migration_pipeline.targets.mlflow.config import MlflowConfig

    return MlflowConfig(tracking_uri=target._to.uri)


def test_experiments_are_named_as_neptune_exporter_names_them(
    target: MlflowTarget, archive: Archive
) -> None:
    write_run(archive, RunData("a", (param("sys/name", "string", "exp"),)))
    write_run(archive, RunData("b"))
    assert load(target, archive) == []
    assert load(target, archive, name_prefix="pre") == []
    names = {e.name for e in target._to.client.search_experiments()} - {"Default"}
    assert names == {PROJECT, f"{PROJECT}/exp", f"pre/{PROJECT}", f"pre/{PROJECT}/exp"}


def test_files_of_a_database_store_lie_beside_it(
    target: MlflowTarget, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(archive, "a", ("1", START, 1.0))
    assert load(target, archive) == []
    assert list((tmp_path / "store" / "mlartifacts").rglob("migration.json"))
    assert not (tmp_path / "mlruns").exists()


def test_nothing_of_this_machine(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    assert load(target, archive) == []
    run = target._to.client.get_run(runs_at(target)["a"][0])
    assert run.info.user_id in ("", "unknown")
    assert {t for t in run.data.tags if t.startswith("mlflow.")} == {"mlflow.runName"}
    assert run.data.metrics.keys() == {"m/a"}


def test_a_large_series_in_many_batches(target: MlflowTarget, archive: Archive) -> None:
    count = 70_000  # more than one batch of the reader, many of MLflow's, several history pages
    key = RunKey(PROJECT, "large")
    with RunWriter(archive, key, "test") as writer:
        steps = np.arange(count, dtype=np.int64) * 1_000_000
        values = np.sin(np.arange(count))
        writer.write(
            float_series_batch(
                PROJECT, key.run, repeated("m/large", count), steps, steps // 1000 + START, values
            )
        )
        writer.write(make_batch(PROJECT, key.run, [{"path": "p", "type": "int", "value": 1}]))
        writer.commit()
    assert load(target, archive) == []
