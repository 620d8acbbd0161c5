"""`migrate`: what it starts, what it refuses before any work, how it ends and what it says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.defs import jobs, liveness, partitions
from migration_pipeline.errors import ConfigError, UnknownNameError
from migration_pipeline.targets.registry import target_names
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import FakeSource, latest, records_of, refused

RUN, EXPORT = ["neptune", "run"], ["neptune", "export"]


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be printed when the process ends."""
    lines: list[str] = []
    monkeypatch.setattr(jobs, "say_last", lines.append)
    return lines


def test_every_project_is_found_and_done_in_a_run_of_its_own(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance, said: list[str]
) -> None:
    assert migrate().success
    assert len(records_of(instance, RUN)) == 6
    assert records_of(instance, EXPORT) == {"ws/alpha", "ws/beta"}
    runs = [run for run in instance.get_runs() if run.job_name == "migrate_project"]
    assert {run.tags["dagster/partition"] for run in runs} == {"ws/alpha", "ws/beta"}
    assert said == [
        "migrate: 2 of 2 projects done; 6 runs exported, 0 loaded, 0 read back and compared"
    ]


def test_a_second_time_nothing_is_to_be_done(
    migrate: Execute, source: FakeSource, said: list[str]
) -> None:
    migrate()
    source.read_runs.clear()
    assert migrate().success
    assert source.read_runs == []
    assert said[-1] == "migrate: 2 of 2 projects done; nothing was to be done"


def test_one_bad_run_fails_the_job_and_no_other_project(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance, said: list[str]
) -> None:
    source.errors["a-2"] = [refused("a-2")]
    assert not migrate().success
    assert records_of(instance, EXPORT) == {"ws/beta"}
    assert len(records_of(instance, RUN)) == 5
    assert said[-1].startswith("migrate: 1 of 2 projects done")
    assert "ws/alpha|a-2" in said[-1]
    assert "the server answered 400" in said[-1]


def test_named_projects_only(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    assert migrate(projects=["ws/beta"]).success
    assert records_of(instance, EXPORT) == {"ws/beta"}
    assert instance.get_dynamic_partitions(str(partitions.projects.name)) == ["ws/beta"]


def test_an_unknown_project_fails_before_any_work(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance, said: list[str]
) -> None:
    assert not migrate(projects=["ws/beta", "ws/typo"]).success
    assert source.read_runs == []
    assert instance.get_dynamic_partitions(str(partitions.projects.name)) == []
    assert "project 'ws/typo' does not exist" in said[-1]


def test_an_unknown_target_fails_before_any_work(
    migrate: Execute, source: FakeSource, said: list[str]
) -> None:
    assert not migrate(targets=["mlfow"]).success
    assert source.read_runs == []
    assert f"there is no target 'mlfow'. Known: {', '.join(target_names())}." in said[-1]


def test_a_wrong_target_in_the_environment_is_named_when_the_definitions_are_made() -> None:
    with pytest.raises(UnknownNameError, match="MIGRATION_TARGETS: there is no target 'mlfow'"):
        jobs.migrate_project(["mlfow"])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"run_regex": "("}, "'(' is not a regular expression"),
        ({"classes": ["metric"]}, "there is no attribute class 'metric'"),
        ({"kinds": ["runs"]}, "there is no kind of object 'runs'"),
        (
            {"include_projects": "("},
            "MIGRATION_INCLUDE_PROJECTS: '(' is not a regular expression",
        ),
        (
            {"exclude_projects": "*"},
            "MIGRATION_EXCLUDE_PROJECTS: '*' is not a regular expression",
        ),
    ],
)
def test_a_malformed_selection_fails_before_any_work(
    migrate: Execute,
    source: FakeSource,
    said: list[str],
    selection: dict[str, object],
    message: str,
) -> None:
    assert not migrate(**selection).success
    assert source.listings == 0
    assert message in said[-1]


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "NEPTUNE_API_TOKEN is not set"), ("cGxhaW4=", "is not a Neptune API token")],
)
def test_a_missing_or_malformed_token_is_named(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    token: str | None,
    message: str,
) -> None:
    monkeypatch.delenv("NEPTUNE_API_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("NEPTUNE_API_TOKEN", token)
    result = definitions.defs.resolve_job_def("migrate").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not result.success
    assert message in said[-1]
    assert token is None or token not in said[-1]


def test_control_c_stops_all_projects(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance, said: list[str]
) -> None:
    source.during = lambda run: os.kill(os.getpid(), signal.SIGINT)
    result = migrate()
    assert not result.success
    assert source.read_runs == []
    assert [
        r.tags["dagster/partition"] for r in instance.get_runs() if r.job_name != "migrate"
    ] == ["ws/alpha"]
    assert "interrupted" in said[-1]


def test_the_report_of_a_project_that_has_nothing(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    source.projects["ws/empty"] = []
    assert migrate(projects=["ws/empty"]).success
    assert latest(instance, EXPORT, "ws/empty")["runs"] == 0


@pytest.mark.parametrize("given", ["maybe", "2"])
def test_a_flag_that_is_none_is_named(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from migration_pipeline.defs import settings

    monkeypatch.setenv("MIGRATION_ACCEPT_MISSING_FILES", given)
    with pytest.raises(ConfigError, match="MIGRATION_ACCEPT_MISSING_FILES"):
        settings.flag("MIGRATION_ACCEPT_MISSING_FILES")


def test_runs_of_a_process_that_is_gone_are_closed(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    host, pid, began = liveness.this_process().split(" ")
    job = definitions.project_job([])
    tags = {
        "dead": f"{host} {pid} {int(began) - 1}",
        "gone": f"{host} {2**22 + 1} {began}",
        "alive": f"{host} {pid} {began}",
        "elsewhere": f"another-host {pid} {int(began) - 1}",
    }
    runs = {
        name: instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={liveness.TAG: tag}
        )
        for name, tag in tags.items()
    }
    assert migrate().success
    closed = {name for name, run in runs.items() if instance.get_run_by_id(run.run_id).is_finished}
    assert closed == {"dead", "gone"}
