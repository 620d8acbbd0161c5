"""One record for all runs of a project, where a record each would be more than Dagster can carry.

Dagster's page and its queries take the partitions of an asset as a whole, and its documentation
advises 100,000 at most. All projects' runs are partitions of the same assets, so the limit is one
for all of them. A project that would exceed it gets one record, under `workspace/project|%all`,
when a stage begins and ends; in between chunks say with their outputs how many runs came
(`status_records`). Records of its runs from before stay, and the newest record of a project says
which of the two counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from migration_pipeline.archive.archive import Archive
from migration_pipeline.defs import partitions, records, settings
from migration_pipeline.defs import status_records as shown
from migration_pipeline.defs.checks import Examination, examine

VARIABLE = "MIGRATION_RECORDS"
MOST = 100_000
"""As Dagster's guide "Partitioning assets" recommends, for the sake of the page."""
EACH_RUN = (
    "MIGRATION_RECORDS allows no record for each run. The archive knows them: the job `summary` "
    "makes a page of all, and `neptune/export` shows the newest."
)


@dataclass(frozen=True)
class AllRuns:
    """What the one record of a project at one place says.

    Args:
        uncounted: runs whose points are not known.
    """

    runs: int
    points: int = 0
    bytes: int = 0
    uncounted: int = 0
    verified: int = 0

    @classmethod
    def of_figures(cls, figures: Mapping[str, Any]) -> AllRuns:
        names = (shown.DONE, shown.POINTS, shown.BYTES, shown.UNCOUNTED, shown.VERIFIED)
        return cls(*(figures[name] for name in names))

    def with_chunks(self, chunks: Sequence[Mapping[str, Any]]) -> AllRuns:
        """And what the chunks of a load say that followed."""
        runs, verified, points, size = (
            sum(chunk[name] for chunk in chunks)
            for name in (shown.NEW, shown.VERIFIED, shown.POINTS, shown.BYTES)
        )
        return replace(
            self,
            runs=self.runs + runs,
            points=self.points + points,
            bytes=self.bytes + size,
            verified=min(self.verified + verified, self.runs + runs),
        )

    def figures(self) -> dict[str, int]:
        return {
            shown.DONE: self.runs,
            shown.POINTS: self.points,
            shown.BYTES: self.bytes,
            shown.UNCOUNTED: self.uncounted,
            shown.VERIFIED: self.verified,
        }


def each(instance: dg.DagsterInstance, project: str, runs: int) -> bool:
    """Whether each of a project's so many runs gets a record. At most one query."""
    most = settings.whole_number(VARIABLE) or MOST
    if runs > most:
        return False
    prefix = partitions.prefix_of(project)
    known = instance.get_dynamic_partitions(str(partitions.runs.name))
    return runs + sum(not key.startswith(prefix) for key in known) <= most


def of_archive(found: Examination) -> AllRuns:
    return AllRuns(found.runs, found.points, found.bytes, uncounted=found.adopted)


def last(instance: dg.DagsterInstance, asset: dg.AssetKey, project: str) -> Mapping[str, Any]:
    """The figures of a project's one record; empty where it has none."""
    partition = partitions.all_runs_partition(project)
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[partition])
    found = instance.fetch_materializations(wanted, limit=1).records
    before = found[0].asset_materialization if found else None
    return {name: value.value for name, value in before.metadata.items()} if before else {}


def record(
    context: dg.OpExecutionContext,
    asset: dg.AssetKey,
    project: str,
    all_runs: AllRuns,
    more: records.Metadata | None = None,
) -> int:
    """Writes the one record unless the last one says all that; returns how many were written."""
    figures = {**all_runs.figures(), **(more or {})}
    before = last(context.instance, asset, project)
    if all(before.get(name) == value for name, value in figures.items()):
        return 0
    partition = partitions.all_runs_partition(project)
    records.add_partitions(context.instance, partitions.runs, [partition])
    context.log_event(
        dg.AssetMaterialization(
            asset, partition=partition, metadata={**figures, "each run": EACH_RUN}
        )
    )
    return 1


def record_archive(context: dg.OpExecutionContext, archive: Archive, project: str) -> int:
    """The same of what the archive holds, which is examined only if the number of runs differs."""
    before = last(context.instance, records.EXPORTED, project)
    if before.get(shown.DONE) == archive.count(project):
        return 0
    return record(context, records.EXPORTED, project, of_archive(examine(archive, project)))
