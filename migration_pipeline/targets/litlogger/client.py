"""Lightning AI (litlogger) as a target: finds, loads, reads back and marks runs.

A Neptune project is a teamspace, a run an experiment whose name, `<run id>-<digest>`, is the same
for every load. What a run is loaded from stands in its tags from the beginning; parameters and the
mark of completion come last, in one write. Points are appended there and never merged, so a run
that was begun and not finished is deleted with its files and sent anew.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive.archive import KIND_PLURALS, RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import cut, from_text, shown, tags_text, to_text, without_nul
from migration_pipeline.targets.litlogger.capabilities import CAPABILITIES, MARKS
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline.targets.litlogger.connection import Connection
from migration_pipeline.targets.litlogger.naming import (
    experiment_name,
    shown_name,
    teamspace_name,
    without_digest,
)
from migration_pipeline.targets.litlogger.read_back import Reader
from migration_pipeline.targets.litlogger.records import Experiment, Records
from migration_pipeline.targets.litlogger.sending import Sender
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun

MAPPING_VERSION = "1"
"""Raised when runs that were loaded before should be loaded again."""
_LOADING, _COMPLETE = "loading", "complete"
_STATE, _VERIFIED = f"{MARKS}load_state", f"{MARKS}verified"
_PARENT_EXPERIMENT = f"{MARKS}fork.parent_experiment"


class LitloggerTarget:
    """See `targets.target.Target`. The id of a run is the name of its experiment."""

    name = "litlogger"

    def __init__(self, config: LitloggerConfig) -> None:
        self._to = Connection(config)
        self._records = Records(self._to)
        self.capabilities: Capabilities = CAPABILITIES

    @property
    def address(self) -> str:
        return self._to.address

    def check(self) -> None:
        self._records.check()

    def has_store(self) -> bool:
        return True

    def runs(self, project: str, mapping: ProjectMapping) -> Mapping[RunKey, TargetRun]:
        within = self._records.teamspace(teamspace_name(project, mapping))
        found: dict[RunKey, TargetRun] = {}
        for experiment in self._records.experiments(within) if within else ():
            key = _key_of(experiment.tags)
            if key and key.project == project and experiment.name == experiment_name(key, mapping):
                found[key] = self._target_run(experiment)
        return found

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        found = self._find(key, mapping)
        return self._target_run(found) if found else TargetRun(LoadState.ABSENT)

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key = scan.key
        within = self._records.make_teamspace(teamspace_name(key.project, mapping))
        self.discard(key, mapping)
        marks = _marks(scan, mapping, kin)
        experiment = self._records.make_experiment(within, experiment_name(key, mapping), marks)
        with TemporaryDirectory(prefix="migration-") as name, ThreadPoolExecutor(1) as pool:
            folder = Path(name)
            sender = Sender(self._to, self._records, experiment, scan, folder, meter, pool)
            report = sender.send()
        for child in kin.children:
            self._name_parent(within.name, child, experiment.name)
        tags = {**marks, _STATE: _COMPLETE, **sender.parameters}
        self._records.update(experiment, tags, "FAILED" if scan.facts.failed else "COMPLETED")
        report.id, report.url = experiment.name, self._records.url(experiment)
        return report

    def _name_parent(self, teamspace: str, child: str, parent: str) -> None:
        within = self._records.teamspace(teamspace)
        found = self._records.experiment(within, child) if within else None
        if found and found.tags.get(_PARENT_EXPERIMENT) != parent:
            self._records.update(found, {**found.tags, _PARENT_EXPERIMENT: parent}, found.phase)

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        found = self._one(key, mapping)
        yield from Reader(self._to, self._records, found, key, into, attributes).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        found = self._one(key, mapping)
        tag = {name.removeprefix(MARKS): value for name, value in found.tags.items()}
        time = {k: from_text("datetime", tag[k]) for k in ("start", "end") if k in tag}
        return RunFacts(
            name=without_digest(found.name),
            start=time.get("start"),
            end=time.get("end"),
            failed=found.phase == "FAILED",
            tags=parse_tags(tag.get("tags", "")),
            group_tags=parse_tags(tag.get("group_tags", "")),
            description=tag.get("description", ""),
            owner=tag.get("owner", ""),
            parent=tag.get("fork.parent", ""),
            experiment=tag.get("experiment", ""),
            sys_id=tag.get("sys_id", ""),
            fork_step=float(tag["fork.step"]) if "fork.step" in tag else None,
        )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        limit = self.capabilities.tag_max_length
        return replace(
            shown(facts, limit),
            name=shown_name(facts.name),
            group_tags=parse_tags(_some(facts.group_tags, limit)),
            experiment=without_nul(cut(facts.experiment, limit)),
        )

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        found, said = self._one(key, mapping), str(verified).lower()
        if found.tags.get(_VERIFIED) != said:
            self._records.update(found, {**found.tags, _VERIFIED: said}, found.phase)

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes the experiment, its files first."""
        if found := self._find(key, mapping):
            self._records.delete(found)

    # --- finding --------------------------------------------------------------------------------

    def _find(self, key: RunKey, mapping: ProjectMapping) -> Experiment | None:
        """The experiment of a run.

        Raises:
            TargetRefusedError: somebody else has one of that name.
        """
        within = self._records.teamspace(teamspace_name(key.project, mapping))
        name = experiment_name(key, mapping)
        found = self._records.experiment(within, name) if within else None
        if found and _key_of(found.tags) != key:
            raise TargetRefusedError(
                f"target litlogger at {self.address}: the experiment {name} that run {key} would "
                "be is there already, and nothing says that it was loaded from Neptune",
                "Rename or delete it, or set MIGRATION_NAME_PREFIX to load under another name.",
            )
        return found

    def _one(self, key: RunKey, mapping: ProjectMapping) -> Experiment:
        if found := self._find(key, mapping):
            return found
        raise TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )

    def _target_run(self, experiment: Experiment) -> TargetRun:
        tag = {name.removeprefix(MARKS): value for name, value in experiment.tags.items()}
        complete = (
            tag.get("load_state") == _COMPLETE and tag.get("mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=tag.get("digest", ""),
            fingerprint=tag.get("fingerprint", ""),
            step_decimals=int(tag.get("step_decimals", 0)),
            step_multiplier=int(tag.get("step_multiplier", 1)),
            damaged=tag.get("damaged") == "true",
            verified=tag.get("verified") == "true",
            ids=(experiment.name,),
            parent=tag.get("fork.parent", ""),
            sys_id=tag.get("sys_id", ""),
            url=self._records.url(experiment),
        )


def _key_of(tags: Mapping[str, str]) -> RunKey | None:
    project, run = tags.get(f"{MARKS}project"), tags.get(f"{MARKS}run_id")
    kind = tags.get(f"{MARKS}kind", "run")
    if not project or run is None or kind not in KIND_PLURALS:
        return None
    try:
        return RunKey(project, _meant(run), kind)
    except ValueError:  # not as we write it
        return None


def _marks(scan: RunScan, mapping: ProjectMapping, kin: Kin) -> dict[str, str]:
    """What a run is and was loaded from; what is empty is left out."""
    key, content, limit = scan.key, scan.content, CAPABILITIES.tag_max_length
    facts = shown(scan.facts, limit)

    def time(ms: int | None) -> str:
        return "" if ms is None else to_text("datetime", ms)

    marks = {
        "load_state": _LOADING,
        "mapping_version": MAPPING_VERSION,
        "digest": content.digest,
        "fingerprint": content.fingerprint,
        "step_decimals": str(content.step_decimals),
        "step_multiplier": str(mapping.step_multiplier),
        "damaged": "true" if scan.run.damage else "",
        "loaded_by": f"migration_pipeline {__version__}",
        "project": key.project,
        "run_id": _said(key.run),
        "kind": key.kind,
        "sys_id": facts.sys_id,
        "owner": facts.owner,
        "experiment": cut(facts.experiment, limit),
        "description": facts.description,
        "tags": _some(facts.tags, limit),
        "group_tags": _some(facts.group_tags, limit),
        "start": time(facts.start),
        "end": time(facts.end),
        "fork.parent": facts.parent,
        "fork.step": "" if facts.fork_step is None else to_text("float", facts.fork_step),
        "fork.parent_experiment": kin.parent,
    }
    return {f"{MARKS}{name}": without_nul(value) for name, value in marks.items() if value}


def _some(tags: tuple[str, ...], limit: int | None) -> str:
    return without_nul(tags_text(list(tags), limit)) if tags else ""


def _said(run: str) -> str:
    """A run id as text that every database holds: what is not printable as JSON."""
    plain = run and run.isprintable() and run == run.strip() and not run.startswith('"')
    return run if plain else json.dumps(run)


def _meant(said: str) -> str:
    return str(json.loads(said)) if said.startswith('"') else said
