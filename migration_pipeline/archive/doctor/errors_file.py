"""neptune-exporter's record of what failed: one JSON object a line, appended by every export.

A line names project, run, often the attribute, and the class of the exception. The tool publishes
the run all the same and never tries again, so a line is a loss unless the run was exported anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Location, location
from migration_pipeline.errors import ConfigError

NAME = "neptune_exporter_errors.jsonl"
ERRORS_VARIABLE = "MIGRATION_ERRORS_PATH"


@dataclass(frozen=True)
class Failure:
    """A line of an errors file.

    Args:
        attribute: None: all that the request was for.
        error: class of the exception.
    """

    project: str
    run: str
    attribute: str | None
    error: str


def errors_files(archive: Archive, given: str = "") -> list[Location]:
    """The errors files in and beside the archive's directories, and the configured one.

    Beside means one level up, and two: neptune-exporter writes it where it is started, and data
    into ./exports/data.

    Args:
        given: a file, or a directory that holds one; empty: none.

    Raises:
        ConfigError: the given one is not there.
    """
    found: list[Location] = []
    for directory in (archive.data, archive.files):
        found += [place / NAME for place in (directory, *directory.parents[:2])]
    if given:
        path = location(given, ERRORS_VARIABLE)
        path = path / NAME if path.is_dir() else path
        if not path.is_file():
            raise ConfigError(
                f"{ERRORS_VARIABLE} is {given!r}, which is no file and holds no {NAME}",
                "Correct it, or leave it unset: the file is found when it lies beside the data "
                "or files directory.",
            )
        found.append(path)
    return [path for path in dict.fromkeys(found) if path.is_file()]


def read_failures(
    files: Sequence[Location], unreadable: list[tuple[Location, int]]
) -> Iterator[Failure]:
    """All lines of the files, one after the other.

    Args:
        unreadable: gets (file, line number) of lines that are none.
    """
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if failure := _failure(line):
                    yield failure
                elif line.strip():
                    unreadable.append((path, number))


def _failure(line: bytes) -> Failure | None:
    try:
        said = json.loads(line)
        project, run = said["project_id"], said["run_id"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(project, str) or not isinstance(run, str):
        return None
    attribute, error = said.get("attribute_path"), said.get("exception")
    return Failure(project, run, attribute if isinstance(attribute, str) else None, str(error))
