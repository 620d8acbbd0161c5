"""Records that are written by the thousand are what Dagster would have written one by one."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import pytest
from dagster._core.storage.event_log import InMemoryEventLogStorage

from migration_pipeline.defs import events
from migration_pipeline.defs.events import log_materializations

ASSET = dg.AssetKey(["neptune", "run"])
Write = Callable[[dg.OpExecutionContext, Sequence[dg.AssetMaterialization]], None]


def one_by_one(
    context: dg.OpExecutionContext, materializations: Sequence[dg.AssetMaterialization]
) -> None:
    for materialization in materializations:
        context.log_event(materialization)


def made(count: int) -> list[dg.AssetMaterialization]:
    return [
        dg.AssetMaterialization(
            ASSET,
            partition=f"ws/p|run {i}",
            metadata={"run": f"run {i}", "rows": i, "url": dg.MetadataValue.url("http://x")},
        )
        for i in range(count)
    ]


def write(instance: dg.DagsterInstance, how: Write, count: int) -> dg.ExecuteInProcessResult:
    @dg.op
    def recording(context: dg.OpExecutionContext) -> None:
        how(context, made(count))

    @dg.job
    def job() -> None:
        recording()

    return job.execute_in_process(instance=instance)


def shown(instance: dg.DagsterInstance) -> list[tuple[object, ...]]:
    """What the page and queries see of each record, newest first."""
    records = instance.fetch_materializations(ASSET, limit=1000).records
    return [
        (
            record.partition_key,
            record.asset_materialization,
            record.event_log_entry.step_key,
            record.event_log_entry.job_name,
            record.event_log_entry.level,
        )
        for record in records
    ]


def of_the_run(instance: dg.DagsterInstance, run_id: str) -> list[object]:
    """The events of the asset in the log of a Dagster run."""
    records = instance.get_records_for_run(run_id).records
    return [
        record.event_log_entry.dagster_event.partition
        for record in records
        if record.event_log_entry.dagster_event
        and record.event_log_entry.dagster_event.asset_key == ASSET
    ]


@pytest.fixture
def another() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp() as instance:
        yield instance


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_all_is_as_if_written_one_by_one(
    instance: dg.DagsterInstance,
    another: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(events, "BATCH", 3)
    ours, theirs = write(instance, log_materializations, count), write(another, one_by_one, count)
    assert shown(instance) == shown(another)
    assert len(shown(instance)) == count
    partitions = [f"ws/p|run {i}" for i in range(count)]
    assert of_the_run(instance, ours.run_id) == of_the_run(another, theirs.run_id) == partitions
    assert instance.get_materialized_partitions(ASSET) == set(partitions)
    last = instance.get_latest_materialization_event(ASSET)
    assert last is not None
    assert last.asset_materialization == made(count)[-1]
    assert last.run_id == ours.run_id


def test_none_at_all(instance: dg.DagsterInstance) -> None:
    write(instance, log_materializations, 0)
    assert shown(instance) == []


def test_other_storages_get_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's storage makes one insert of each."""
    monkeypatch.setattr(events, "BATCH", 3)
    batches: list[int] = []
    store = InMemoryEventLogStorage.store_event_batch

    def noting(self: InMemoryEventLogStorage, batch: Sequence[dg.EventLogEntry]) -> None:
        batches.append(len(batch))
        store(self, batch)

    monkeypatch.setattr(InMemoryEventLogStorage, "store_event_batch", noting)
    with dg.DagsterInstance.ephemeral() as instance:
        write(instance, log_materializations, 7)
        assert batches == [3, 3, 1]
        assert instance.get_materialized_partitions(ASSET) == {f"ws/p|run {i}" for i in range(7)}
