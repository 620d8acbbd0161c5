"""What is due, what is sent, what one failure does to the others: into a folder that fails on
demand."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import (
    DamagedPartError,
    MigrationError,
    TargetRefusedError,
    TargetUnavailableError,
    UnknownRunError,
)
from migration_pipeline.mapping.scan import scan_run
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.dummy.client import DummyTarget
from migration_pipeline.targets.dummy.config import DummyConfig
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.target import Kin, LoadState
from migration_pipeline_tests.contract.datasets import (
    BY_NAME,
    PROJECT,
    START,
    RunData,
    build,
    curve,
    write_run,
)
from migration_pipeline_tests.targets import dummy_backend
from migration_pipeline_tests.targets.loads import load, write

NO_MAPPING = ProjectMapping()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "data", tmp_path / "files")


@pytest.fixture
def target(tmp_path: Path) -> DummyTarget:
    return DummyTarget(DummyConfig(path=str(tmp_path / "store")))


def failing(target: DummyTarget, **settings: str) -> DummyTarget:
    """The same store, with calls that fail."""
    return DummyTarget(DummyConfig(path=target.address, **settings))


def runs_at(target: DummyTarget) -> dict[str, str]:
    """Run id → digest of what it was loaded from."""
    return {key.run: run.digest for key, run in target.runs(PROJECT, NO_MAPPING).items()}


def test_due_until_complete_and_again_when_changed(target: DummyTarget, archive: Archive) -> None:
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
    assert after["b"] != before["b"]


def test_one_bad_run_stops_no_other(target: DummyTarget, archive: Archive) -> None:
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
    target: DummyTarget, tmp_path: Path
) -> None:
    archive = build(tmp_path, BY_NAME["files"])
    shutil.rmtree(archive.files_root(PROJECT))
    ((_, error),) = load_runs(target, archive, NO_MAPPING, list(archive.runs(PROJECT))).failures
    assert isinstance(error, DamagedPartError)
    assert "it names the file" in str(error)
    assert runs_at(target) == {}


def test_a_share_is_the_same_every_time_and_grows(target: DummyTarget, archive: Archive) -> None:
    keys = [write(archive, f"run {i}", ("1", START, 1.0)) for i in range(12)]
    assert load(target, archive) == []
    sampled = [
        {r.key for r in verify_runs(target, archive, NO_MAPPING, keys, share=share).runs}
        for share in (0.0, 0.3, 0.3, 0.7, 1.0)
    ]
    assert sampled[0] == set()
    assert sampled[1] == sampled[2] < sampled[3] < sampled[4] == set(keys)


def test_a_run_that_is_not_there_is_a_finding(target: DummyTarget, archive: Archive) -> None:
    key = write(archive, "a", ("1", START, 1.0))
    (run,) = verify_runs(target, archive, NO_MAPPING, [key]).runs
    assert run.verdict is not None
    assert [f.kind for f in run.verdict.findings] == ["state"]


def test_a_target_that_goes_away_ends_the_load_soon(target: DummyTarget, archive: Archive) -> None:
    keys = [write(archive, f"run {i}", ("1", START, 1.0)) for i in range(5)]
    gone, asked = failing(target, failure_rate="begin=1,check=1"), list[str]()
    dummy_backend.watch(gone, asked.append, lambda name: None)
    plan = plan_load(gone, archive, PROJECT)
    result = load_runs(gone, archive, plan.mapping, plan.due)
    assert [k for k, _ in result.failures] == keys
    assert {type(error) for _, error in result.failures} == {TargetUnavailableError}
    # Four runs at a time may have begun before one of them looked whether anybody is there.
    assert 1 <= asked.count("begin") <= target.capabilities.parallel_runs
    assert load(target, archive) == []


def test_a_moment_away_costs_one_run(target: DummyTarget, archive: Archive) -> None:
    """The others go on: the target is asked whether it is there, and it is."""
    every = {write(archive, f"run {i}", ("1", START, 1.0)).run for i in range(8)}
    away = failing(target, failure_rate="finish=0.5", seed="1")
    plan = plan_load(away, archive, PROJECT)
    result = load_runs(away, archive, plan.mapping, plan.due, parallel=1)
    failed = {key.run for key, _ in result.failures}
    assert set() < failed < every
    states = {key.run: run.state for key, run in target.runs(PROJECT, NO_MAPPING).items()}
    assert {name for name, state in states.items() if state is LoadState.PARTIAL} <= failed
    assert load(target, archive) == []
    assert set(runs_at(target)) == every


def test_what_is_refused_is_refused_again(target: DummyTarget, archive: Archive) -> None:
    key = write(archive, "a", ("1", START, 1.0))
    for _ in range(2):
        no = failing(target, refusal_rate="rows=1")
        plan = plan_load(no, archive, PROJECT)
        ((failed, error),) = load_runs(no, archive, plan.mapping, plan.due).failures
        assert failed == key
        assert isinstance(error, TargetRefusedError)
        assert "refuses the call `rows`" in str(error)
        assert target.find(key, NO_MAPPING).state is LoadState.PARTIAL


@pytest.mark.parametrize("seed", range(3))
def test_a_migration_through_failures_ends_as_one_without(
    target: DummyTarget, tmp_path: Path, seed: int
) -> None:
    """A fifth of all calls fails, half of them after they did their work."""
    archive = build(tmp_path, BY_NAME["forks"])
    write_run(archive, RunData("long", tuple(curve("m/a", 5000))))
    calm = DummyTarget(DummyConfig(path=str(tmp_path / "calm")))
    assert load(calm, archive) == []
    errors: list[MigrationError] = []
    for _ in range(100):
        flaky = failing(target, failure_rate="0.2", seed=str(seed))
        try:
            plan = plan_load(flaky, archive, PROJECT)
            keys = [*plan.due, *plan.unverified]
            if not keys:
                break
            result = load_runs(flaky, archive, plan.mapping, keys, parallel=1)
        except MigrationError as error:
            errors.append(error)
            continue
        errors += [error for _, error in result.failures]
        assert result.different == []
        complete = plan_load(target, archive, PROJECT).complete
        assert all(run.good for run in verify_runs(target, archive, NO_MAPPING, complete).runs)
    assert len(errors) > 5
    assert {type(error) for error in errors} == {TargetUnavailableError}
    stores = [dummy_backend.whole(tmp_path / name) for name in ("store", "calm")]
    assert stores[0] == stores[1]


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """Who was started in the background by a shell ignores them."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupted_load_ends_within_its_runs(target: DummyTarget, archive: Archive) -> None:
    for i in range(3):
        write(archive, f"run {i}", *((str(s), START + s, 1.0) for s in range(2500)))
    plan = plan_load(target, archive, PROJECT)
    stopped, sent = failing(target), 0

    def interrupt(name: str) -> None:
        nonlocal sent
        sent += name == "rows"
        if sent == 2 and name == "rows":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    dummy_backend.watch(stopped, lambda name: None, interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_runs(stopped, archive, plan.mapping, plan.due, parallel=1)
    assert sent < 6
    assert load(target, archive) == []
    assert set(runs_at(target)) == {"run 0", "run 1", "run 2"}


def test_chunks_keep_families_together(target: DummyTarget, tmp_path: Path) -> None:
    archive = build(tmp_path, BY_NAME["forks"])
    plan = plan_load(target, archive, PROJECT)
    for most in (1, 2, 3, 200):
        chunks = plan.chunks(most)
        assert len(chunks) <= most
        assert [k for c in chunks for k in c] == plan.due
        for family in plan.families:
            assert sum(set(family) <= set(chunk) for chunk in chunks) == 1


def test_progress_is_told(target: DummyTarget, archive: Archive) -> None:
    write(archive, "a", ("1", START, 1.0))
    told = 0

    class Meter:
        def add(self, points: int = 0, size: int = 0) -> None:
            nonlocal told
            told += points

    run = archive.runs(PROJECT)[RunKey(PROJECT, "a")]
    scan = scan_run(run, target.capabilities, NO_MAPPING)
    report = target.load(scan, NO_MAPPING, Kin(), Meter())
    assert told == report.points == 1
    assert target.find(run.key, NO_MAPPING).state is LoadState.COMPLETE
