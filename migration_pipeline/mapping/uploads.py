"""What the files of a run are called at a target that takes them in a tree: after their attributes.

Names are injective, and no file is the directory of another, whatever the attributes are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migration_pipeline.archive import layout
from migration_pipeline.archive.location import files_below
from migration_pipeline.mapping.keys import Attribute
from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.scan import FileRow, RunScan
from migration_pipeline.mapping.steps import step_text

Upload = tuple[FileRow, dict[str, str]]
"""A row, and what lies where: path within the archived file ("" for itself) → name."""


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


def upload_names(scan: RunScan) -> list[Upload]:
    """A row of a file attribute each, in the order of `scan.files`; rows without a file have none.

    A file is named after its attribute, that of a series after its step as well; a directory (some
    tools unpack file sets) is a name for each file in it.
    """
    wanted: dict[str, str] = {}
    rows: list[Upload] = []
    for number, row in enumerate(scan.files):
        inside = {child: f"{number}\0{child}" for child in _inside(scan, row)}
        rows.append((row, inside))
        for child, key in inside.items():
            wanted[key] = f"{_file_name(row)}/{child}" if child else _file_name(row)
    can = scan.capabilities
    rules = NameRules(f"{can.file_characters}/", can.file_path_max_length, path=True, tree=True)
    given = assign_names(wanted, rules)
    return [(row, {child: given[key] for child, key in inside.items()}) for row, inside in rows]


def _inside(scan: RunScan, row: FileRow) -> list[str]:
    if row.path is None:
        return []
    file = scan.run.file(row.path)
    if not file.is_dir():
        return [""]
    return sorted(files_below(file))


def _file_name(row: FileRow) -> str:
    extension = layout.extension_of(row.path or "", "", "")
    if row.step is not None or row.type.endswith("_series"):
        step = "none" if row.step is None else step_text(row.step)
        return f"{row.attribute}/step_{step}{extension}"
    return row.attribute if row.attribute.endswith(extension) else f"{row.attribute}{extension}"


def file_line(row: FileRow, inside: dict[str, str]) -> dict[str, Any]:
    """A line of `sidecar.FILES`."""
    line: dict[str, Any] = {
        "attribute": row.attribute,
        "type": row.type,
        "step": None if row.step is None else step_text(row.step),
        "time": row.time,
    }
    if row.path is None:
        return {**line, "artifact": None}
    if set(inside) == {""}:
        return {**line, "artifact": inside[""]}
    return {**line, "directory": inside}
