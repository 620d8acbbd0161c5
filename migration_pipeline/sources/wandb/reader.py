"""What the tasks of one reading from a W&B server share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_pipeline.sources.reading import Task
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline.sources.wandb.client import WandbClient


@dataclass
class Reader:
    """What all tasks of one reading use. For all threads."""

    client: WandbClient
    selection: Selection
    scratch: Path
    sweeps: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    parents: dict[RunRef, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def target(self) -> Path:
        """A path that no other download has."""
        return self.scratch / str(next(self._numbers))


class OfOne(Task):
    """A task for one run; `entry` is the SDK's."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any) -> None:
        super().__init__([run])
        self._reader, self._run, self._entry = reader, run, entry
