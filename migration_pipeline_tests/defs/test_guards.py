"""What steps refuse to begin: other code's plan, an ended run, a project that is being done."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.defs import execution, guards, liveness
from migration_pipeline.errors import ConfigError, MissingSettingError, UnknownNameError
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import FakeSource, records_of

EXPORT, RUN = ["neptune", "export"], ["neptune", "run"]


@pytest.fixture
def alpha(instance: dg.DagsterInstance, source: FakeSource) -> str:
    instance.add_dynamic_partitions("neptune_projects", ["ws/alpha", "ws/beta"])
    return "ws/alpha"


@pytest.fixture
def at_work(instance: dg.DagsterInstance) -> Callable[..., dg.DagsterRun]:
    """Makes a run that is under way, of a process on another machine unless said otherwise."""

    def started(partition: str, process: str = "another-host 1 1") -> dg.DagsterRun:
        run = instance.create_run_for_job(
            definitions.project_job([]),
            tags={guards.PARTITION_TAG: partition, liveness.TAG: process},
        )
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name
        )
        instance.report_dagster_event(event, run.run_id)
        return run

    return started


def errors_of(result: dg.ExecuteInProcessResult) -> str:
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return " ".join(str(failure.error) for failure in failures)


def test_a_later_run_of_a_project_gives_up_before_any_work(
    migrate_project: Execute,
    alpha: str,
    source: FakeSource,
    instance: dg.DagsterInstance,
    at_work: Callable[..., dg.DagsterRun],
) -> None:
    earlier = at_work(alpha)
    result = migrate_project(alpha)
    assert not result.success
    assert f"ws/alpha is being worked on by the Dagster run {earlier.run_id}" in errors_of(result)
    assert source.listings == 0
    assert not records_of(instance, EXPORT)


def test_another_project_or_a_dead_process_is_no_hindrance(
    migrate_project: Execute,
    alpha: str,
    instance: dg.DagsterInstance,
    at_work: Callable[..., dg.DagsterRun],
) -> None:
    host, _, began = liveness.this_process().split(" ")
    at_work("ws/beta")
    dead = at_work(alpha, f"{host} {2**22 + 1} {began}")
    assert migrate_project(alpha).success
    closed = instance.get_run_by_id(dead.run_id)
    assert closed is not None
    assert closed.is_finished


def test_a_run_that_was_ended_meanwhile_begins_no_chunk(
    migrate_project: Execute,
    alpha: str,
    source: FakeSource,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(context: dg.OpExecutionContext, project: str) -> None:
        instance.report_run_canceled(context.run)

    monkeypatch.setattr(guards, "refuse_second", end)
    result = migrate_project(alpha)
    assert "was ended while this step waited for a worker; nothing was begun" in errors_of(result)
    assert not source.read_runs
    assert not records_of(instance, RUN)
    assert not records_of(instance, EXPORT)


def test_a_step_that_other_code_planned_is_refused(
    migrate_project: Execute,
    alpha: str,
    source: FakeSource,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = guards.begin

    def begin(context: dg.OpExecutionContext, handed: dict[str, object]) -> None:
        monkeypatch.setattr(guards, "THIS_CODE", "0.0.9 (older)")
        real(context, handed)

    monkeypatch.setattr(guards, "begin", begin)
    result = migrate_project(alpha)
    assert (
        f"the worker on {os.uname().nodename} runs migration_pipeline 0.0.9 (older)"
        in errors_of(result)
    )
    assert not source.read_runs
    assert not records_of(instance, EXPORT)


def test_an_executor_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(execution.VARIABLE, "cellery")
    with pytest.raises(UnknownNameError, match="MIGRATION_EXECUTOR: there is no executor"):
        execution.chosen()


@pytest.mark.parametrize(
    ("said", "start_method"),
    [
        ({}, execution.START_METHOD),
        ({"start_method": {"spawn": {}}}, {"spawn": {}}),
        ({"start_method": {"forkserver": {}}}, {"forkserver": {}}),
    ],
)
def test_how_processes_of_steps_start_where_run_config_does_not_say(
    said: dict[str, Any], start_method: dict[str, Any]
) -> None:
    job, config = definitions.project_job([]), {"multiprocess": said}
    whole = dg.validate_run_config(job, {"execution": {"config": config}})
    (found,) = whole["execution"].values()
    assert found["multiprocess"]["start_method"] == start_method
    for preload in [given.get("preload_modules", []) for given in start_method.values()]:
        assert preload in ([], [definitions.__name__])


def test_celery_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(execution.BROKER_VARIABLE, raising=False)
    with pytest.raises(MissingSettingError, match="CELERY_BROKER_URL is not set") as raised:
        execution._on_workers({"retries": {"enabled": {}}})
    assert isinstance(raised.value, ConfigError)
