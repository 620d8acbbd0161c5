"""What `neptune/migration.json` says of a run that is being sent."""

from __future__ import annotations

from collections.abc import Mapping

from migration_pipeline import __version__
from migration_pipeline.mapping.keys import Attribute, renames
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.sidecar import AttributeEntry, Migration, loss_entries
from migration_pipeline.mapping.terms import Loss


def migration_of(
    scan: RunScan,
    names: Mapping[Attribute, str],
    series_files: Mapping[Attribute, str],
    losses: list[Loss],
) -> Migration:
    """
    Args:
        names: parameters and series → name at the target.
        series_files: series that are held as files → name of the file.
        losses: of the whole run.
    """
    return Migration(
        written_by=f"migration_pipeline {__version__}",
        project=scan.key.project,
        run=scan.key.run,
        kind=scan.key.kind,
        digest=scan.content.digest,
        step_multiplier=scan.mapping.step_multiplier,
        start=scan.mapper.time_for_none,
        attributes=[
            AttributeEntry(
                path=attribute[0],
                type=attribute[1],
                rows=rows,
                name=names.get(attribute) or series_files.get(attribute, ""),
            )
            for attribute, rows in sorted(scan.attributes.items())
        ],
        renamed=renames(names),
        timeless=sorted(path for path, series in scan.series.items() if series.timeless),
        losses=loss_entries(losses),
        damage=list(scan.run.damage),
    )
