"""The dummy for the contract: a folder, and calls to its store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migration_pipeline.archive.digest import RunSums, digest_file
from migration_pipeline.targets.dummy.client import DummyTarget
from migration_pipeline.targets.dummy.config import DummyConfig
from migration_pipeline.targets.dummy.store import Store
from migration_pipeline.targets.target import Target


def make(folder: Path) -> DummyTarget:
    return DummyTarget(DummyConfig(path=str(folder)))


class Watched:
    """Stands before something; every call to it is told."""

    def __init__(
        self, watched: Any, before: Callable[[str], None], after: Callable[[str], None]
    ) -> None:
        self._watched, self._before, self._after = watched, before, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._watched, name)
        if not callable(call):
            return call

        def told(*arguments: Any, **options: Any) -> Any:
            self._before(name)
            result = call(*arguments, **options)
            self._after(name)
            return result

        return told


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    assert isinstance(target, DummyTarget)
    target._store = Watched(target._store, before, after)


def whole(folder: Path) -> Any:
    """What is said of every run, sums of its rows, and its files."""
    store, found = Store(folder), {}
    for path in sorted(folder.glob("*/*/*/run.json")):
        place = path.parent.relative_to(folder)
        sums = RunSums(lambda path, place=place: digest_file(store._file(place, path)))  # type: ignore[misc]
        for batch in store.read(place):
            sums.update(batch)
        attributes = {name: summed.key() for name, summed in sums.attributes.items()}
        found[str(place)] = (json.loads(path.read_text()), attributes)
    return found
