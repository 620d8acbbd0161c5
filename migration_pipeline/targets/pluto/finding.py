"""Finds runs at Pluto, and what stands in their configuration of ours.

A run is listed by a tag with a digest of its identity, and told from others by the identity itself,
in `neptune` of its configuration. Marks lie there too: a configuration is the only thing of a run
that an API key may write and read at any time without opening the run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

from migration_pipeline.archive.archive import KIND_PLURALS, RunKey
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.pluto.capabilities import RUNS_PER_PAGE
from migration_pipeline.targets.pluto.connection import Connection
from migration_pipeline.targets.pluto.naming import IMPORTED, project_name, run_tag
from migration_pipeline.targets.target import LoadState, TargetRun

MAPPING_VERSION = "1"
"""Raised when runs that were loaded before should be loaded again."""
MARKS = "neptune"
"""The key in a run's configuration."""
COMPLETE, DISCARDED = "complete", "discarded"
TEXTS_BEGUN, TEXTS_SENT = "begun", "sent"
"""Of text and histograms, which are never told apart from what is there already."""


@dataclass(frozen=True)
class FoundRun:
    """A run as the listing has it."""

    id: int
    project: str
    """Pluto's."""
    status: str
    url: str
    tags: tuple[str, ...]
    marks: Mapping[str, Any]
    """Ours; empty where it was created and nothing else."""

    @property
    def attempt(self) -> int:
        return int(self.marks.get("attempt", 1))

    @property
    def discarded(self) -> bool:
        return self.marks.get("state") == DISCARDED

    def is_of(self, key: RunKey) -> bool:
        """By the identity in its marks; before they are written by the tag alone."""
        if not self.marks:
            return run_tag(key) in self.tags
        return key == self.key

    @property
    def key(self) -> RunKey | None:
        kind: Any = self.marks.get("kind", "run")
        if not isinstance(self.marks.get("run"), str) or kind not in KIND_PLURALS:
            return None
        return RunKey(str(self.marks.get("project", "")), self.marks["run"], kind)


class Finder:
    """The listing of runs.

    Args:
        instead: one Pluto project for all.
    """

    def __init__(self, to: Connection, instead: str) -> None:
        self._to, self._instead = to, instead

    def project(self, project: str, mapping: ProjectMapping) -> str:
        return project_name(project, mapping, self._instead)

    def all(self, project: str, mapping: ProjectMapping) -> dict[RunKey, list[FoundRun]]:
        found: dict[RunKey, list[FoundRun]] = {}
        for run in self._listed(self.project(project, mapping), IMPORTED):
            if run.key and run.key.project == project and not run.discarded:
                found.setdefault(run.key, []).append(run)
        return {key: sorted(runs, key=_first_counts) for key, runs in found.items()}

    def one(self, key: RunKey, mapping: ProjectMapping) -> list[FoundRun]:
        """All runs of this identity, the complete one first; discarded ones last."""
        listed = self._listed(self.project(key.project, mapping), run_tag(key))
        return sorted((run for run in listed if run.is_of(key)), key=_first_counts)

    def _listed(self, project: str, tag: str) -> Iterator[FoundRun]:
        offset = 0
        seen: set[int] = set()  # what was made at the same moment may change its place meanwhile
        while True:
            answer = self._to.get(
                "/api/runs/list",
                "listing runs",
                projectName=project,
                tags=tag,
                limit=RUNS_PER_PAGE,
                offset=offset,
                sort="+createdAt",
            )
            page = answer.get("runs", [])
            for run in (found_run(run, project) for run in page):
                if run.id not in seen:
                    seen.add(run.id)
                    yield run
            if len(page) < RUNS_PER_PAGE:
                return
            offset += len(page)


def found_run(run: Mapping[str, Any], project: str) -> FoundRun:
    config = run.get("config")
    marks = config.get(MARKS) if isinstance(config, dict) else None
    return FoundRun(
        int(run["id"]),
        project,
        str(run.get("status", "")),
        str(run.get("url") or ""),
        tuple(run.get("tags") or ()),
        marks if isinstance(marks, dict) else {},
    )


def target_run(runs: list[FoundRun], files: int | None) -> TargetRun:
    """What the loader is told of runs of one identity, sorted.

    Args:
        files: of a run that are sent; one of which fewer were sent, and not all, is not complete.
    """
    runs = [run for run in runs if not run.discarded]
    if not runs:
        return TargetRun(LoadState.ABSENT)
    marks = runs[0].marks
    complete = marks.get("state") == COMPLETE and marks.get("mapping_version") == MAPPING_VERSION
    if (sent := marks.get("files_per_run")) is not None:
        complete = complete and files is not None and files <= sent
    return TargetRun(
        LoadState.COMPLETE if complete else LoadState.PARTIAL,
        digest=marks.get("digest", ""),
        fingerprint=marks.get("fingerprint", ""),
        step_decimals=int(marks.get("step_decimals", 0)),
        step_multiplier=int(marks.get("step_multiplier", 1)),
        damaged=bool(marks.get("damaged")),
        verified=bool(marks.get("verified")),
        ids=tuple(str(run.id) for run in runs),
        parent=(marks.get("facts") or {}).get("parent", ""),
        sys_id=(marks.get("facts") or {}).get("sys_id", ""),
        url=runs[0].url,
    )


def wanted_marks(scan: RunScan, mapping: ProjectMapping, shown: int) -> dict[str, Any]:
    """What a run is loaded from and how: a run that was begun with the same is gone on with.

    Args:
        shown: only points whose step is a multiple of this.
    """
    content = scan.content
    return {
        "project": scan.key.project,
        "run": scan.key.run,
        "kind": scan.key.kind,
        "digest": content.digest,
        "fingerprint": content.fingerprint,
        "step_decimals": content.step_decimals,
        "step_multiplier": mapping.step_multiplier,
        "steps_shown_every": shown,
        "files_per_run": scan.capabilities.files_per_run if scan.left_out else None,
        "mapping_version": MAPPING_VERSION,
        "damaged": bool(scan.run.damage),
        "facts": facts_of(scan.facts),
    }


def facts_of(facts: RunFacts) -> dict[str, Any]:
    """Those that Pluto has no field for, or not for all of them."""
    return {
        "tags": [without_nul(tag) for tag in facts.tags],
        "group_tags": [without_nul(tag) for tag in facts.group_tags],
        "description": without_nul(facts.description),
        "owner": without_nul(facts.owner),
        "parent": without_nul(facts.parent),
        "experiment": without_nul(facts.experiment),
        "sys_id": without_nul(facts.sys_id),
        "fork_step": None if facts.fork_step is None else repr(facts.fork_step),
    }


def as_text(marks: Mapping[str, Any]) -> str:
    """A configuration as Pluto takes it: JSON within JSON, without NaN."""
    return dumps(marks, ensure_ascii=False, allow_nan=False)


def _first_counts(run: FoundRun) -> tuple[bool, bool, int]:
    return (run.discarded, run.marks.get("state") != COMPLETE, run.id)
