"""Discovery adds projects, limits itself to the named ones, and removes none."""

from __future__ import annotations

import dagster as dg
import pytest

from migration_pipeline.defs import partitions
from migration_pipeline.defs.automation import discover_projects
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline_tests.defs.fakes import FakeSource

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
