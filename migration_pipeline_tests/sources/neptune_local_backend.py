"""What Neptune's clients left in folders, for the contract of sources; nothing may change there.

The logs are written here, in the client's format (`sources/neptune_local/` has the real clients
write theirs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import ConfigError
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline_tests.sources.contract.place import Lasting, Place
from migration_pipeline_tests.sources.neptune_local.left import POINTS, add_run, line, tree

PROJECT = "local/place"


def make_neptune_local(folder: str) -> NeptuneLocalSource:
    return NeptuneLocalSource(NeptuneLocalConfig(paths=(Path(folder),)))


def content_of(number: int) -> dict[str, Any]:
    """What the archive has of `add_run`'s run of this number."""
    return {
        "n": number,
        "loss": [(i * 10**6, 1_700_000_000_000 + 1000 * i, number + i / 7) for i in range(POINTS)],
        "model": b"%d" % number * 1000,
    }


@contextmanager
def _folders(root: Path, count: int) -> Iterator[Place]:
    folder = root / "place"
    directories = [add_run(folder, number) for number in range(count)]
    ids = [directory.name.split("__")[1] for directory in directories]
    before = tree(folder)

    def change(key: RunKey) -> None:
        """The run goes on after its export."""
        nonlocal before
        directory = directories[ids.index(key.run)]
        last = int((directory / "last_put_version").read_text())
        with (directory / "data-1.log").open("a") as log:
            log.write(line(last + 1, type="AssignInt", path=["added"], value=42))
        (directory / "last_put_version").write_text(str(last + 1))
        before = tree(folder)

    @contextmanager
    def gone() -> Iterator[None]:
        away = folder.rename(root / "away")
        try:
            yield
        finally:
            away.rename(folder)

    yield Place(
        make=make_neptune_local,
        arguments=(str(folder),),
        hasty=(str(folder),),
        count=count,
        project=PROJECT,
        expected={run: content_of(number) for number, run in enumerate(ids)},
        change=change,
        lasting={"gone": Lasting(gone, ConfigError, "MIGRATION_LOCAL_PATH")},
    )
    assert tree(folder) == before


few: Callable[[Path, int], Any] = _folders
many: Callable[[Path], Any] = partial(_folders, count=12)
