"""Discovery adds projects and removes none; following starts what is new, changed or failed."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from migration_pipeline.defs import automation, partitions
from migration_pipeline.defs.automation import discover_projects, follow_source
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline.errors import SourceUnavailableError
from migration_pipeline_tests.defs.fakes import MODIFIED, FakeSource

NAME = str(partitions.projects.name)


def evaluate(instance: dg.DagsterInstance) -> list[str]:
    """Partition keys that the sensor asks to add."""
    context = dg.build_sensor_context(instance=instance)
    result = discover_projects(
        context, source=SourceResource(kind="fake"), archive=ArchiveResource()
    )
    if isinstance(result, dg.SkipReason):
        return []
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    (request,) = result.dynamic_partitions_requests or ()
    assert isinstance(request, dg.AddDynamicPartitionsRequest)
    return list(request.partition_keys)


def test_new_projects_are_added(instance: dg.DagsterInstance, source: FakeSource) -> None:
    instance.add_dynamic_partitions(NAME, ["ws/alpha", "ws/gone"])
    source.projects["odd,name/p"] = []
    assert evaluate(instance) == ["odd%2Cname/p", "ws/beta"]


def test_nothing_is_asked_for_when_nothing_is_new(
    instance: dg.DagsterInstance, source: FakeSource
) -> None:
    instance.add_dynamic_partitions(NAME, ["ws/alpha", "ws/beta"])
    assert evaluate(instance) == []


def test_named_projects_limit_it(
    instance: dg.DagsterInstance, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEPTUNE_PROJECT", "ws/beta, ws/unknown")
    assert evaluate(instance) == ["ws/beta"]


class Follower:
    """The sensor as the daemon runs it: with the cursor that it left."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.run_keys: list[str] = []
        self.added: list[str] = []
        self.listed: dict[str, Any] = {}

    def tick(self) -> list[str]:
        """Partitions for which a run is asked."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = follow_source(
            context, source=SourceResource(kind="fake"), archive=ArchiveResource()
        )
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.added = [k for r in result.dynamic_partitions_requests or () for k in r.partition_keys]
        self.listed = {str(e.partition): e.metadata["runs"].value for e in result.asset_events}
        requests = result.run_requests or []
        self.run_keys += [str(request.run_key) for request in requests]
        return [str(request.partition_key) for request in requests]


def fail(instance: dg.DagsterInstance, partition: str) -> None:
    """The partition's last run, which has just failed."""
    failed = instance.create_run_for_job(
        dg.job(name="migrate_project")(lambda: None), tags={"dagster/partition": partition}
    )
    instance.report_run_failed(failed)


@pytest.fixture
def follower(instance: dg.DagsterInstance, source: FakeSource) -> Follower:
    return Follower(instance)


def test_what_is_new_or_changed_is_followed_once(follower: Follower, source: FakeSource) -> None:
    follower.instance.add_dynamic_partitions(NAME, ["ws/alpha"])
    assert follower.tick() == ["ws/alpha", "ws/beta"]
    assert follower.added == ["ws/beta"]
    assert follower.listed == {"ws/alpha": 4, "ws/beta": 2}
    assert follower.tick() == []
    source.projects["ws/beta"].append("b-3")
    assert follower.tick() == ["ws/beta"]
    source.modified["a-1"] = MODIFIED + timedelta(seconds=1)
    assert follower.tick() == ["ws/alpha"]
    assert follower.tick() == []
    assert len(set(follower.run_keys)) == 4


def test_a_project_at_work_waits_and_loses_nothing(follower: Follower, source: FakeSource) -> None:
    tags = {"dagster/partition": "ws/alpha"}
    working = follower.instance.create_run_for_job(dg.job(name="at_work")(lambda: None), tags=tags)
    assert follower.tick() == ["ws/beta"]
    follower.instance.report_run_canceled(working)
    assert follower.tick() == ["ws/alpha"]


def test_a_failure_is_tried_again_later_and_once(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower.tick()
    fail(follower.instance, "ws/alpha")
    assert follower.tick() == []
    monkeypatch.setattr(automation, "AGAIN_SECONDS", -60)
    assert follower.tick() == ["ws/alpha"]
    assert follower.tick() == ["ws/alpha"]
    assert follower.run_keys[-1] == follower.run_keys[-2]  # for which Dagster starts one run


def test_what_fails_for_good_is_tried_ever_more_rarely(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at once when something changed at the source."""
    follower.tick()

    def tick_after(seconds: int) -> list[str]:
        now = time.time() + seconds
        with monkeypatch.context() as clock:
            clock.setattr("time.time", lambda: now)
            return follower.tick()

    waits = []
    for _ in range(7):
        fail(follower.instance, "ws/alpha")
        hours = next(h for h in (1, 2, 4, 8, 16, 24) if tick_after(h * 3600 + 60))
        assert not tick_after(hours * 3600 - 60)
        waits.append(hours)
    assert waits == [1, 2, 4, 8, 16, 24, 24]
    assert follower.tick() == []
    source.projects["ws/alpha"].append("a-9")
    assert follower.tick() == ["ws/alpha"]


def test_a_source_that_is_down_loses_nothing(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation fails, which the page shows with the reason; the next one goes on."""
    follower.tick()
    source.projects["ws/beta"].append("b-3")

    def down() -> list[str]:
        raise SourceUnavailableError("http://neptune cannot be reached", "Check it.")

    with monkeypatch.context() as broken:
        broken.setattr(source, "list_projects", down)
        with pytest.raises(SourceUnavailableError, match="http://neptune cannot be reached"):
            follower.tick()
        with pytest.raises(SourceUnavailableError):
            evaluate(follower.instance)
    assert follower.tick() == ["ws/beta"]


def test_a_project_that_vanished_is_left_alone(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays a partition and is not tried again, until it is back."""
    follower.instance.add_dynamic_partitions(NAME, ["ws/alpha", "ws/beta"])
    follower.tick()
    runs = source.projects.pop("ws/beta")
    fail(follower.instance, "ws/beta")
    monkeypatch.setattr(automation, "AGAIN_SECONDS", -60)
    assert follower.tick() == []
    assert follower.instance.get_dynamic_partitions(NAME) == ["ws/alpha", "ws/beta"]
    source.projects["ws/beta"] = runs
    assert follower.tick() == ["ws/beta"]


def test_a_project_that_cannot_be_listed_holds_up_no_other(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "list_projects", lambda: ["ws/alpha", "ws/away", "ws/beta"])
    assert follower.tick() == ["ws/alpha", "ws/beta"]


def test_what_takes_long_is_continued_where_it_stopped(
    follower: Follower, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "FOLLOWING_SECONDS", -1.0)
    assert follower.tick() == ["ws/alpha"]
    assert json.loads(str(follower.cursor))[""] == "ws/beta"
    assert follower.tick() == ["ws/beta"]
    assert follower.tick() == []
    source.projects["ws/beta"].append("b-3")
    assert [follower.tick(), follower.tick()].count(["ws/beta"]) == 1
