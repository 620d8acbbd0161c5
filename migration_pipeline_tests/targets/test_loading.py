"""What is due, what is sent, what one failure does to the others."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import SCHEMA, float_series_batch, make_batch, repeated
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import (
    ConfigError,
    DamagedPartError,
    StepsMeetError,
    StepTooLargeError,
    TargetRefusedError,
    TargetUnavailableError,
    UnknownRunError,
)
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import (
    LoadSettings,
    load_runs,
    plan_load,
    verify_runs,
)
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.datasets import (
    DATASETS,
    PROJECT,
    START,
    RunData,
    build,
    curve,
    floats,
    param,
    write_run,
)
from migration_pipeline_tests.targets.stores import sqlite_target

NO_MAPPING = ProjectMapping()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "data", tmp_path / "files")


@pytest.fixture
def target(tmp_path: Path) -> MlflowTarget:
    return sqlite_target(tmp_path / "store")


def write(archive: Archive, run: str, *points: tuple[str, int | None, float | None]) -> RunKey:
    return write_run(archive, RunData(run, tuple(floats("m/a", points))))


def load(target: MlflowTarget, archive: Archive, **settings: object) -> list[str]:
    """Plans, loads, verifies; what is wrong, in words."""
    plan = plan_load(target, archive, PROJECT, LoadSettings(**settings))  # type: ignore[arg-type]
    result = load_runs(target, archive, plan.mapping, plan.due)
    return [str(error) for _, error in result.failures] + [
        str(f) for v in result.different for f in v.findings
    ]


def runs_at(target: MlflowTarget) -> dict[str, list[str]]:
    """Run name → ids of all runs that are not deleted."""
    client = target._to.client
    found: dict[str, list[str]] = {}
    experiments = [e.experiment_id for e in client.search_experiments()]
    for run in client.search_runs(experiments):
        found.setdefault(run.info.run_name, []).append(run.info.run_id)
    return found


def test_due_until_complete_and_again_when_changed(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    key = write(archive, "b", ("1", START, 1.0))
    plan = plan_load(target, archive, PROJECT)
    assert set(plan.reasons.values()) == {"not there yet"}
    assert plan.families == [(RunKey(PROJECT, "a"),), (RunKey(PROJECT, "b"),)]
    assert load(target, archive) == []
    before = runs_at(target)
    plan = plan_load(target, archive, PROJECT)
    assert (plan.due, len(plan.complete), plan.unverified) == ([], 2, [])
    write(archive, "b", ("1", START, 1.0), ("2", START, 2.0))
    plan = plan_load(target, archive, PROJECT)
    assert plan.reasons == {key: "its content changed"}
    assert load(target, archive) == []
    after = runs_at(target)
    assert after["a"] == before["a"]
    assert len(after["b"]) == 1
    assert after["b"] != before["b"]


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


def test_one_bad_run_stops_no_other(target: MlflowTarget, archive: Archive) -> None:
    for name in ("a", "b", "c"):
        write(archive, name, ("1", START, 1.0))
    part = archive.runs(PROJECT)[RunKey(PROJECT, "b")].parts[0]
    part.write_bytes(part.read_bytes()[:-20])
    plan = plan_load(target, archive, PROJECT)
    assert [place for place, _ in plan.unreadable] == [str(part)]
    assert isinstance(plan.unreadable[0][1], DamagedPartError)
    keys = [RunKey(PROJECT, name) for name in ("a", "b", "c", "gone")]
    result = load_runs(target, archive, plan.mapping, keys)
    assert [run.key for run in result.runs] == keys
    assert {key.run: type(error) for key, error in result.failures} == {
        "b": DamagedPartError,
        "gone": UnknownRunError,
    }
    assert set(runs_at(target)) == {"a", "c"}


def test_a_file_that_is_gone_is_named_before_anything_is_sent(
    target: MlflowTarget, tmp_path: Path
) -> None:
    archive = build(tmp_path, next(d for d in DATASETS if d.name == "files"))
    shutil.rmtree(archive.files_root(PROJECT))
    ((_, error),) = load_runs(target, archive, NO_MAPPING, list(archive.runs(PROJECT))).failures
    assert isinstance(error, DamagedPartError)
    assert "it names the file" in str(error)
    assert runs_at(target) == {}


def test_forks_have_their_parents(target: MlflowTarget, tmp_path: Path) -> None:
    archive = build(tmp_path, next(d for d in DATASETS if d.name == "forks"))
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


def adopt(archive: Archive, key: RunKey) -> None:
    """Rewrites a run as neptune-exporter would have written it: without a manifest."""
    run = archive.find(key)
    assert run is not None
    table = pq.read_table(run.parts[0]).replace_schema_metadata(None)
    half = table.num_rows // 2
    stem = layout.parse_part_name(run.parts[0].name)
    assert stem is not None
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = run.parts[0].parent / layout.part_name(stem[0], number)
        pq.write_table(part.cast(SCHEMA), path)


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


def test_more_workers_change_nothing(archive: Archive, tmp_path: Path) -> None:
    for i in range(6):
        write(archive, f"run {i}", *((str(s), START + s, float(i)) for s in range(5)))
    digests = []
    for workers in (1, 3):
        target = sqlite_target(tmp_path / f"store{workers}")
        plan = plan_load(target, archive, PROJECT)
        keys = plan.due if workers == 1 else plan.due[::-1]
        result = load_runs(target, archive, plan.mapping, keys, parallel=workers)
        assert all(run.good for run in result.runs)
        digests.append({k: r.digest for k, r in target.runs(PROJECT, plan.mapping).items()})
    assert digests[0] == digests[1]


def test_a_share_is_the_same_every_time_and_grows(target: MlflowTarget, archive: Archive) -> None:
    keys = [write(archive, f"run {i}", ("1", START, 1.0)) for i in range(12)]
    assert load(target, archive) == []
    sampled = [
        {r.key for r in verify_runs(target, archive, NO_MAPPING, keys, share=share).runs}
        for share in (0.0, 0.3, 0.3, 0.7, 1.0)
    ]
    assert sampled[0] == set()
    assert sampled[1] == sampled[2] < sampled[3] < sampled[4] == set(keys)


def test_a_run_that_is_not_there_is_a_finding(target: MlflowTarget, archive: Archive) -> None:
    key = write(archive, "a", ("1", START, 1.0))
    (run,) = verify_runs(target, archive, NO_MAPPING, [key]).runs
    assert run.verdict is not None
    assert [f.kind for f in run.verdict.findings] == ["state"]


def test_a_target_that_goes_away_ends_the_load_soon(
    target: MlflowTarget, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [write(archive, f"run {i}", ("1", START, 1.0)) for i in range(5)]
    asked = 0

    def gone(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise TargetUnavailableError("mlflow", "here", "nobody answers")

    plan = plan_load(target, archive, PROJECT)
    monkeypatch.setattr(target, "load", gone)
    monkeypatch.setattr(target, "check", gone)
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert [k for k, _ in result.failures] == keys
    assert asked == 2


def test_an_interrupted_load_ends_within_its_runs(
    target: MlflowTarget, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        write(archive, f"run {i}", *((str(s), START + s, 1.0) for s in range(2500)))
    plan = plan_load(target, archive, PROJECT)
    sent: list[int] = []
    metrics = target._to.metrics
    send = metrics.send

    def slow(run_id: str, pieces: Any) -> None:
        send(run_id, pieces)
        sent.append(sum(len(piece) for piece in pieces))
        if sum(sent) == 1000:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(metrics, "batch", 1000)
    monkeypatch.setattr(metrics, "send", slow)
    with pytest.raises(KeyboardInterrupt):
        load_runs(target, archive, plan.mapping, plan.due)
    assert sum(sent) < 2500
    monkeypatch.undo()
    assert load(target, archive) == []
    assert all(len(ids) == 1 for ids in runs_at(target).values())


def test_chunks_keep_families_together(target: MlflowTarget, tmp_path: Path) -> None:
    archive = build(tmp_path, next(d for d in DATASETS if d.name == "forks"))
    plan = plan_load(target, archive, PROJECT)
    for most in (1, 2, 3, 200):
        chunks = plan.chunks(most)
        assert len(chunks) <= most
        assert [k for c in chunks for k in c] == plan.due
        for family in plan.families:
            assert sum(set(family) <= set(chunk) for chunk in chunks) == 1


def test_progress_is_told(target: MlflowTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    told = 0

    class Meter:
        def add(self, points: int = 0, size: int = 0) -> None:
            nonlocal told
            told += points

    from migration_pipeline.mapping.scan import scan_run
    from migration_pipeline.targets.target import Kin

    run = archive.runs(PROJECT)[RunKey(PROJECT, "a")]
    scan = scan_run(run, target.capabilities, NO_MAPPING)
    report = target.load(scan, NO_MAPPING, Kin(), Meter())
    assert told == report.points == 1
    assert target.find(run.key, NO_MAPPING).state is LoadState.COMPLETE


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
