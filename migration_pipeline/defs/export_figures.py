"""What the page shows of an export: figures of the disk, the newest runs, some curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from migration_pipeline.archive.archive import KIND_PLURALS, Archive, RunKey
from migration_pipeline.defs import picture
from migration_pipeline.defs.checks import MANIFESTS_KEPT, Examination

OF_THEM = "of them "
"""Before a kind, in a figure that counts objects that are no runs."""


def totals(found: Examination) -> dict[str, int]:
    """Figures of what lies in the archive; without those that only manifests tell, unless all runs
    have one."""
    figures = {
        "runs": found.runs,
        **{
            f"{OF_THEM}{words}": found.other_kinds[words]
            for words in KIND_PLURALS.values()
            if words in found.other_kinds
        },
        "rows": found.rows,
        "bytes of parquet": found.parquet_bytes,
    }
    if found.adopted:
        return figures
    return figures | {
        "attributes": found.attributes,
        "points": found.points,
        "files": found.files,
        "bytes of files": found.bytes,
        "files missing at the source": found.missing_files,
        "runs with notes": found.noted,
    }


def rates(chunks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    seconds = sum(chunk["seconds"] for chunk in chunks)
    if not seconds:
        return {}
    return {
        "seconds": round(seconds, 2),
        "points per second": round(sum(chunk["points"] for chunk in chunks) / seconds),
        "bytes of files per second": round(sum(chunk["bytes"] for chunk in chunks) / seconds),
    }


def runs_table(found: Examination) -> dict[str, dg.MetadataValue]:
    rows = [
        dg.TableRecord(
            {
                "run": m.run,
                "kind": m.kind,
                "sys/id": m.sys_id or "",
                "forked from": m.parent or "",
                "attributes": m.attributes,
                "rows": m.rows,
                "points": m.points,
                "files": len(m.files),
                "bytes of files": m.bytes,
                "exported at": m.written_at.isoformat(),
                "notes": " ".join(m.notes),
            }
        )
        for m in found.manifests
    ]
    title = "runs (table)"
    if found.runs > MANIFESTS_KEPT:
        title = f"runs (table, newest {MANIFESTS_KEPT} of {found.runs})"
    return {title: dg.MetadataValue.table(rows)} if rows else {}


def curves(
    context: dg.OpExecutionContext,
    asset: dg.AssetKey,
    archive: Archive,
    found: Examination,
    drawn_anew: bool,
) -> dict[str, dg.MetadataValue]:
    """A picture of some curves; the last one again when nothing was exported."""
    if drawn_anew:
        keys = [RunKey(m.project, m.run, m.kind) for m in found.manifests if m.points]
        runs = [run for key in keys[: picture.MAX_RUNS] if (run := archive.find(key))]
        text = picture.draw(picture.some_curves(runs))
        return {"curves": dg.MetadataValue.md(text)} if text else {}
    last = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[context.partition_key]), limit=1
    ).records
    drawn = last[0].asset_materialization if last else None
    return {"curves": drawn.metadata["curves"]} if drawn and "curves" in drawn.metadata else {}
