"""What is written down at a run about its load: attributes below `import`.

`import/original_run_id` and `import/original_project_id` are those of neptune-exporter. Below
`import/run` stands what a tracker shows of a run and the protocol has no place for, below
`import/forking` what it was forked from, below `import/state` what the load was; of these
`import/state/load` becomes `complete` as the very last write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migration_pipeline import __version__
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import cut, without_nul
from migration_pipeline.targets.neptune2.capabilities import CAPABILITIES, DATETIMES_MS
from migration_pipeline.targets.neptune2.naming import ORIGINAL_PROJECT, ORIGINAL_RUN, STATE
from migration_pipeline.targets.neptune2.numbers import encoded
from migration_pipeline.targets.target import Kin, LoadState, TargetRun

Operation = dict[str, Any]
LOAD, VERIFIED = f"{STATE}/load", f"{STATE}/verified"
COMPLETE, LOADING = "complete", "loading"
BEGUN_BY = f"{STATE}/begun_by"
"""Which load has begun it last, while it is not complete: nothing else is known of that."""
MAPPING_VERSION = "1"
"""Raised when the mapping changes so much that runs must be loaded again."""
PREFIX, KIND, SYS_ID = "import/run/name_prefix", "import/run/kind", "import/run/sys_id"
OWNER, START, END = "import/run/owner", "import/run/start", "import/run/end"
PARENT, FORK_STEP = "import/forking/parent", "import/forking/step"
PARENT_ID = "import/forking/parent_id"
"""The server's own id of the run that it was forked from."""
NAMED = "import/sys/name"
"""The archive's `sys/name`, where it has one; else the run's id is shown as the name."""
_STATE = ("digest", "fingerprint", "step_decimals", "step_multiplier", "mapping_version", "damaged")
LISTED = (
    "sys/id",
    "sys/custom_run_id",
    "sys/trashed",
    ORIGINAL_RUN,
    ORIGINAL_PROJECT,
    PREFIX,
    KIND,
    SYS_ID,
    PARENT,
    LOAD,
    VERIFIED,
    *(f"{STATE}/{name}" for name in _STATE),
)
"""What a listing of runs asks for."""


