"""What W&B says of a run that is not a series: config, summary, `sys`, and all of it as `wandb/…`.

Values keep their types; the vendor's script made text of them. Lists and objects without keys are
JSON text, null is no value and is noted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from migration_pipeline.archive.schema import make_batch
from migration_pipeline.sources.reading import Item, Remark, Selected
from migration_pipeline.sources.source import Rows, RunRef, Selection
from migration_pipeline.sources.wandb.history import RENAMED, WORDS, as_text
from migration_pipeline.sources.wandb.names import Paths

NULLS = "{count} values of config and summary are null, which is no value: {list}"
DIGITS = "integers beyond 64 bits are text: {list}"
_INT64 = 2**63
FAILED_STATES = frozenset({"failed", "crashed", "killed"})


@dataclass(frozen=True)
class Branch:
    """Where a run was forked: its parent's id, and the last step that both share."""

    parent: str
    step: float


@dataclass
class RunFacts:
    """A run as W&B describes it, online or on disk; what is not known is empty.

    Args:
        said: everything else that is known, for `wandb/…`.
    """

    id: str
    entity: str
    project: str
    name: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""
    state: str = ""
    owner: str = ""
    created: datetime | None = None
    modified: datetime | None = None
    branch: Branch | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)


class Attributes:
    """Gathers the parameters of one run, as far as they are selected."""

    def __init__(self, run: RunRef, selection: Selection) -> None:
        self._run, self._selection = run, selection
        self._paths = Paths()
        self._rows: list[dict[str, Any]] = []
        self._null: list[str] = []
        self._digits: list[str] = []

    def put(self, keys: tuple[str, ...], value: Any, words: bool = False) -> None:
        """Takes a value, or an object of values, which is laid out with `/`.

        Args:
            words: "NaN" and the like are numbers, as in summaries.
        """
        if isinstance(value, Mapping) and value and "_type" not in value:
            for key, inner in value.items():
                self.put((*keys, str(key)), inner, words)
            return
        path = self._paths.of(keys)
        if value is None:
            self._null.append(path)
        elif words and isinstance(value, str) and value in WORDS:
            self._row(path, "float", WORDS[value])
        elif isinstance(value, bool):
            self._row(path, "bool", value)
        elif isinstance(value, int):
            if -_INT64 <= value < _INT64:
                self._row(path, "int", value)
            else:
                self._digits.append(path)
                self._row(path, "string", str(value))
        elif isinstance(value, float):
            self._row(path, "float", value)
        elif isinstance(value, str):
            self._row(path, "string", value)
        elif isinstance(value, datetime):
            self._row(path, "datetime", epoch_ms(value))
        elif isinstance(value, tuple):
            self._row(path, "string_set", sorted(set(value)))
        else:
            self._row(path, "string", as_text(value))

    def put_facts(self, facts: RunFacts) -> None:
        """Takes all that is known of a run."""
        sys: dict[str, Any] = {
            "id": facts.id,
            "custom_run_id": facts.id,
            "name": facts.name,
            "description": facts.notes,
            "owner": facts.owner,
            "creation_time": facts.created,
            "modification_time": facts.modified,
            "tags": facts.tags or None,
            "group_tags": (facts.group,) if facts.group else None,
        }
        if facts.state:
            sys["failed"] = facts.state in FAILED_STATES
        if facts.branch:
            sys["forking"] = {"parent": facts.branch.parent, "step": float(facts.branch.step)}
        own = {
            "id": facts.id,
            "entity": facts.entity,
            "project": facts.project,
            "name": facts.name,
            "group": facts.group,
            "state": facts.state,
            **facts.said,
        }
        for place, values in (("sys", sys), ("wandb", own)):
            for key, value in values.items():
                if value not in (None, ""):
                    self.put((place, key), value)
        self.put(("config",), facts.config)
        self.put(("summary",), facts.summary, words=True)

    def items(self) -> Iterator[Item]:
        """The batch, and what is to be noted."""
        run = self._run
        yield Selected(run, len(self._rows))
        if self._rows:
            yield Rows(run, make_batch(run.key.project, run.key.run, self._rows))
        for path in self._null:
            yield Remark(run, NULLS, path)
        for path in self._digits:
            yield Remark(run, DIGITS, path)
        for path in self._paths.changed:
            yield Remark(run, RENAMED, path)

    def _row(self, path: str, kind: str, value: Any) -> None:
        if self._selection.wants(path, kind):
            self._rows.append({"path": path, "type": kind, "value": value})


def branch_of(internal: Any) -> Branch | None:
    """That of a fork, from config's `_wandb` (wandb-core, runbranch/fork.go); None: it is none."""
    point = internal.get("branch_point") if isinstance(internal, Mapping) else None
    if not isinstance(point, Mapping) or not point.get("run_id"):
        return None
    step = point.get("step", 0)
    good = isinstance(step, int | float) and math.isfinite(step)
    return Branch(str(point["run_id"]), step if good else 0)


def epoch_ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def utc(text: Any) -> datetime | None:
    """W&B's times: ISO 8601, UTC where they name no zone; None for what is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
