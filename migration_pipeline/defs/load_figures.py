"""What the page shows of a load: figures and tables, put together from plain data of its chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from migration_pipeline.defs import records
from migration_pipeline.defs.checks import VERDICT_FIGURES
from migration_pipeline.targets.loading import LoadResult, RunLoad
from migration_pipeline.targets.target import Loss

ROWS_KEPT = 50
"""Of each table, from each chunk."""
TABLE_ROWS = 200
"""Of each table on the page."""


def of_load(run: RunLoad) -> records.Metadata:
    """What a record of a loaded run shows."""
    shown: dict[str, int | float | str | bool | dg.MetadataValue] = {"seconds": run.seconds}
    shown |= link(run.url)
    if run.report:
        shown |= {
            "attributes": run.report.attributes,
            "points": run.report.points,
            "files": run.report.files,
            "bytes of files": run.report.bytes,
            "losses": len(run.report.losses),
            "renamed": len(run.report.renames),
        }
    if run.verdict:
        shown |= {
            "verified": run.verdict.equal_to_archive,
            **{shown: getattr(run.verdict, name) for shown, name in VERDICT_FIGURES.items()},
        }
        if run.verdict.findings:
            shown["first finding"] = str(run.verdict.findings[0])
    return shown


def link(url: str) -> dict[str, dg.MetadataValue]:
    """To the run's page at the target; nothing where there is no such page."""
    return {"url": dg.MetadataValue.url(url)} if url else {}


def of_chunk(result: LoadResult) -> dict[str, Any]:
    """A chunk's result as plain data of bounded size."""
    verdicts, loaded = result.verdicts, result.loaded
    return {
        "seconds": result.seconds,
        "runs loaded now": len(loaded),
        "attributes": sum(r.attributes for r in loaded),
        "points": sum(r.points for r in loaded),
        "files": sum(r.files for r in loaded),
        "bytes of files": sum(r.bytes for r in loaded),
        "verdicts": {
            "runs": len(verdicts),
            "runs equal": sum(v.equal_to_archive for v in verdicts),
            **{
                shown: sum(getattr(v, name) for v in verdicts)
                for shown, name in VERDICT_FIGURES.items()
            },
        },
        "findings": [(str(v.key), f.kind, str(f)) for v in result.different for f in v.findings][
            :ROWS_KEPT
        ],
        "losses": summed_losses(result.losses),
        "renames": [
            (str(r.key), original, name) for r in loaded for original, name in r.renames.items()
        ][:ROWS_KEPT],
        "renamed": sum(len(r.renames) for r in loaded),
        "table": [_row(run) for run in result.runs if run.report][:ROWS_KEPT],
    }


def summed_losses(losses: Sequence[Loss]) -> list[tuple[str, str, int, int, str]]:
    """(reason, where it is kept, attributes, values, an example), by reason."""
    sums: dict[tuple[str, str], list[Any]] = {}
    for loss in losses:
        entry = sums.setdefault((loss.reason, loss.kept), [0, 0, loss.attribute])
        entry[0] += 1
        entry[1] += loss.count
    return [(*key, *entry) for key, entry in sorted(sums.items())]


def _row(run: RunLoad) -> dict[str, str | int]:
    assert run.report
    return {
        "run": run.key.run,
        "kind": run.key.kind,
        "attributes": run.report.attributes,
        "points": run.report.points,
        "files": run.report.files,
        "bytes of files": run.report.bytes,
        "losses": len(run.report.losses),
        "verified": "" if run.verdict is None else "yes" if run.good else "no",
        "url": run.url,
    }


def added(chunks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = ("runs loaded now", "attributes", "points", "files", "bytes of files", "seconds")
    return {name: sum(chunk[name] for chunk in chunks) for name in names}


def rate(now: Mapping[str, float]) -> dict[str, float]:
    return {"points per second": round(now["points"] / now["seconds"])} if now["seconds"] else {}


def tables(chunks: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue]:
    losses: dict[tuple[str, str], list[Any]] = {}
    for reason, kept, attributes, values, example in (x for c in chunks for x in c["losses"]):
        entry = losses.setdefault((reason, kept), [0, 0, example])
        entry[0] += attributes
        entry[1] += values
    rows = {
        "losses": [
            {"what": what, "kept": kept, "attributes": a, "values": v, "example": example}
            for (what, kept), (a, v, example) in sorted(losses.items())
        ],
        "renames": [
            {"run": run, "attribute": original, "at the target": name}
            for chunk in chunks
            for run, original, name in chunk["renames"]
        ],
        "runs": [row for chunk in chunks for row in chunk["table"]],
    }
    counts = {
        "losses": len(rows["losses"]),
        "renames": sum(chunk["renamed"] for chunk in chunks),
        "runs": sum(chunk["runs loaded now"] for chunk in chunks),
    }
    return {
        _title(name, min(len(table), TABLE_ROWS), int(counts[name])): dg.MetadataValue.table(
            [dg.TableRecord(row) for row in table[:TABLE_ROWS]]
        )
        for name, table in rows.items()
        if table
    }


def _title(name: str, shown: int, there: int) -> str:
    return (
        f"{name} (table)" if shown >= there else f"{name} (table of the first {shown} of {there})"
    )


def tables_of_last(
    context: dg.OpExecutionContext, key: dg.AssetKey
) -> Mapping[str, dg.MetadataValue]:
    """When nothing was loaded: the tables of the last time, so that they stay on the page."""
    last = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[context.partition_key]), limit=1
    ).records
    before = last[0].asset_materialization if last else None
    metadata = before.metadata if before else {}
    return {name: value for name, value in metadata.items() if "(table" in name}
