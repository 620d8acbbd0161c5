"""GoodSeed for the contract: a folder, and every statement to its files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from migration_pipeline.targets.goodseed.client import GoodseedTarget
from migration_pipeline.targets.goodseed.config import GoodseedConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.targets.watching import watched_calls, watched_connection


def make(folder: Path) -> GoodseedTarget:
    """The store below a folder; a new one when there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    return GoodseedTarget(GoodseedConfig(home=str(folder / "goodseed")))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    assert isinstance(target, GoodseedTarget)
    target._opener.factory = watched_connection(before, after)
    watched_calls(target, ("_rename",), before, after)


def whole(folder: Path) -> Any:
    """Every run: all rows of all tables, and its files."""
    home = folder / "goodseed"
    return {
        "runs": {
            path.relative_to(home).as_posix(): tables(path)
            for path in sorted(home.glob("projects/**/runs/*.sqlite"))
        },
        "files": {
            path.relative_to(home).as_posix(): path.read_bytes()
            for path in sorted(home.glob("files/**/*"))
            if path.is_file()
        },
    }


def tables(path: Path, left_out: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        names = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in sorted(names)
            if name not in left_out
        }
