"""Comet as a target: finds, loads, reads back and marks runs.

A run is an experiment whose key is made from the workspace, the project and the run. What it is and
how far it is stands in parameters `neptune/mark/…`, which Comet gives of a hundred experiments in
one answer; `state` becomes `complete` as the very last write. What was begun and not finished is
deleted and sent anew: values that are sent twice are there twice.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive.archive import KIND_PLURALS, RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import cut, shown, tags_text, to_text, without_nul
from migration_pipeline.targets.comet.capabilities import CAPABILITIES
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline.targets.comet.connection import Connection
from migration_pipeline.targets.comet.naming import FACTS, MARKS, experiment_key, project_name
from migration_pipeline.targets.comet.read_back import Reader
from migration_pipeline.targets.comet.records import Records
from migration_pipeline.targets.comet.sending import Sender
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun

MAPPING_VERSION = "1"
"""Raised when runs that were loaded before should be loaded again."""
_COMPLETE, _LOADING, _DAMAGED = "complete", "loading", "damaged"
_PARENT = f"{FACTS}fork/experiment"
"""The key of the experiment that one was forked from."""
_ATTEMPTS = 1000


class CometTarget:
    """See `targets.target.Target`."""

    name = "comet"

    def __init__(self, config: CometConfig) -> None:
        self._to = Connection(config)
        self._records = Records(self._to)
        self._ids: dict[tuple[str, RunKey], str] = {}
        self._seen: dict[tuple[str, str], dict[RunKey, tuple[str, ...]]] = {}
        """(prefix, project) → experiments of its runs when they were listed last."""
        self.capabilities: Capabilities = _capabilities(config)

    @property
    def address(self) -> str:
        return self._to.address

    def check(self) -> None:
        with self._to.calls("looking whether it is there"):
            self._to.probe()

    def has_store(self) -> bool:
        return True

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        with self._to.calls("listing runs"):
            listed = self._listed(project, mapping)
        found: dict[RunKey, TargetRun] = {}
        for key, held in listed.items():
            runs = [self._target_run(id, marks, mapping, project) for id, marks in held]
            # A complete one counts before others.
            runs.sort(key=lambda run: (run.state is not LoadState.COMPLETE, run.ids))
            found[key] = replace(runs[0], ids=tuple(id for run in runs for id in run.ids))
            self._ids[mapping.name_prefix, key] = runs[0].ids[0]
        self._seen[mapping.name_prefix, project] = {key: run.ids for key, run in found.items()}
        return found

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        """By the key that it has at first; by the marks of its project where it is not there: one
        that was deleted and sent anew may have another. Those are listed once."""
        of, project = (mapping.name_prefix, key), (mapping.name_prefix, key.project)
        with self._to.calls("looking for a run"):
            first = experiment_key(key, mapping, self._to.workspace)
            for id in dict.fromkeys((self._ids.get(of, first), first)):
                if found := self._there(id, key, mapping):
                    return found
            if project not in self._seen:
                self.runs(key.project, mapping)
            for id in self._seen[project].get(key, ()):
                if found := self._there(id, key, mapping):
                    return found
        self._ids.pop(of, None)
        return TargetRun(LoadState.ABSENT)

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key, records = scan.key, self._records
        self.discard(key, mapping)
        with (
            self._to.calls("sending a run"),
            tempfile.TemporaryDirectory(prefix="migration-") as scratch,
            ThreadPoolExecutor(1, "comet", self._to.share, (self._to.http,)) as pool,
        ):
            id = self._create(key, mapping)
            start = self.shown_facts(scan.facts).start or 1
            records.put_parameters(id, self._marks(scan, mapping), start)
            self._ids[mapping.name_prefix, key] = id
            self._facts(scan, id, kin, start)
            report = Sender(self._to, scan, id, Path(scratch), meter, pool).send()
            for child in kin.children:
                records.put_other(child, _PARENT, id, start)
            held = self.shown_facts(scan.facts)
            records.finish(id, start, held.end or start, scan.facts.failed)
            records.put_parameters(id, {MARKS["state"]: _COMPLETE}, start + 1)
        report.id, report.url = id, self._page(id, key.project, mapping)
        return report

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        id = self._one(key, mapping)
        with self._to.calls("reading a run"):
            yield from Reader(self._to, id, key, self.capabilities, into, attributes).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        id = self._one(key, mapping)
        with self._to.calls("reading a run"):
            metadata = self._records.metadata(id) or {}
            others, tags = self._records.others(id), self._records.tags(id)
            marks = self._records.marks([id]).get(id, {})
        of = {name.removeprefix(FACTS): value for name, value in others.items()}
        ordered = parse_tags(of.get("tags", ""))
        return RunFacts(
            name=metadata.get("experimentName") or "",
            start=metadata.get("startTimeMillis"),
            end=metadata.get("endTimeMillis"),
            failed=bool(metadata.get("hasCrashed")),
            # Comet's are a set: their order is kept beside.
            tags=tuple(t for t in ordered if without_nul(t) in tags or not _taggable(t)),
            group_tags=parse_tags(of.get("group_tags", "")),
            description=of.get("description", ""),
            owner=of.get("owner", ""),
            parent=marks.get("parent", ""),
            experiment=of.get("experiment", ""),
            sys_id=marks.get("sys_id", ""),
            fork_step=float(of["fork/step"]) if "fork/step" in of else None,
        )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        limit = self.capabilities.tag_max_length
        held = shown(facts, limit)
        start = max(facts.start or 1, 1)
        group = parse_tags(without_nul(tags_text(facts.group_tags, limit)))
        return replace(
            held,
            start=start,
            end=max(facts.end or start, start),
            name=without_nul(cut(facts.name, limit)),
            experiment=without_nul(cut(facts.experiment, limit)),
            group_tags=group,
        )

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        id = self._one(key, mapping)
        now = time.time_ns() // 1_000_000  # a later verdict must not look older than an earlier one
        with self._to.calls("noting the verdict"):
            self._records.put_parameters(id, {MARKS["verified"]: str(verified).lower()}, now)

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        found = self.find(key, mapping)
        listed = self._seen.get((mapping.name_prefix, key.project), {}).get(key, ())
        with self._to.calls("deleting a run"):
            for id in found.ids:
                self._records.delete(id)
            for id in listed:
                if id not in found.ids and self._there(id, key, mapping):
                    self._records.delete(id)
        self._ids.pop((mapping.name_prefix, key), None)

    # --- finding --------------------------------------------------------------------------------

    def _listed(
        self, project: str, mapping: ProjectMapping
    ) -> dict[RunKey, list[tuple[str, dict[str, str]]]]:
        """Run → (experiment key, marks) of all experiments that are of it."""
        name = project_name(project, mapping)
        if not self._records.has_project(name):
            return {}
        found: dict[RunKey, list[tuple[str, dict[str, str]]]] = {}
        for id, marks in self._records.marks(self._records.experiments(name)).items():
            key = _key_of(marks)
            ours = marks.get("prefix", "") == mapping.name_prefix
            if key is not None and key.project == project and ours:
                found.setdefault(key, []).append((id, marks))
        return found

    def _there(self, id: str, key: RunKey, mapping: ProjectMapping) -> TargetRun | None:
        there = self._records.metadata(id)
        if there is None or there.get("archived"):
            return None
        marks = self._records.marks([id]).get(id, {})
        if _key_of(marks) != key or marks.get("prefix", "") != mapping.name_prefix:
            return None
        self._ids[mapping.name_prefix, key] = id
        return self._target_run(id, marks, mapping, key.project)

    def _one(self, key: RunKey, mapping: ProjectMapping) -> str:
        if id := self._ids.get((mapping.name_prefix, key)):
            return id
        if ids := self.find(key, mapping).ids:
            return ids[0]
        raise TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )

    def _target_run(
        self, id: str, marks: dict[str, str], mapping: ProjectMapping, project: str
    ) -> TargetRun:
        complete = (
            marks.get("state") == _COMPLETE and marks.get("mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=marks.get("digest", ""),
            fingerprint=marks.get("fingerprint", ""),
            step_decimals=int(marks.get("step_decimals", 0)),
            step_multiplier=int(marks.get("step_multiplier", 1)),
            damaged=marks.get("grade") == _DAMAGED,
            verified=marks.get("verified") == "true",
            ids=(id,),
            parent=marks.get("parent", ""),
            sys_id=marks.get("sys_id", ""),
            url=self._page(id, project, mapping),
        )

    def _page(self, id: str, project: str, mapping: ProjectMapping) -> str:
        return f"{self.address}/{self._to.workspace}/{project_name(project, mapping)}/{id}"

    # --- what is written ------------------------------------------------------------------------

    def _create(self, key: RunKey, mapping: ProjectMapping) -> str:
        """The key of an experiment without points, for those that are sent would come on top: what
        is there still was not loaded by this, or its deletion is not done yet."""
        for attempt in range(_ATTEMPTS):
            id = experiment_key(key, mapping, self._to.workspace, attempt)
            there = self._records.metadata(id)
            if there and (there.get("archived") or self._records.metric_names(id)):
                continue
            if self._to.add_run(id, project_name(key.project, mapping)):
                return id
        raise TargetRefusedError(
            f"all {_ATTEMPTS} keys that run {key} may have are taken at {self.address}, which "
            "keeps those of deleted experiments",
            "Set MIGRATION_NAME_PREFIX to load under others.",
        )

    def _marks(self, scan: RunScan, mapping: ProjectMapping) -> dict[str, str]:
        key, content = scan.key, scan.content
        marks = {
            "project": key.project,
            "run": key.run,
            "kind": key.kind,
            "state": _LOADING,
            "digest": content.digest,
            "fingerprint": content.fingerprint,
            "step_decimals": str(content.step_decimals),
            "step_multiplier": str(mapping.step_multiplier),
            "mapping_version": MAPPING_VERSION,
            "grade": _DAMAGED if scan.run.damage else "",
            "parent": scan.facts.parent,
            "sys_id": scan.facts.sys_id,
            "prefix": mapping.name_prefix,
        }
        return {MARKS[name]: value for name, value in marks.items() if value}

    def _facts(self, scan: RunScan, id: str, kin: Kin, start: int) -> None:
        """What Comet has no place for goes into others."""
        held, limit = self.shown_facts(scan.facts), self.capabilities.tag_max_length
        step = held.fork_step
        facts = {
            "Name": held.name,
            f"{FACTS}experiment": held.experiment,
            f"{FACTS}description": held.description,
            f"{FACTS}owner": held.owner,
            f"{FACTS}tags": _list(scan.facts.tags, limit),
            f"{FACTS}group_tags": _list(scan.facts.group_tags, limit),
            f"{FACTS}fork/step": "" if step is None else to_text("float", step),
            _PARENT: kin.parent,
            f"{FACTS}loaded_by": f"migration_pipeline {__version__}",
        }
        for name, value in facts.items():
            if value:
                self._records.put_other(id, name, value, start)
        if tags := [without_nul(tag) for tag in scan.facts.tags if _taggable(tag)]:
            self._records.put_tags(id, tags)


def _capabilities(config: CometConfig) -> Capabilities:
    """As that server is: with its pace, and batches that its pace allows."""
    paces = config.paces
    most = min(config.points_per_request, paces.get("metric", config.points_per_request))
    rates = [
        rate.model_copy(update={"count": paces[kind]})
        for kind, rate in zip(("metric", "parameter", "other"), CAPABILITIES.rates, strict=True)
        if kind in paces
    ]
    return CAPABILITIES.model_copy(update={"points_per_request": most, "rates": tuple(rates)})


def _key_of(marks: dict[str, str]) -> RunKey | None:
    kind = next((kind for kind in KIND_PLURALS if kind == marks.get("kind")), None)
    if kind is None or not {"project", "run"} <= marks.keys():
        return None
    return RunKey(marks["project"], marks["run"], kind)


def _taggable(tag: str) -> bool:
    """Not so is the word about tags that are too many for one value."""
    return bool(tag.strip()) and not tag.startswith("… and ")


def _list(tags: Collection[str], limit: int | None) -> str:
    return without_nul(tags_text(list(tags), limit)) if tags else ""
