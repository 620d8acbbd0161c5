"""`<target>/load` over a loader in memory: records, verdicts as a check, failures, repetition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import load, partitions
from migration_pipeline.errors import (
    DamagedPartError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline_tests.defs.fakes import (
    FakeSource,
    failure_of,
    latest,
    records_of,
    resources,
)
from migration_pipeline_tests.defs.loader import FakeLoader

RUN, LOAD = ["mlflow", "run"], ["mlflow", "load"]
Execute = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> FakeLoader:
    made = FakeLoader()
    monkeypatch.setattr(load, "plan_load", made.plan_load)
    monkeypatch.setattr(load, "load_runs", made.load_runs)
    monkeypatch.setattr(load, "_open", lambda context, target: None)
    return made


@pytest.fixture
def run_job(
    instance: dg.DagsterInstance, tmp_path: Path, source: FakeSource, loader: FakeLoader
) -> Execute:
    """Runs `migrate_project` of `ws/alpha` into the fake target."""
    instance.add_dynamic_partitions(str(partitions.projects.name), ["ws/alpha"])

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        return definitions.project_job(["mlflow"]).execute_in_process(
            run_config={
                "ops": {"mlflow__load": {"config": config}},
                "resources": resources(tmp_path),
            },
            tags={"dagster/partition": "ws/alpha"},
            instance=instance,
            raise_on_error=False,
        )

    return run


def check_of(result: dg.ExecuteInProcessResult) -> tuple[dg.AssetCheckEvaluation, dict[str, Any]]:
    (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == "held_by_target")
    return check, {name: value.value for name, value in check.metadata.items()}


def test_each_loaded_run_is_recorded_with_its_place_and_verdict(
    run_job: Execute, instance: dg.DagsterInstance, loader: FakeLoader
) -> None:
    result = run_job(step_multiplier=10, name_prefix="old-")
    assert result.success
    assert records_of(instance, RUN) == {f"ws/alpha|a-{n}" for n in (1, 2, 3, 4)}
    record = latest(instance, RUN, "ws/alpha|a-1")
    assert record["url"] == "http://target/a-1"
    assert (record["verified"], record["points"], record["losses"]) == (True, 20, 1)
    project = latest(instance, LOAD, "ws/alpha")
    assert (project["runs"], project["runs loaded now"], project["points"]) == (4, 4, 80)
    assert project["losses (table)"].records[0].data == {
        "what": "infinity",
        "kept": "points.jsonl",
        "attributes": 4,
        "values": 8,
        "example": "metrics/loss",
    }
    check, figures = check_of(result)
    assert check.passed
    assert check.partition == "ws/alpha"
    assert (figures["runs verified"], figures["equal"], figures["rows compared"]) == (4, 16, 92)
    assert loader.settings
    assert (loader.settings.step_multiplier, loader.settings.name_prefix) == (10, "old-")


def test_a_second_time_nothing_is_sent_and_the_tables_stay(
    run_job: Execute, instance: dg.DagsterInstance, loader: FakeLoader
) -> None:
    run_job()
    loader.sent.clear()
    result = run_job()
    assert result.success
    assert loader.sent == []
    project = latest(instance, LOAD, "ws/alpha")
    assert (project["runs"], project["unchanged"], project["runs loaded now"]) == (4, 4, 0)
    assert "losses (table)" in project
    check, figures = check_of(result)
    assert check.passed
    assert (figures["runs verified"], figures["runs compared now"]) == (4, 0)


def test_one_refused_run_fails_by_name_and_the_next_time_does_just_that_one(
    run_job: Execute, instance: dg.DagsterInstance, loader: FakeLoader
) -> None:
    loader.errors["a-3"] = [TargetRefusedError("run a-3: the target says no", "Ask it.")]
    result = run_job()
    assert not result.success
    assert "ws/alpha|a-3" in failure_of(result)
    assert loader.sent == ["a-1", "a-2", "a-4"]
    assert len(records_of(instance, RUN)) == 3
    assert records_of(instance, LOAD) == set()
    loader.sent.clear()
    assert run_job().success
    assert loader.sent == ["a-3"]
    assert len(records_of(instance, RUN)) == 4


def test_a_target_that_was_away_for_a_moment_is_tried_again(
    run_job: Execute, loader: FakeLoader, quick_retries: None
) -> None:
    loader.errors["a-2"] = [TargetUnavailableError("mlflow", "sqlite:///fake.db", "locked")]
    assert run_job().success
    assert loader.sent == ["a-1", "a-3", "a-4", "a-2"]


def test_a_difference_fails_the_check_and_the_job_and_is_named(
    run_job: Execute, instance: dg.DagsterInstance, loader: FakeLoader
) -> None:
    loader.differing = {"a-2"}
    result = run_job()
    assert not result.success
    check, figures = check_of(result)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert (figures["runs verified"], figures["missing"]) == (3, 1)
    assert figures["first missing"].startswith("ws/alpha|a-2: missing 'metrics/loss'")
    assert latest(instance, RUN, "ws/alpha|a-2")["verified"] is False
    # It stays unverified, so the next run compares it again without sending it.
    loader.differing.clear()
    loader.sent.clear()
    result = run_job()
    assert result.success
    assert loader.sent == []
    assert check_of(result)[1]["runs compared now"] == 1


def test_what_cannot_be_read_or_is_there_twice_fails_the_check(
    run_job: Execute, loader: FakeLoader
) -> None:
    loader.unreadable = [("ws/alpha|a-9", DamagedPartError("part", "it is cut off"))]
    loader.duplicates = {RunKey("ws/alpha", "a-1"): ("id1", "id2")}
    result = run_job()
    assert not result.success
    check, figures = check_of(result)
    assert not check.passed
    assert figures["runs with findings"] == 2
    rows = [record.data for record in figures["findings (table)"].records]
    assert rows[0]["where"] == "ws/alpha|a-9"
    assert rows[1]["what"] == "is there 2 times: id1, id2"


def test_without_verification_the_check_warns_and_says_so(
    run_job: Execute, loader: FakeLoader
) -> None:
    result = run_job(verify="off")
    assert result.success
    check, figures = check_of(result)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert figures["runs never compared"] == 4


def test_runs_at_the_target_without_a_record_are_recorded(
    run_job: Execute, instance: dg.DagsterInstance, loader: FakeLoader
) -> None:
    loader.complete = {RunKey("ws/alpha", f"a-{n}"): True for n in (1, 2, 3, 4)}
    assert run_job().success
    assert len(records_of(instance, RUN)) == 4
    assert loader.sent == []
    record = latest(instance, RUN, "ws/alpha|a-2")
    assert (record["url"], record["verified"]) == ("http://target/a-2", True)


def test_all_are_compared_again_when_asked(run_job: Execute, loader: FakeLoader) -> None:
    run_job()
    loader.sent.clear()
    result = run_job(verify="all")
    assert result.success
    assert loader.sent == []
    figures = check_of(result)[1]
    assert (figures["runs verified"], figures["runs compared now"]) == (4, 4)


def test_a_load_is_not_begun_when_the_archive_is_not_whole(
    run_job: Execute, loader: FakeLoader, tmp_path: Path
) -> None:
    run_job()
    loader.complete.clear()
    loader.sent.clear()
    next((tmp_path / "files").rglob("note-*.txt")).unlink()
    assert not run_job().success
    assert loader.sent == []
