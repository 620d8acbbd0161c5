"""What a run is at W&B, as far as this target asks, and the mark that says what it was loaded from.

The mark is one value of config (`neptune`), shown on the run's page as `neptune.state` and so on.
Config is written whole, so state, digest and parameters change in one request or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from json import dumps, loads
from pathlib import Path
from typing import Any, Protocol

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.scan import RunScan, fingerprint
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import from_text, to_text, without_nul
from migration_pipeline.targets.remote.sending import Upload
from migration_pipeline.targets.target import LoadState, TargetRun
from migration_pipeline.targets.wandb.capabilities import MARK, RUN_KEY, STEP
from migration_pipeline.targets.wandb.naming import run_key, run_name, tags_of
from migration_pipeline.targets.wandb.rows import Row

MAPPING_VERSION = 1
"""Raised when runs that were loaded before should be loaded again."""
LOADING, COMPLETE = "loading", "complete"
_INTERNAL = "_wandb"
_STARTED = {"12": "0.29.0"}
"""`_wandb.t`: W&B takes a run without it for one that never began (wandb-core resume.go); 12 is the
version of the client."""


@dataclass
class FoundRun:
    """A run at W&B.

    Args:
        id: W&B's own, by which it is changed; `name` is the one that we chose.
        config: name → value.
        lines: rows of its history.
        listed: its files by name as the server lists them, once it was asked.
    """

    id: str
    name: str
    project: str
    display_name: str = ""
    state: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""
    notes: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    url: str = ""
    listed: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def mark(self) -> dict[str, Any]:
        found = self.config.get(MARK)
        return found if isinstance(found, dict) else {}

    @property
    def first_row(self) -> int:
        """`_step` of the first row of its own; those before it are its parent's."""
        first: int = self.mark.get("first_row", 0)
        return first

    @property
    def complete(self) -> bool:
        mark = self.mark
        return mark.get("state") == COMPLETE and mark.get("mapping_version") == MAPPING_VERSION

    @property
    def branch(self) -> Branch | None:
        internal = self.config.get(_INTERNAL)
        found = internal.get("branch_point") if isinstance(internal, dict) else None
        return Branch(found["run_id"], found["step"]) if found else None

    @property
    def parameters(self) -> dict[str, Any]:
        """Config without what is W&B's and what is ours."""
        ours = (MARK, RUN_KEY, _INTERNAL)
        return {name: value for name, value in self.config.items() if name not in ours}

    def is_of(self, key: RunKey, mapping: ProjectMapping) -> bool:
        mark = self.mark
        said = tuple(mark.get(name, "") for name in ("project", "kind", "run", "name_prefix"))
        return said == (
            without_nul(key.project),
            key.kind,
            without_nul(key.run),
            mapping.name_prefix,
        )

    def target_run(self, ids: tuple[str, ...]) -> TargetRun:
        mark = self.mark
        return TargetRun(
            LoadState.COMPLETE if self.complete else LoadState.PARTIAL,
            digest=mark.get("digest", ""),
            fingerprint=mark.get("fingerprint", ""),
            step_decimals=mark.get("step_decimals", 0),
            step_multiplier=mark.get("step_multiplier", 1),
            damaged=bool(mark.get("damaged")),
            verified=bool(mark.get("verified")),
            ids=ids,
            parent=mark.get("forked_from", ""),
            sys_id=mark.get("sys_id", ""),
            url=self.url,
        )

    def facts(self) -> RunFacts:
        mark = self.mark
        own = tuple(mark.get("group_tags", ()))
        return RunFacts(
            name=self.display_name,
            start=time_of(mark.get("created")),
            end=time_of(mark.get("ended")),
            failed=self.state == "failed",
            tags=self.tags,
            group_tags=own,
            description=self.notes,
            owner=mark.get("owner", ""),
            parent=mark.get("forked_from", ""),
            experiment=self.group,
            sys_id=mark.get("sys_id", ""),
            fork_step=mark.get("fork_step"),
        )


def time_of(text: Any) -> int | None:
    """A time of the mark, ms."""
    return from_text("datetime", text) if isinstance(text, str) else None


def shown_facts(facts: RunFacts) -> RunFacts:
    """What `FoundRun.facts` says for a run with these."""
    return RunFacts(
        name=run_name(facts.name),
        start=facts.start,
        end=facts.end,
        failed=facts.failed,
        tags=tags_of(facts.tags),
        group_tags=tuple(without_nul(tag) for tag in facts.group_tags),
        description=without_nul(facts.description),
        owner=without_nul(facts.owner),
        parent=without_nul(facts.parent),
        experiment=run_name(facts.experiment),
        sys_id=without_nul(facts.sys_id),
        fork_step=facts.fork_step,
    )


