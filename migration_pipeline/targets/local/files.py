"""Files of a run: what they are called at a tracker that keeps them on this machine, known before
any is copied."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from migration_pipeline.archive import layout
from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.scan import FileRow, RunScan
from migration_pipeline.mapping.steps import step_text
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
    series = scan.of_types(series_types)
    wanted = {f"series\0{path}\0{kind}": f"series/{path}.jsonl" for path, kind in series}
    rows: list[tuple[FileRow, dict[str, str]]] = []
    for number, row in enumerate(scan.files):
        inside = _inside(scan, row)
        rows.append((row, {child: f"file\0{number}\0{child}" for child in inside}))
        for child in inside:
            base = f"files/{_name(row)}"
            wanted[rows[-1][1][child]] = f"{base}/{child}" if child else base
    rules = NameRules(f"{can.file_characters}/", can.file_path_max_length, path=True, tree=True)
    given = assign_names(wanted, rules)
    return FileNames(
        {(p, k): given[f"series\0{p}\0{k}"] for p, k in series},
        [(row, {child: given[key] for child, key in inside.items()}) for row, inside in rows],
    )


def copy(source: Path, target: Path) -> int:
    """Copies a file and makes sure that it is on the disk; returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync(target)
    return target.stat().st_size


def _inside(scan: RunScan, row: FileRow) -> list[str]:
    if row.path is None:
        return []
    file = scan.run.file(row.path)
    if not file.is_dir():
        return [""]
    return sorted(p.relative_to(file).as_posix() for p in file.rglob("*") if p.is_file())


def _name(row: FileRow) -> str:
    extension = layout.extension_of(row.path or "", "", "")
    if row.step is not None or row.type.endswith("_series"):
        step = "none" if row.step is None else step_text(row.step)
        return f"{row.attribute}/step_{step}{extension}"
    return row.attribute if row.attribute.endswith(extension) else f"{row.attribute}{extension}"
