"""Pluto as a target: finds, loads, reads back and marks runs.

A run is created by an external id of our choosing, at most once; its state is `neptune` in its
configuration, whose `state` becomes `complete` as the last write of weight. An API key can delete
nothing: a run that was begun with other content, and one that is discarded, is marked so, cancelled
and passed over, and the next attempt has another external id.

A run's status is final from its beginning: Pluto fails a running run whose newest point is old.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import float_to_micros
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.steps import fits, scale
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.pluto.capabilities import CAPABILITIES
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline.targets.pluto.connection import Connection
from migration_pipeline.targets.pluto.finding import (
    COMPLETE,
    DISCARDED,
    MARKS,
    TEXTS_BEGUN,
    Finder,
    FoundRun,
    as_text,
    found_run,
    target_run,
    wanted_marks,
)
from migration_pipeline.targets.pluto.naming import DISCARDED as DISCARDED_TAG
from migration_pipeline.targets.pluto.naming import (
    IMPORTED,
    external_id,
    run_name,
    run_tag,
    tags_of,
)
from migration_pipeline.targets.pluto.read_back import PlutoReader
from migration_pipeline.targets.pluto.sending import PlutoSender
from migration_pipeline.targets.target import Kin, LoadReport, Meter, TargetRun

_LAST_MS = 253_402_300_799_000
"""The end of the year 9999: later dates have another form in JSON."""
_STEPS = 10**12
"""Beyond all steps of an archive."""
_HEALED = 3
"""As often as Pluto's own loader heals a status (pluto/migrate/loader.py)."""


