"""What `migration/status` costs: from nothing, when nothing is new, and after a chunk of runs.

python -m migration_pipeline_tests.benchmarks.status --runs 10000 --projects 10
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log import SqliteEventLogStorage

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import partitions, records, status
from migration_pipeline.defs.events import BATCH

CHUNK = 50


def add_records(instance: dg.DagsterInstance, keys: list[RunKey]) -> None:
    """Records of runs that were exported and loaded into the dummy, straight into the index."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqliteEventLogStorage)
    entries = [
        _entry(asset, partitions.run_partition(key))
        for key in keys
        for asset in (records.EXPORTED, records.loaded("dummy"))
    ]
    for start in range(0, len(entries), BATCH):
        insert = storage.prepare_insert_event_batch(entries[start : start + BATCH])
        with storage.index_connection() as connection:
            connection.execute(insert)


def _entry(asset: dg.AssetKey, partition: str) -> dg.EventLogEntry:
    metadata: dict[str, Any] = {"points": 1000, "bytes of files": 10, "verified": True, "rows": 9}
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name="benchmark",
        event_specific_data=StepMaterializationData(
            dg.AssetMaterialization(asset, partition=partition, metadata=metadata)
        ),
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.DEBUG,
        user_message="",
        run_id="00000000-0000-0000-0000-000000000000",
        timestamp=time.time(),
        job_name="benchmark",
        dagster_event=event,
    )


def timed(instance: dg.DagsterInstance, folder: Path, what: str) -> None:
    wall, cpu = time.monotonic(), time.process_time()
    status.materialize(instance, str(folder), what, logging.getLogger())  # type: ignore[arg-type]
    print(
        f"{what}: {time.monotonic() - wall:.2f} s, {time.process_time() - cpu:.2f} s of CPU",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--projects", type=int, default=10)
    given = parser.parse_args()
    names = [f"team/project-{i}" for i in range(given.projects)]
    keys = [RunKey(names[i % len(names)], f"run-{i:06}") for i in range(given.runs)]
    with (
        tempfile.TemporaryDirectory() as home,
        dg.DagsterInstance.local_temp(home) as instance,
    ):
        instance.add_dynamic_partitions(str(partitions.projects.name), names)
        add_records(instance, keys)
        folder = Path(home) / "report"
        timed(instance, folder, "from nothing")
        timed(instance, folder, "nothing new")
        add_records(instance, [RunKey(names[0], f"new-{i}") for i in range(CHUNK)])
        timed(instance, folder, f"after {CHUNK} runs more")


if __name__ == "__main__":
    main()
