"""The records `neptune/run` and `<target>/run`: one materialization a run.

They are how the page and one query know which runs are exported and loaded. Disk and target stay
the truth, so whoever finds a run there without its record writes the record, and nobody skips a
run because of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.defs import partitions

EXPORTED = dg.AssetKey(["neptune", "run"])
_KEYS_PER_QUERY = 10_000
"""SQLite takes 32,766 variables in a query."""

Metadata = Mapping[str, int | float | str | bool | dg.MetadataValue]


def loaded(target: str) -> dg.AssetKey:
    """The key of a target's records."""
    return dg.AssetKey([target, "run"])


def recorded(instance: dg.DagsterInstance, asset: dg.AssetKey, project: str) -> set[str]:
    """Partition keys of a project's runs that have a record. One query, whatever the project."""
    prefix = partitions.prefix_of(project)
    return {key for key in instance.get_materialized_partitions(asset) if key.startswith(prefix)}


def record(
    context: dg.OpExecutionContext,
    asset: dg.AssetKey,
    runs: Iterable[tuple[RunKey, Metadata]],
) -> int:
    """Writes a record for each run; returns how many."""
    by_partition = {partitions.run_partition(key): (key, metadata) for key, metadata in runs}
    add_partitions(context.instance, partitions.runs, list(by_partition))
    for partition, (key, metadata) in by_partition.items():
        context.log_event(
            dg.AssetMaterialization(
                asset, partition=partition, metadata={"run": key.run, "kind": key.kind, **metadata}
            )
        )
    return len(by_partition)


def add_partitions(
    instance: dg.DagsterInstance, of: dg.DynamicPartitionsDefinition, keys: Sequence[str]
) -> None:
    """Adds the keys that are not there yet."""
    assert of.name
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        instance.add_dynamic_partitions(of.name, list(keys[start : start + _KEYS_PER_QUERY]))


def of_manifest(manifest: Manifest | None) -> Metadata:
    """What a record of an exported run shows."""
    if manifest is None:
        return {"written by": "another tool"}
    shown: dict[str, int | float | str | bool | dg.MetadataValue] = {
        "attributes": manifest.attributes,
        "rows": manifest.rows,
        "points": manifest.points,
        "files": len(manifest.files),
        "bytes of files": manifest.bytes,
        "digest": manifest.digest,
        "exported at": dg.MetadataValue.timestamp(manifest.written_at),
    }
    optional = {
        "sys/id": manifest.sys_id,
        "forked from": manifest.parent,
        "selection": manifest.selection,
        "missing files": ", ".join(manifest.missing_files),
        "notes": " ".join(manifest.notes),
    }
    return shown | {name: value for name, value in optional.items() if value}