class PlutoTarget:
    """See `targets.target.Target`."""

    name = "pluto"

    def __init__(self, config: PlutoConfig) -> None:
        self._config = config
        self._to = Connection(config)
        self._finder = Finder(self._to, config.project_name)
        self._known: dict[tuple[ProjectMapping, RunKey], FoundRun] = {}
        """Runs that count, as they were found last: a listing answers with whole configurations."""
        self.capabilities: Capabilities = CAPABILITIES.model_copy(update=config.differences)

    @property
    def address(self) -> str:
        return self._to.address

    def check(self) -> None:
        self._to.check()

    def has_store(self) -> bool:
        """Projects are made with their first run; to ask for one makes none."""
        return True

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        found = self._finder.all(project, mapping)
        most = self.capabilities.files_per_run
        return {key: target_run(runs, most) for key, runs in found.items()}

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        found = self._finder.one(key, mapping)
        self._known.pop((mapping, key), None)
        if found and not found[0].discarded:
            self._known[mapping, key] = found[0]
        return target_run(found, self.capabilities.files_per_run)

    # --- loading --------------------------------------------------------------------------------

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        wanted = wanted_marks(scan, mapping, self._config.log_every)
        run, going_on = self._begin(scan, mapping, kin, wanted)
        self._finish(run, scan.facts)
        with tempfile.TemporaryDirectory(prefix="migration-") as folder:
            sender = PlutoSender(self._to, self._config, scan, run, Path(folder), meter, going_on)
            report = sender.send()
        self._confirm(run, scan.facts)
        self._mark(run, {"state": COMPLETE, "verified": False})
        self._known[mapping, scan.key] = run
        report.id, report.url = str(run.id), run.url
        return report

    def _begin(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, wanted: dict[str, Any]
    ) -> tuple[FoundRun, bool]:
        """The run to load into, and whether an earlier load has begun it; all others of this
        identity are discarded."""
        begun: FoundRun | None = None
        attempt = 1
        for run in self._finder.one(scan.key, mapping):
            attempt = max(attempt, run.attempt + 1)
            if begun is None and _can_go_on(run, wanted, finished=True):
                begun = run
            elif not run.discarded:
                self._discard(scan.key, run)
        going_on = begun is not None
        while begun is None:
            run, going_on = self._create(scan, mapping, kin, attempt)
            if not going_on or _can_go_on(run, wanted):
                begun = run
            else:
                self._discard(scan.key, run)
                attempt += 1
        if not begun.marks:
            marks = {**wanted, "attempt": attempt, "state": "partial"}
            self._mark(begun, marks)
            begun = replace(begun, marks=marks)
        return begun, going_on

    def _create(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, attempt: int
    ) -> tuple[FoundRun, bool]:
        """A new run, or one that had this external id already, and whether it is that."""
        project = self._finder.project(scan.key.project, mapping)
        said: dict[str, Any] = {
            "runName": run_name(scan.facts),
            "projectName": project,
            "externalId": external_id(scan.key, attempt),
            "tags": tags_of(scan.key, scan.facts),
            "createdAt": _start(scan.facts),
            "updatedAt": _end(scan.facts),
        }
        fork = _fork(scan, mapping, kin)
        try:
            answer = self._to.post("/api/runs/create", "creating a run", said | fork)
        except TargetRefusedError:
            if not fork:
                raise
            # A step that the parent does not have, or a parent that is gone: then it is only named.
            answer = self._to.post("/api/runs/create", "creating a run", said)
        run_id = int(answer["runId"])
        if answer.get("resumed"):
            return found_run(self._details(run_id, project), project), True
        return FoundRun(run_id, project, "RUNNING", str(answer.get("url", "")), (), {}), False

    def _finish(self, run: FoundRun, facts: RunFacts) -> None:
        status = _status(facts)
        said = {"runId": run.id, "status": status, "statusUpdated": _end(facts)}
        self._to.post("/api/runs/status/update", "setting the status", said)

    def _confirm(self, run: FoundRun, facts: RunFacts) -> None:
        """Pluto takes a status without a word and may not keep it: one that the monitor of stale
        runs has set before ranks higher. Opened again, the run takes it.

        Raises:
            TargetRefusedError: it does not, three times; or the run was discarded meanwhile.
        """
        status = ""
        for _ in range(_HEALED):
            details = self._details(run.id, run.project)
            if found_run(details, run.project).discarded:
                raise TargetRefusedError(
                    f"run {run.id} at {self.address} was discarded while it was loaded: another "
                    "process loads the same, or has",
                    "Let one process load a project at a time. Load again; what is complete is "
                    "not sent again.",
                )
            status = str(details.get("status"))
            if status == _status(facts) and _ms(details.get("statusUpdated")) == _end(facts):
                return
            self._to.post("/api/runs/resume", "opening a run again", {"runId": run.id})
            self._finish(run, facts)
        raise TargetRefusedError(
            f"target pluto at {self.address} shows run {run.id} as {status}, though it was told "
            f"{_status(facts)}",
            "Look whether somebody else changes it, and load again.",
        )

    def _mark(self, run: FoundRun, marks: dict[str, Any]) -> None:
        said = {"runId": run.id, "config": as_text({MARKS: marks})}
        self._to.post("/api/runs/config/update", "marking a run", said)

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        self._mark(self._one(key, mapping), {"verified": verified})

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Marks every run of this identity as discarded: an API key can delete none."""
        self._known.pop((mapping, key), None)
        for run in self._finder.one(key, mapping):
            if not run.discarded:
                self._discard(key, run)

    def _discard(self, key: RunKey, run: FoundRun) -> None:
        """The mark first, by which it is passed over; the rest is for people."""
        identity = {"project": key.project, "run": key.run, "kind": key.kind}
        self._mark(run, {**identity, "state": DISCARDED})
        tags = [IMPORTED, DISCARDED_TAG, run_tag(key)]
        self._to.post("/api/runs/tags/update", "tagging a run", {"runId": run.id, "tags": tags})
        self._to.post("/api/runs/resume", "opening a run again", {"runId": run.id})
        said = {"runId": run.id, "status": "CANCELLED"}
        self._to.post("/api/runs/status/update", "setting the status", said)

    # --- reading --------------------------------------------------------------------------------

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        run, details = self._shown(key, mapping)
        reader = PlutoReader(self._to, run, details, key, self.capabilities, into, attributes)
        yield from reader.batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        run, details = self._shown(key, mapping)
        kept = (found_run(details, run.project).marks.get("facts")) or {}
        fork_step = kept.get("fork_step")
        found = RunFacts(
            name=str(details["name"]),
            start=_ms(details.get("createdAt")),
            end=_ms(details.get("statusUpdated")),
            failed=details.get("status") == "FAILED",
            tags=tuple(kept.get("tags", ())),
            group_tags=tuple(kept.get("group_tags", ())),
            description=kept.get("description", ""),
            owner=kept.get("owner", ""),
            parent=kept.get("parent", ""),
            experiment=kept.get("experiment", ""),
            sys_id=kept.get("sys_id", ""),
            fork_step=None if fork_step is None else float(fork_step),
        )
        shown = set(details.get("tags") or ())
        if set(tags_of(key, found)) <= shown:
            return found
        return replace(found, tags=tuple(tag for tag in found.tags if tag in shown))

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        return replace(
            facts,
            name=run_name(facts),
            start=_start(facts),
            end=_end(facts),
            tags=tuple(map(without_nul, facts.tags)),
            group_tags=tuple(map(without_nul, facts.group_tags)),
            description=without_nul(facts.description),
            owner=without_nul(facts.owner),
            parent=without_nul(facts.parent),
            experiment=without_nul(facts.experiment),
            sys_id=without_nul(facts.sys_id),
        )

    def _details(self, run_id: int, project: str) -> dict[str, Any]:
        path = f"/api/runs/details/{run_id}"
        return self._to.get(path, "reading a run", projectName=project)

    def _shown(self, key: RunKey, mapping: ProjectMapping) -> tuple[FoundRun, dict[str, Any]]:
        """The run that counts, and what Pluto says of it now."""
        while True:
            run = self._one(key, mapping)
            details = self._details(run.id, run.project)
            if not found_run(details, run.project).discarded:
                return run, details
            self._known.pop((mapping, key))  # another process has begun it anew

    def _one(self, key: RunKey, mapping: ProjectMapping) -> FoundRun:
        if (mapping, key) not in self._known:
            self.find(key, mapping)
        if run := self._known.get((mapping, key)):
            return run
        raise TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )


def _can_go_on(run: FoundRun, wanted: dict[str, Any], finished: bool = False) -> bool:
    """It was begun with the same, and it is known what of it is there.

    What of a damaged run could be read may be another part of it now; text and histograms that may
    have arrived must not come twice.

    Args:
        finished: one that is complete will do; another process has finished it since it was looked
            for, or the listing has passed it over.
    """
    if run.discarded or wanted["damaged"]:
        return False
    same = all(run.marks.get(name) == value for name, value in wanted.items())
    states = ("partial", COMPLETE) if finished else ("partial",)
    begun = same and run.marks.get("state") in states and run.marks.get("texts") != TEXTS_BEGUN
    return not run.marks or begun


def _fork(scan: RunScan, mapping: ProjectMapping, kin: Kin) -> dict[str, Any]:
    """A fork as Pluto has it, where the step is a whole one; the configuration is the run's own."""
    step, multiplier = scan.facts.fork_step, mapping.step_multiplier
    if not kin.parent or step is None or not 0 <= step < _STEPS:
        return {}
    micros = float_to_micros(np.array([step]))
    whole, rounded = scale(micros, multiplier)
    if not fits(int(micros[0]), multiplier) or rounded[0]:
        return {}
    at = int(whole[0])
    return {"forkRunId": int(kin.parent), "forkStep": at, "inheritConfig": False}


def _status(facts: RunFacts) -> str:
    return "FAILED" if facts.failed else "COMPLETED"


def _start(facts: RunFacts) -> int:
    """A time of 0 is taken for none there."""
    return min(max(facts.start or 1, 1), _LAST_MS)


def _end(facts: RunFacts) -> int:
    return min(max(facts.end or facts.start or 1, 1), _LAST_MS)


def _ms(text: Any) -> int | None:
    """Milliseconds of an ISO 8601 time."""
    if not isinstance(text, str):
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    return None