@dataclass(frozen=True)
class First:
    """What a run is made with; of one that was begun it must be the same still."""

    key: str
    project: str
    name: str
    group: str
    kind: str
    tags: tuple[str, ...]
    notes: str
    mark: dict[str, Any]

    @classmethod
    def of(cls, scan: RunScan, project: str, mapping: ProjectMapping) -> First:
        facts, content = shown_facts(scan.facts), scan.content
        times = {"created": facts.start, "ended": facts.end}
        mark = {
            "state": LOADING,
            "project": without_nul(scan.key.project),
            "run": without_nul(scan.key.run),
            "kind": scan.key.kind,
            "name_prefix": mapping.name_prefix,
            "digest": content.digest,
            "fingerprint": content.fingerprint,
            "parts": fingerprint(scan.run),
            "step_decimals": content.step_decimals,
            "step_multiplier": mapping.step_multiplier,
            "mapping_version": MAPPING_VERSION,
            "damaged": bool(scan.run.damage),
            **{name: to_text("datetime", ms) for name, ms in times.items() if ms is not None},
            "owner": facts.owner,
            "sys_id": facts.sys_id,
            "group_tags": list(facts.group_tags),
            "forked_from": facts.parent,
            "fork_step": facts.fork_step,
        }
        kept = {name: value for name, value in mark.items() if value not in ("", None, [])}
        return cls(
            run_key(scan.key, mapping),
            project,
            facts.name,
            facts.experiment,
            scan.key.kind,
            facts.tags,
            facts.description,
            kept,
        )

    def is_same(self, run: FoundRun) -> bool:
        """Whether a run that was begun was begun with this."""
        found = ("parent_run", "verified", "first_row", "steps_grow", "beside")
        mark = {name: value for name, value in run.mark.items() if name not in found}
        begun = (mark, {*run.tags}, run.notes, run.group)
        return begun == (self.mark, {*self.tags}, self.notes, self.group)


@dataclass(frozen=True)
class Branch:
    """Where a run leaves its parent: `step` is the `_step` of the last row that they share."""

    run_id: str
    step: int


def config_text(
    key: str,
    mark: Mapping[str, Any],
    parameters: Mapping[str, Any],
    series: Sequence[str] = (),
    branch: Branch | None = None,
) -> str:
    """Config as W&B has it: name → `{"value": …}`.

    Args:
        series: names of float series; their charts have the step metric as x axis.
        branch: makes it a fork (`fork_from` of the SDK; wandb-core's runbranch/fork.go).
    """
    config: dict[str, Any] = {name: {"value": value} for name, value in parameters.items()}
    config[MARK] = {"value": dict(mark)}
    config[RUN_KEY] = {"value": key}
    internal: dict[str, Any] = {"t": _STARTED}
    if series:
        internal["m"] = _definitions(series)
    if branch:
        internal["branch_point"] = asdict(branch)
    config[_INTERNAL] = {"value": internal}
    return dumps(config, ensure_ascii=False, allow_nan=False)


def _definitions(series: Sequence[str]) -> list[dict[str, Any]]:
    """As wandb-core encodes `define_metric("*", step_metric=…)`: MetricRecord's field numbers; 5 is
    the place of the step metric, from 1."""
    metric: list[dict[str, Any]] = [{"1": STEP, "6": [3], "7": []}]
    return metric + [{"1": name, "5": 1, "6": [1, 3], "7": []} for name in series]


def config_of(text: Any) -> dict[str, Any]:
    """The inverse: name → value."""
    said = loads(text) if text else {}
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value
        for name, value in said.items()
    }


class Place(Protocol):
    """Where runs are: a server, or a folder for `wandb sync`."""

    address: str

    def check(self) -> None: ...

    def runs(self, project: str) -> list[FoundRun]:
        """All runs of a W&B project that were loaded by us."""
        ...

    def find(self, project: str, key: str) -> list[FoundRun]:
        """The attempts of one run, by the id of the first; that of a later one finds that one."""
        ...

    def create(self, first: First, attempt: int, config: str) -> FoundRun:
        """
        Raises:
            BurntIdError: that id was deleted.
        """
        ...

    def change(self, run: FoundRun, config: str) -> None:
        """Replaces config."""
        ...

    def send_lines(self, run: FoundRun, offset: int, lines: Sequence[str]) -> None: ...

    def finish(self, run: FoundRun, summary: str, failed: bool) -> None: ...

    def send_files(self, run: FoundRun, files: Sequence[Upload]) -> None: ...

    def rows(self, run: FoundRun, place: int | None = None) -> Iterator[list[Row]]:
        """The history of its own, page by page; `place`: only the row that has it, from 0."""
        ...

    def files(self, run: FoundRun) -> dict[str, int]:
        """Name → bytes."""
        ...

    def fetch(self, run: FoundRun, name: str, to: Path) -> bool: ...

    def delete(self, run: FoundRun) -> None: ...
