"""Records of runs that a plan finds at a target, whoever loaded them."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import load_figures as figures
from migration_pipeline.defs import partitions, records, summarised
from migration_pipeline.defs import status_records as shown
from migration_pipeline.defs.events import BATCH
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.targets.loading import LoadPlan


def record_complete(context: dg.OpExecutionContext, target: str, found: LoadPlan) -> int:
    """Records runs that are complete at the target and have no record."""
    asset = records.loaded(target)
    known = records.recorded(context.instance, asset, found.project) if found.complete else set()
    missing = [key for key in found.complete if partitions.run_partition(key) not in known]
    of = sizes(context.resources.archive, found.project, missing)
    unverified = set(found.unverified)
    said: list[tuple[RunKey, records.Metadata]] = [
        (
            key,
            {
                "target": found.address,
                **figures.link(found.urls.get(key, "")),
                "verified": key not in unverified,
                **of.get(key, {}),
            },
        )
        for key in missing
    ]
    return records.record(context, asset, said)


def record_all(context: dg.OpExecutionContext, target: str, found: LoadPlan) -> summarised.AllRuns:
    """One record for all runs that are complete at the target, unless the last one says it."""
    asset, project = records.loaded(target), found.project
    runs, verified = len(found.complete), len(found.complete) - len(found.unverified)
    before = summarised.last(context.instance, asset, project)
    if (before.get(shown.DONE), before.get(shown.VERIFIED)) == (runs, verified):
        return summarised.AllRuns.of_figures(before)
    known = points = size = 0
    for start in range(0, runs, BATCH):
        some = found.complete[start : start + BATCH]
        for one in sizes(context.resources.archive, project, some).values():
            known += 1
            points += one[shown.POINTS]
            size += one[shown.BYTES]
    there = summarised.AllRuns(runs, points, size, runs - known, verified)
    summarised.record(context, asset, project, there, {"target": found.address})
    return there


def sizes(
    resource: ArchiveResource, project: str, keys: Sequence[RunKey]
) -> dict[RunKey, dict[str, int]]:
    """Of runs that are at a target already: what the archive says, where it has a manifest."""
    found = records.readable_manifests(resource.open(), project, keys) if keys else {}
    return {
        key: {shown.POINTS: manifest.points, shown.BYTES: manifest.bytes}
        for key, manifest in found.items()
        if manifest
    }