@dataclass(frozen=True)
class Found:
    """A run as the server lists it.

    Args:
        id: the server's, by which requests name it.
        values: path → value of the attributes that were asked for.
    """

    id: str
    values: Mapping[str, Any]

    @property
    def sys_id(self) -> str:
        return str(self.values.get("sys/id", ""))

    def text(self, path: str) -> str:
        return str(self.values.get(path) or "")

    def is_of(self, project: str, mapping: ProjectMapping) -> bool:
        of = (self.text(ORIGINAL_PROJECT), self.text(PREFIX))
        return of == (without_nul(project), without_nul(mapping.name_prefix))

    def target_run(self, url: str) -> TargetRun:
        """What the loader is told of it."""
        complete = (
            self.text(LOAD) == COMPLETE and self.text(f"{STATE}/mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=self.text(f"{STATE}/digest"),
            fingerprint=self.text(f"{STATE}/fingerprint"),
            step_decimals=int(self.text(f"{STATE}/step_decimals") or 0),
            step_multiplier=int(self.text(f"{STATE}/step_multiplier") or 1),
            damaged=self.values.get(f"{STATE}/damaged") is True,
            verified=self.values.get(VERIFIED) is True,
            ids=(self.sys_id,),
            parent=self.text(PARENT),
            sys_id=self.text(SYS_ID),
            url=url,
        )


def string(path: str, value: str) -> Operation:
    shown = cut(without_nul(value), CAPABILITIES.parameter_max_length)
    return {"path": path, "assignString": {"value": shown}}


def flag(path: str, value: bool) -> Operation:
    return {"path": path, "assignBool": {"value": value}}


def delete(path: str) -> Operation:
    return {"path": path, "deleteAttribute": {}}


def clear_set(path: str) -> Operation:
    return {"path": path, "clearStringSet": {}}


def first_marks(scan: RunScan, mapping: ProjectMapping, load: str) -> list[Operation]:
    """Whose run it is: written before anything else."""
    key = scan.key
    texts = {
        LOAD: LOADING,
        BEGUN_BY: load,
        ORIGINAL_RUN: key.run,
        ORIGINAL_PROJECT: key.project,
        PREFIX: mapping.name_prefix,
        KIND: key.kind,
        SYS_ID: scan.facts.sys_id,
    }
    return [string(path, text) for path, text in texts.items() if text]


def facts_shown(scan: RunScan, kin: Kin) -> list[Operation]:
    """Name, description, tags and status in their own places, all else below `import`."""
    facts = scan.facts
    operations = [
        string("sys/name", facts.experiment or scan.key.run),
        flag("sys/failed", facts.failed),
    ]
    texts = {
        "sys/description": facts.description,
        OWNER: facts.owner,
        PARENT: facts.parent,
        PARENT_ID: kin.parent,
    }
    operations += [string(path, text) for path, text in texts.items() if text]
    for path, tags in (("sys/tags", facts.tags), ("sys/group_tags", facts.group_tags)):
        if tags:
            operations.append({"path": path, "insertStrings": {"values": _tags(tags)}})
    for path, time in ((START, facts.start), (END, facts.end)):
        if time is not None and time in DATETIMES_MS:
            operations.append({"path": path, "assignDatetime": {"valueMilliseconds": time}})
    if facts.fork_step is not None:
        operations.append({"path": FORK_STEP, "assignFloat": {"value": encoded(facts.fork_step)}})
    return operations


def last_marks(scan: RunScan, mapping: ProjectMapping) -> list[Operation]:
    """The mark of completion, last."""
    content = scan.content
    texts = {
        "digest": content.digest,
        "fingerprint": content.fingerprint,
        "step_decimals": str(content.step_decimals),
        "step_multiplier": str(mapping.step_multiplier),
        "mapping_version": MAPPING_VERSION,
        "loaded_by": f"migration_pipeline {__version__}",
    }
    marks = [string(f"{STATE}/{name}", text) for name, text in texts.items() if text]
    return [
        *marks,
        flag(f"{STATE}/damaged", bool(scan.run.damage)),
        string(BEGUN_BY, ""),
        string(LOAD, COMPLETE),
    ]


def facts_of(found: Found) -> RunFacts:
    """What the server shows, in the archive's terms."""
    get = found.values.get
    return RunFacts(
        name=found.text(ORIGINAL_RUN),
        start=get(START),
        end=get(END),
        failed=get("sys/failed") is True,
        tags=tuple(sorted(get("sys/tags") or ())),
        group_tags=tuple(sorted(get("sys/group_tags") or ())),
        description=found.text("sys/description"),
        owner=found.text(OWNER),
        parent=found.text(PARENT),
        experiment=found.text("sys/name") if found.text(NAMED) else "",
        sys_id=found.text(SYS_ID),
        fork_step=get(FORK_STEP),
    )


def shown_facts(facts: RunFacts) -> RunFacts:
    """What `facts_of` gives for a run with these."""

    def text(value: str) -> str:
        return cut(without_nul(value), CAPABILITIES.parameter_max_length)

    def time(value: int | None) -> int | None:
        return value if value is not None and value in DATETIMES_MS else None

    return RunFacts(
        name=text(facts.name),
        start=time(facts.start),
        end=time(facts.end),
        failed=facts.failed,
        tags=tuple(sorted(_tags(facts.tags))),
        group_tags=tuple(sorted(_tags(facts.group_tags))),
        description=text(facts.description),
        owner=text(facts.owner),
        parent=text(facts.parent),
        experiment=text(facts.experiment),
        sys_id=text(facts.sys_id),
        fork_step=facts.fork_step,
    )


def _tags(tags: tuple[str, ...]) -> list[str]:
    """A set: each once."""
    limit = CAPABILITIES.tag_max_length
    return list(dict.fromkeys(cut(without_nul(tag), limit) for tag in tags))
