"""Which projects are migrated and discovered: names and patterns, each of which narrows."""

from __future__ import annotations

import logging

import dagster as dg
import pytest

from migration_pipeline.defs import jobs
from migration_pipeline.errors import UnknownProjectError, WrongProtocolError
from migration_pipeline.sources.projects import ProjectChoice, find_projects
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import FakeSource, records_of
from migration_pipeline_tests.defs.test_automation import evaluate

EXPORT = ["neptune", "export"]
LISTED = ["acme/digits", "acme/tabular", "acme/x,y", "other/digits"]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (ProjectChoice(), LISTED),
        (ProjectChoice(include="^acme/"), ["acme/digits", "acme/tabular", "acme/x,y"]),
        (ProjectChoice(include="digits"), ["acme/digits", "other/digits"]),
        (ProjectChoice(include="tab|x,"), ["acme/tabular", "acme/x,y"]),
        (ProjectChoice(include="^[a-z]{4,4}/.{2,6}$"), ["acme/digits", "acme/x,y"]),
        (ProjectChoice(exclude="digits$"), ["acme/tabular", "acme/x,y"]),
        (ProjectChoice(include="^acme/", exclude="digits"), ["acme/tabular", "acme/x,y"]),
        (ProjectChoice(["other/digits", "acme/digits"]), ["acme/digits", "other/digits"]),
        (ProjectChoice(["other/digits", "acme/digits"], exclude="^acme"), ["other/digits"]),
        (ProjectChoice(include="ACME"), []),
    ],
)
def test_each_setting_narrows(choice: ProjectChoice, chosen: list[str]) -> None:
    assert choice.of(LISTED) == chosen


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ProjectChoice(include="^acme/", exclude="digits"), []),
        (
            ProjectChoice(include="tabluar"),
            ["MIGRATION_INCLUDE_PROJECTS='tabluar' is found in none of 4 project(s)"],
        ),
        (
            ProjectChoice(exclude="^akme"),
            ["MIGRATION_EXCLUDE_PROJECTS='^akme' is found in none of 4 project(s)"],
        ),
    ],
)
def test_a_pattern_that_is_found_nowhere_says_so(
    choice: ProjectChoice, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "migration_pipeline"):
        choice.of(LISTED)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == said


def test_named_projects_are_asked_for_where_the_list_is_all_of_another_version() -> None:
    class OtherVersion(FakeSource):
        def list_projects(self) -> list[str]:
            raise WrongProtocolError("all are of another version", "neptune2")

    source = OtherVersion({"public/one": ["a"]})
    named = ProjectChoice(["public/one"])
    assert find_projects(source, named, Selection()) == ["public/one"]
    with pytest.raises(UnknownProjectError, match="'public/two'"):
        find_projects(source, ProjectChoice(["public/one", "public/two"]), Selection())
    with pytest.raises(WrongProtocolError, match="MIGRATION_SOURCE=neptune2"):
        find_projects(source, ProjectChoice(), Selection())


def test_migrate_does_the_chosen_ones(
    migrate: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    assert migrate(include_projects="^ws/", exclude_projects="alpha").success
    assert records_of(instance, EXPORT) == {"ws/beta"}


def test_migrate_says_that_nothing_is_selected(
    migrate: Execute, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(jobs, "say_last", said.append)
    assert migrate(include_projects="gamma").success
    assert said == ["migrate: no project is selected; nothing was done"]
    assert source.read_runs == []


def test_discovery_adds_the_chosen_ones(
    instance: dg.DagsterInstance, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.projects |= {"ws/alpha-old": [], "other/alpha": []}
    monkeypatch.setenv("MIGRATION_INCLUDE_PROJECTS", "^ws/a")
    monkeypatch.setenv("MIGRATION_EXCLUDE_PROJECTS", "old$")
    assert evaluate(instance) == ["ws/alpha"]
