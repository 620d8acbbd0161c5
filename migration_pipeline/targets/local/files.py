"""Files of a run: what they are called at a tracker that keeps them on this machine, known before
any is copied."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.scan import FileRow, RunScan
from migration_pipeline.mapping.uploads import upload_names
from migration_pipeline.targets.local.sqlite import sync

Attribute = tuple[str, str]


@dataclass(frozen=True)
class FileNames:
    """Names of all that a run keeps as files.

    Args:
        series: series that are held as files → name.
        rows: file row → what lies where: path within the archived file ("" for itself) → name.
    """

    series: dict[Attribute, str]
    rows: list[tuple[FileRow, dict[str, str]]]


def name_files(scan: RunScan, series_types: tuple[str, ...]) -> FileNames:
    """Names that differ, are legal, and none of which is the folder of another."""
    can = scan.capabilities
    series = {f"{path}\0{kind}": (path, kind) for path, kind in scan.of_types(series_types)}
    wanted = {key: f"{path}.jsonl" for key, (path, _) in series.items()}
    rules = NameRules(f"{can.file_characters}/", can.file_path_max_length, path=True, tree=True)
    given = assign_names(wanted, rules)
    return FileNames(
        {attribute: f"series/{given[key]}" for key, attribute in series.items()},
        [
            (row, {child: f"files/{name}" for child, name in inside.items()})
            for row, inside in upload_names(scan)
        ],
    )


def copy(source: Path, target: Path) -> int:
    """Copies a file and makes sure that it is on the disk; returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync(target)
    return target.stat().st_size
