"""What the tests of trackers on this machine share: one run with something of everything, and
databases that cannot be written."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.loading import LoadResult, RunLoad, load_runs, plan_load
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    histogram,
    of,
    param,
)

NAN, INF = float("nan"), float("inf")
EVERYTHING = of(
    "everything",
    param("lr", "float", 0.1),
    param("epochs", "int", 2**63 - 1),
    param("on", "bool", True),
    param("when", "datetime", START + 1),
    param("text", "string", "a\nb"),
    param("sys/name", "string", "an experiment"),
    param("sys/owner", "string", "ada"),
    param("sys/failed", "bool", True),
    param("sys/tags", "string_set", ["one", "two, three"]),
    floats("loss", [("0", START, 0.5), ("0.25", START + 1, NAN), ("0.5", START + 7, INF)]),
    floats("again", [("1", START, 1.0), ("1", START + 1, 2.0), ("2", None, -0.0)]),
    curve("train/acc", 3),
    Row("log", "string_series", "first", "1", START),
    Row("log", "string_series", "second", "1.5", START + 1),
    Row("h", "histogram_series", histogram("COUNTING", [0.0, 0.5, 1.0], [3.0, 4.0]), "1", START),
    Row("model.bin", "file", b"weights"),
    Row("pictures", "file_series", b"pixels", "2", START),
)


def everything(folder: Path) -> Archive:
    return build(folder, EVERYTHING)


def load(target: Target, archive: Archive) -> LoadResult:
    plan = plan_load(target, archive, PROJECT)
    return load_runs(target, archive, plan.mapping, plan.due)


def only(result: LoadResult) -> RunLoad:
    (run,) = result.runs
    return run


def one_run(folder: Path, points: int = 3) -> Archive:
    return build(folder, DataSet("one", (RunData("RUN-1", tuple(curve("m/a", points))),)))


def small_disk(pages: int) -> type[sqlite3.Connection]:
    """Connections to databases that cannot grow beyond so many pages."""

    class Connection(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            super().execute(f"PRAGMA max_page_count = {pages}")

    return Connection
