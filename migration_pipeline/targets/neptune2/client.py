"""A server of Neptune's 2.x protocol as a target: finds, loads, reads back and marks runs.

A run is found by its custom id, which is made of what it is called in the archive. What a load says
of it stands in attributes below `import` (`marks`). A run that is there already, begun or of other
content, is emptied and filled again: its place and its address stay what they were, and nothing
depends on whether a server gives the custom id of a deleted run to another one.
"""

from __future__ import annotations

import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.targets.neptune2 import marks
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.dialect import Server
from migration_pipeline.targets.neptune2.naming import ORIGINAL_RUN, custom_id
from migration_pipeline.targets.neptune2.read_back import Reader
from migration_pipeline.targets.neptune2.sending import Sender
from migration_pipeline.targets.neptune2.session import Session
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun

_SETS = ("sys/tags", "sys/group_tags")


class Neptune2Target(ABC):
    """See `targets.target.Target`; a subclass says which server it is, and where runs go there."""

    def __init__(self, server: Server, retry_seconds: float, capabilities: Capabilities) -> None:
        self.name = server.dialect.target
        self.capabilities = capabilities
        self._session = Session(server, retry_seconds)
        self._known: dict[tuple[str, RunKey], marks.Found] = {}
        """Runs that were seen; the server is asked again by their ids."""
        self._lock = threading.Lock()

    # --- what a subclass says -------------------------------------------------------------------

    @property
    @abstractmethod
    def address(self) -> str:
        """See `Target`."""

    @abstractmethod
    def check(self) -> None:
        """See `Target`."""

    @abstractmethod
    def _there(self, project: str, mapping: ProjectMapping) -> Api | None:
        """Where runs of an archived project are; None where that is no project yet.

        Raises:
            TargetRefusedError, TargetUnavailableError
        """

    @abstractmethod
    def _made(self, project: str, mapping: ProjectMapping) -> Api:
        """The same, made where it is not there yet."""

    def _check_elsewhere(self, scan: RunScan, api: Api) -> None:  # noqa: B027
        """Before a run is sent; where a target could be the source as well.

        Raises:
            TargetRefusedError: the run would go where it came from.
        """

    # --- the protocol ---------------------------------------------------------------------------

    def has_store(self) -> bool:
        return True

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        listed: dict[RunKey, TargetRun] = {}
        api = self._there(project, mapping)
        if api is None:
            return listed
        for found in api.runs():
            if not found.is_of(project, mapping):
                continue
            kind = found.text(marks.KIND) or "run"
            key = RunKey(project, found.text(ORIGINAL_RUN), kind)  # type: ignore[arg-type]
            if found.text("sys/custom_run_id") == custom_id(key, mapping):
                self._remember(key, mapping, found)
                listed[key] = found.target_run(self._url(api, found.sys_id))
        return listed

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        api = self._there(key.project, mapping)
        found = self._find(api, key, mapping) if api else None
        if api is None or found is None:
            return TargetRun(LoadState.ABSENT)
        return found.target_run(self._url(api, found.sys_id))

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        api = self._made(scan.key.project, mapping)
        self._check_elsewhere(scan, api)
        made = self._empty_run(api, scan.key, mapping)
        load = uuid4().hex
        first = [*marks.first_marks(scan, mapping, load), *marks.facts_shown(scan, kin)]
        api.execute(made.id, first)
        with tempfile.TemporaryDirectory(prefix="migration-") as scratch:
            report = Sender(api, made.id, scan, Path(scratch), meter).send()
        for child in kin.children:
            there = api.of_sys_id(child)
            api.execute(there, [marks.string(marks.PARENT_ID, made.sys_id)])
        self._check_not_begun_anew(api, made, scan.key, load)
        api.execute(made.id, marks.last_marks(scan, mapping))
        report.id, report.url = made.sys_id, self._url(api, made.sys_id)
        return report

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        api, run = self._one(key, mapping)
        yield from Reader(api, run.id, key, self.capabilities, into, attributes).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        api, run = self._one(key, mapping)
        return marks.facts_of(api.found(run.id))

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        return marks.shown_facts(facts)

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        api, run = self._one(key, mapping)
        api.execute(run.id, [marks.flag(marks.VERIFIED, verified)])

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes the run, not only into the trash."""
        api = self._there(key.project, mapping)
        if api and (found := self._find(api, key, mapping)):
            api.remove(found.sys_id)
        self._forget(key, mapping)

    # --- finding --------------------------------------------------------------------------------

    def _find(self, api: Api, key: RunKey, mapping: ProjectMapping) -> marks.Found | None:
        wanted = custom_id(key, mapping)
        known = self._known.get((mapping.name_prefix, key))
        query = f'`sys/custom_run_id`:string = "{wanted}"'
        for found in api.runs(query, known.sys_id if known else ""):
            if found.text("sys/custom_run_id") == wanted:
                self._remember(key, mapping, found)
                return found
        self._forget(key, mapping)
        return None

    def _one(self, key: RunKey, mapping: ProjectMapping) -> tuple[Api, marks.Found]:
        api = self._there(key.project, mapping)
        known = self._known.get((mapping.name_prefix, key))
        found = known or (self._find(api, key, mapping) if api else None)
        if api is None or found is None:
            raise TargetRefusedError(
                f"run {key} is not at {self.address}", "Load it first, then verify it."
            )
        return api, found

    def _remember(self, key: RunKey, mapping: ProjectMapping, found: marks.Found) -> None:
        with self._lock:
            self._known[mapping.name_prefix, key] = found

    def _forget(self, key: RunKey, mapping: ProjectMapping) -> None:
        with self._lock:
            self._known.pop((mapping.name_prefix, key), None)

    def _url(self, api: Api, sys_id: str) -> str:
        place = api.to.place
        return place.dialect.url(self._session.opened.pages, place.project, sys_id)

    # --- creating -------------------------------------------------------------------------------

    def _check_not_begun_anew(self, api: Api, run: marks.Found, key: RunKey, load: str) -> None:
        """
        Raises:
            TargetRefusedError: another load has emptied the run since this one began.
        """
        if api.found(run.id).text(marks.BEGUN_BY) != load:
            raise TargetRefusedError(
                f"run {key} at {api.to.address} was begun anew while it was loaded: another "
                "process loads the same",
                "Let one process load a project at a time, and load again; what is complete is "
                "not sent again.",
            )

    def _empty_run(self, api: Api, key: RunKey, mapping: ProjectMapping) -> marks.Found:
        """The run of this identity, new or emptied of all that a load has put there."""
        wanted = custom_id(key, mapping)
        made = api.create(wanted)
        if made.get("trashed"):
            # It holds the custom id; out of the trash it could only be taken by hand.
            api.remove(made["shortId"])
            made = api.create(wanted)
            if made.get("trashed"):
                raise TargetRefusedError(
                    f"run {key} is in the trash at {api.to.address} as {made['shortId']}",
                    "Restore it there, or delete it for good; then load again.",
                )
        found = marks.Found(made["id"], {"sys/id": made["shortId"]})
        self._remember(key, mapping, found)
        there = api.attributes(found.id)
        held = [path for path in there if not path.startswith("sys/")]
        if held:
            # The mark first: from here on the run is one that was begun.
            marking = [] if marks.LOAD not in held else [marks.string(marks.LOAD, marks.LOADING)]
            old = [marks.delete(path) for path in held if path != marks.LOAD]
            # What is the server's own is emptied; whether it may be deleted is not known. A load
            # always says the name and the status.
            sets = [marks.clear_set(path) for path in _SETS]
            if "sys/description" in there:
                sets.append(marks.string("sys/description", ""))
            api.execute(found.id, [*marking, *sets, *old])
        return found
