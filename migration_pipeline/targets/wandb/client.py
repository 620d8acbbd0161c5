"""W&B as a target: finds, loads, reads back and marks runs.

A run's id is made of project, kind, run and the number of the attempt, for W&B never gives an id
again whose run was deleted. What it is loaded from stands in its config from the beginning; state,
parameters and the rest of config are written in one last request. A run that was begun is gone on
with when it was begun with the same; otherwise it is deleted and sent under the next id.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator
from json import dumps
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.targets.remote.resume import ContradictionError, Held
from migration_pipeline.targets.target import (
    Kin,
    LoadReport,
    LoadState,
    Meter,
    TargetRun,
)
from migration_pipeline.targets.wandb.capabilities import CAPABILITIES, MARK
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline.targets.wandb.connection import BurntIdError
from migration_pipeline.targets.wandb.naming import attempt_of, project_name, run_key
from migration_pipeline.targets.wandb.offline import Offline
from migration_pipeline.targets.wandb.read_back import Reader
from migration_pipeline.targets.wandb.runs import (
    COMPLETE,
    Branch,
    First,
    FoundRun,
    Place,
    config_text,
    shown_facts,
)
from migration_pipeline.targets.wandb.sending import Sender, rows_up_to
from migration_pipeline.targets.wandb.server import Server

log = logging.getLogger(__name__)
_MOST_ATTEMPTS = 1000


class WandbTarget:
    """See `targets.target.Target`."""

    name = "wandb"

    def __init__(self, config: WandbConfig) -> None:
        self._config = config
        self._forks = config.forks == "native" and config.mode == "online"
        native: dict[str, Any] = {"forks": "native"} if self._forks else {}
        self.capabilities: Capabilities = CAPABILITIES.model_copy(update=native)
        self._place: Place = (
            Offline(config.directory, config.entity) if config.mode == "offline" else Server(config)
        )

    @property
    def address(self) -> str:
        return self._config.address

    def check(self) -> None:
        self._place.check()

    def has_store(self) -> bool:
        return True

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        found: dict[RunKey, list[FoundRun]] = {}
        for run in self._place.runs(project_name(project, mapping)):
            mark = run.mark
            key = RunKey(project, str(mark.get("run", "")), mark.get("kind", "run"))
            if run.is_of(key, mapping):
                found.setdefault(key, []).append(run)
        return {key: _target_run(sorted(runs, key=_first_counts)) for key, runs in found.items()}

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        return _target_run(self._find(key, mapping))

    def _find(self, key: RunKey, mapping: ProjectMapping) -> list[FoundRun]:
        """All attempts that are there, the complete ones first, then the oldest."""
        found = self._place.find(project_name(key.project, mapping), run_key(key, mapping))
        return sorted((run for run in found if run.is_of(key, mapping)), key=_first_counts)

    def _one(self, key: RunKey, mapping: ProjectMapping) -> FoundRun:
        for run in self._find(key, mapping):
            return run
        raise TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        first = First.of(scan, project_name(scan.key.project, mapping), mapping)
        there = self._find(scan.key, mapping)
        begun = self._begun(there, first, scan)
        for run in there:
            if run is not begun:
                self._place.delete(run)
        tried = max((attempt_of(first.key, run.name) for run in there), default=0)
        if begun is not None:
            try:
                # A fork shows its parent's files as its own.
                held = Held() if begun.branch else Held(files=self._place.files(begun))
                return self._send(begun, first, scan, kin, meter, held)
            except ContradictionError:
                self._place.delete(begun)
        branch = self._branch(first, kin.parent) if self._forks else None
        run = self._create(first, tried + 1, branch)
        return self._send(run, first, scan, kin, meter, Held())

    def _begun(self, there: list[FoundRun], first: First, scan: RunScan) -> FoundRun | None:
        """The attempt to go on with."""
        # What of a damaged run could be read may be another part of it now.
        if scan.run.damage:
            return None
        return next((run for run in there if first.is_same(run)), None)

    def _branch(self, first: First, parent: str) -> Branch | None:
        """Where the parent's rows end that a fork shares; None: that cannot be said in rows."""
        step = first.mark.get("fork_step")
        found = [run for run in self._place.find(first.project, parent) if run.name == parent]
        if step is None or not found or not found[0].mark.get("steps_grow"):
            return None
        shared = rows_up_to(self._place, found[0], step)
        last = found[0].first_row + shared - 1
        return Branch(parent, last) if last >= 0 else None

    def _create(self, first: First, attempt: int, branch: Branch | None) -> FoundRun:
        mark = {**first.mark, "first_row": branch.step + 1} if branch else first.mark
        config = config_text(first.key, mark, {}, branch=branch)
        for number in range(attempt, attempt + _MOST_ATTEMPTS):
            try:
                return self._place.create(first, number, config)
            except BurntIdError as error:
                reason = str(error)
            except TargetRefusedError as error:
                if branch is None or "fork" not in str(error):
                    raise
                log.warning("%s; %s is no fork there, its config says of what", error, first.name)
                return self._create(first, number, None)
        raise TargetRefusedError(
            f"W&B at {self.address} refuses {_MOST_ATTEMPTS} ids of run {first.name}: {reason}",
            "Set MIGRATION_NAME_PREFIX to load under other names.",
        )

    def _send(
        self,
        run: FoundRun,
        first: First,
        scan: RunScan,
        kin: Kin,
        meter: Meter | None,
        held: Held,
    ) -> LoadReport:
        with tempfile.TemporaryDirectory(prefix="migration-") as scratch:
            sender = Sender(self._place, run, scan, Path(scratch), meter, held)
            report = sender.send()
        self._place.finish(run, sender.summary(), scan.facts.failed)
        mark = {**first.mark, "state": COMPLETE, "steps_grow": sender.steps_grow}
        if run.first_row:
            mark |= {"first_row": run.first_row, "beside": sorted(sender.beside)}
        if kin.parent:
            mark["parent_run"] = kin.parent
        config = config_text(first.key, mark, sender.parameters, sender.series, run.branch)
        self._place.change(run, config)
        for child in kin.children:
            self._adopt(run, child)
        report.id, report.url = run.name, run.url
        return report

    def _adopt(self, parent: FoundRun, child: str) -> None:
        """Tells a run that was forked from one which was not there then."""
        for run in self._place.find(parent.project, child):
            if run.name == child:
                self._remark(run, parent_run=parent.name)

    def _remark(self, run: FoundRun, **said: object) -> None:
        config = {name: {"value": value} for name, value in run.config.items()}
        config[MARK] = {"value": {**run.mark, **said}}
        self._place.change(run, dumps(config, ensure_ascii=False))

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        run = self._one(key, mapping)
        yield from Reader(self._place, run, key, self.capabilities, into, attributes).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        return self._one(key, mapping).facts()

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        return shown_facts(facts)

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        self._remark(self._one(key, mapping), verified=verified)

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes every attempt; their ids are gone for ever, and the next load takes another."""
        for run in self._find(key, mapping):
            self._place.delete(run)


def _target_run(runs: list[FoundRun]) -> TargetRun:
    if not runs:
        return TargetRun(LoadState.ABSENT)
    return runs[0].target_run(tuple(run.name for run in runs))


def _first_counts(run: FoundRun) -> tuple[bool, int, str]:
    return (not run.complete, len(run.name), run.name)
