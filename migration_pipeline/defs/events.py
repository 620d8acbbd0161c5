"""Many materializations at once: what Dagster writes one by one, in one transaction for hundreds.

`context.log_event` opens two SQLite databases for each event, looks at their tables, compiles its
statements anew and checkpoints at the end: 8 ms and more a record, however small. Dagster's
storages have a call for batches; PostgreSQL's is one insert, SQLite's a loop over single events.
So SQLite gets its batch here, by the same insert and the same connections as a single event.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from itertools import islice

import dagster as dg

# Names that Dagster does not export; its version is held to one minor line.
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log import EventLogStorage, SqliteEventLogStorage

BATCH = 1_000
"""Events an insert: 7 variables each, and SQLite takes 32,766 in a statement."""


def log_materializations(
    context: dg.OpExecutionContext, materializations: Iterable[dg.AssetMaterialization]
) -> None:
    """As `context.log_event` for each; tags of materializations are not supported."""
    storage = context.instance.event_log_storage
    remaining = iter(materializations)
    while events := [_entry(context, m) for m in islice(remaining, BATCH)]:
        _store(storage, events)


def _entry(
    context: dg.OpExecutionContext, materialization: dg.AssetMaterialization
) -> dg.EventLogEntry:
    step = context.get_step_execution_context()
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=context.job_name,
        step_handle=step.step.handle,
        node_handle=step.step.node_handle,
        step_kind_value=step.step.kind.value,
        logging_tags=step.event_tags,
        event_specific_data=StepMaterializationData(materialization),
        message=f"Recorded {materialization.partition}.",
        pid=os.getpid(),
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.DEBUG,
        user_message="",
        run_id=context.run_id,
        timestamp=time.time(),
        step_key=event.step_key,
        job_name=event.job_name,
        dagster_event=event,
    )


def _store(storage: EventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
    if not isinstance(storage, SqliteEventLogStorage):
        storage.store_event_batch(events)
        return
    *most, last = events
    if most:
        insert = storage.prepare_insert_event_batch(most)
        for connection in (storage.run_connection(last.run_id), storage.index_connection()):
            with connection as open_connection:
                open_connection.execute(insert)
    storage.store_event(last)  # which also makes it the asset's latest
