"""The records `neptune/run` and `<target>/run`: one materialization a run.

They are how the page and one query know which runs are exported and loaded. Disk and target stay
the truth, so whoever finds a run there without its record writes the record, and nobody skips a
run because of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import dagster as dg

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.diagnosis import Diagnosis, ProjectDiagnosis
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.defs import partitions
from migration_pipeline.defs.events import BATCH, log_materializations
from migration_pipeline.errors import DamagedPartError

EXPORTED = dg.AssetKey(["neptune", "run"])
_KEYS_PER_QUERY = 10_000
"""SQLite takes 32,766 variables in a query."""

Metadata = Mapping[str, int | float | str | bool | dg.MetadataValue]


def folder(target: str) -> str:
    """The first part of the keys of a target's assets: its name, unless the export's are there."""
    return f"{target}_target" if target == EXPORTED.path[0] else target


def loaded(target: str) -> dg.AssetKey:
    """The key of a target's records."""
    return dg.AssetKey([folder(target), "run"])


def recorded(instance: dg.DagsterInstance, asset: dg.AssetKey, project: str) -> set[str]:
    """Partition keys of a project's runs that have a record. One query, whatever the project."""
    prefix = partitions.prefix_of(project)
    return {key for key in instance.get_materialized_partitions(asset) if key.startswith(prefix)}


def without_runs(
    instance: dg.DagsterInstance, archive: Archive, project: str, runs: int
) -> list[str]:
    """Partition keys whose record outlived the run's files, where nothing brought them back.

    Args:
        runs: so many the archive has; each has a record by now, so its parts are looked at only
            where there are more records than that.
    """
    known = recorded(instance, EXPORTED, project)
    if len(known) <= runs:
        return []
    there = archive.runs(project, damaged=[])
    return sorted(known - {partitions.run_partition(key) for key in there})


def record(
    context: dg.OpExecutionContext,
    asset: dg.AssetKey,
    runs: Iterable[tuple[RunKey, Metadata]],
) -> int:
    """Writes a record for each run; returns how many."""
    by_partition = {partitions.run_partition(key): (key, metadata) for key, metadata in runs}
    add_partitions(context.instance, partitions.runs, list(by_partition))
    log_materializations(
        context,
        (
            dg.AssetMaterialization(
                asset, partition=partition, metadata={"run": key.run, "kind": key.kind, **metadata}
            )
            for partition, (key, metadata) in by_partition.items()
        ),
    )
    return len(by_partition)


def record_grades(context: dg.OpExecutionContext, archive: Archive, found: ProjectDiagnosis) -> int:
    """Records each run of an archive with its grade, unless its record says all that already."""
    before = _grades(context.instance, found.project)
    due = {
        run.key: shown
        for run in found.runs
        if before.get(partitions.run_partition(run.key)) != (shown := of_diagnosis(run))
    }
    manifests = readable_manifests(archive, found.project, list(due))
    runs = [
        (key, {**(of_manifest(manifests[key]) if key in manifests else {}), **shown})
        for key, shown in due.items()
    ]
    return record(context, EXPORTED, runs)


def of_diagnosis(run: Diagnosis) -> dict[str, str]:
    """What a record says of a run's grade, and why."""
    reasons = "; ".join(reason.text for reason in run.reasons)
    return {"grade": run.grade, **({"reasons": reasons} if reasons else {})}


def _grades(instance: dg.DagsterInstance, project: str) -> dict[str, dict[str, str]]:
    """Partition → what `of_diagnosis` gave the latest record of each of a project's runs."""
    prefix = partitions.prefix_of(project)
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        EXPORTED, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    ids = [number for partition, number in latest.items() if partition.startswith(prefix)]
    found = {}
    for start in range(0, len(ids), BATCH):
        some = dg.AssetRecordsFilter(EXPORTED, storage_ids=ids[start : start + BATCH])
        for one in instance.fetch_materializations(some, limit=BATCH).records:
            if one.asset_materialization and one.partition_key:
                metadata = one.asset_materialization.metadata
                found[one.partition_key] = {
                    name: str(metadata[name].value)
                    for name in ("grade", "reasons")
                    if name in metadata
                }
    return found


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


def readable_manifests(
    archive: Archive, project: str, keys: Sequence[RunKey]
) -> dict[RunKey, Manifest | None]:
    """Of those runs that are there and readable; a damaged one is due, or found by the check."""
    try:
        return archive.manifests(project, keys)
    except DamagedPartError:
        readable: dict[RunKey, Manifest | None] = {}
        for key in keys:
            with suppress(DamagedPartError):
                readable |= archive.manifests(project, [key])
        return readable
