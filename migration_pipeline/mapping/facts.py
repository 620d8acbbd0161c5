"""Name, dates, status, tags and descent of a run, from its `sys` attributes.

Neptune 2.x and 3.x use the same names for these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.digest import segments
from migration_pipeline.archive.schema import VALUE_COLUMN
from migration_pipeline.mapping.terms import RunFacts

_WANTED = {
    "sys/id": "string",
    "sys/name": "string",
    "sys/owner": "string",
    "sys/description": "string",
    "sys/creation_time": "datetime",
    "sys/modification_time": "datetime",
    "sys/failed": "bool",
    "sys/tags": "string_set",
    "sys/group_tags": "string_set",
    "sys/forking/parent": "string",
    "sys/forking/step": "float",
}


@dataclass
class FactsReader:
    """Takes all batches of one run and then knows its facts."""

    _values: dict[str, Any] = field(default_factory=dict)
    _first: int | None = None
    _last: int | None = None

    def update(self, batch: pa.RecordBatch) -> None:
        for (path, kind), rows in segments(batch):
            if _WANTED.get(path) == kind:
                row = rows.start if isinstance(rows, slice) else rows[0]
                value = batch.column(VALUE_COLUMN[kind]).slice(int(row), 1)
                if kind == "datetime":
                    value = value.cast(pa.int64())
                if (found := value[0].as_py()) is not None:
                    self._values[path] = found
        extremes = pc.min_max(batch.column("timestamp").cast(pa.int64())).as_py()
        if extremes["min"] is not None:
            low, high = extremes["min"], extremes["max"]
            self._first = low if self._first is None else min(low, self._first)
            self._last = high if self._last is None else max(high, self._last)

    def facts(self, key: RunKey, parent: str | None = None) -> RunFacts:
        """Without a creation or modification time, those of the first and the last point."""
        get = self._values.get
        return RunFacts(
            name=key.run,
            start=get("sys/creation_time", self._first),
            end=get("sys/modification_time", self._last),
            failed=bool(get("sys/failed", False)),
            tags=tuple(get("sys/tags", ())),
            group_tags=tuple(get("sys/group_tags", ())),
            description=get("sys/description", ""),
            owner=get("sys/owner", ""),
            parent=parent or get("sys/forking/parent", ""),
            experiment=get("sys/name", ""),
            sys_id=get("sys/id", ""),
            fork_step=get("sys/forking/step"),
        )


def parse_tags(text: str) -> tuple[str, ...]:
    """Tags from a JSON list; text that is none is one tag."""
    try:
        tags = json.loads(text) if text else []
    except ValueError:
        tags = text
    return tuple(str(t) for t in tags) if isinstance(tags, list) else (text,)
