"""MLflow as a target: finds, loads, reads back and marks runs.

A run is found by the tag `neptune.run_key` among the experiments of its project. Its state is the
tag `neptune.load_state`, which becomes `complete` as the very last write. What a run is loaded from
stands in its tags from the beginning: a run that was begun and not finished is gone on with when
that is the same still, and otherwise deleted (MLflow keeps it in its trash) and sent anew.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import shown, tags_text, to_text, without_nul
from migration_pipeline.targets.mlflow.capabilities import CAPABILITIES, IN_A_DATABASE
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.finding import (
    COMPLETE,
    DAMAGED,
    GRADE,
    LOAD_STATE,
    MAPPING_VERSION,
    RUN_KEY,
    VERIFIED,
    Finder,
    found_run,
)
from migration_pipeline.targets.mlflow.metrics import FoundRun
from migration_pipeline.targets.mlflow.models import Registry
from migration_pipeline.targets.mlflow.naming import (
    artifact_folder,
    experiment_name,
    identity,
    run_name,
)
from migration_pipeline.targets.mlflow.read_back import Reader
from migration_pipeline.targets.mlflow.resume import held_of
from migration_pipeline.targets.mlflow.sending import Sender, scratch
from migration_pipeline.targets.remote.resume import ContradictionError, Held
from migration_pipeline.targets.target import Kin, LoadReport, Meter, TargetRun

PARENT = "mlflow.parentRunId"


class MlflowTarget:
    """See `targets.target.Target`."""

    name = "mlflow"

    def __init__(self, config: MlflowConfig) -> None:
        self._to = Connection(config)
        self._finder = Finder(self._to)
        self._registry = Registry(self._to)
        self._experiments: dict[str, str] = {}
        self._ids: dict[tuple[str, RunKey], str] = {}
        self._lock = threading.Lock()
        # SQLite has one writer at a time; further ones only wait for it and may give up.
        different: dict[str, Any] = {"parallel_runs": 1} if self._to.one_writer else {}
        if not self._to.over_http:
            different |= IN_A_DATABASE
        self.capabilities: Capabilities = CAPABILITIES.model_copy(update=different)

    @property
    def address(self) -> str:
        return self._to.address

    def check(self) -> None:
        with self._to.calls("looking whether it is there"):
            assert self._to.client is not None  # opens it, which probes it as well
            self._to.probe()

    def has_store(self) -> bool:
        return self._to.has_tables()

    def runs(self, project: str, mapping: ProjectMapping) -> dict[RunKey, TargetRun]:
        found = self._finder.all(project, mapping)
        return {key: self._finder.target_run(runs) for key, runs in found.items()}

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        return self._finder.target_run(self._find(key, mapping))

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        try:
            return self._load(scan, mapping, kin, meter, begun=self._begun(scan, mapping, kin))
        except ContradictionError:
            self.discard(scan.key, mapping)
            return self._load(scan, mapping, kin, meter, begun=None)

    def _begun(self, scan: RunScan, mapping: ProjectMapping, kin: Kin) -> FoundRun | None:
        """The unfinished run to go on with; all others of this identity are deleted.

        Raises:
            TargetRefusedError, TargetUnavailableError
        """
        wanted = self._first_tags(scan, mapping, kin)
        wanted.pop(PARENT, None)
        begun: FoundRun | None = None
        self._finder.forget(scan.key.project, mapping)
        for run in self._find(scan.key, mapping):
            same = all(run.tags.get(name) == value for name, value in wanted.items())
            # What of a damaged run could be read may be another part of it now.
            if begun is None and same and not scan.run.damage and GRADE not in run.tags:
                begun = run
            else:
                self._delete(scan.key, run.id)
        return begun

    def _load(
        self,
        scan: RunScan,
        mapping: ProjectMapping,
        kin: Kin,
        meter: Meter | None,
        begun: FoundRun | None,
    ) -> LoadReport:
        key = scan.key
        if begun is None:
            run, held = self._create(scan, mapping, kin), Held()
        else:
            run = begun
            with self._to.calls("reading what is there of a run"):
                held = held_of(self._to, run.id)
                if kin.parent and run.tags.get(PARENT) != kin.parent:
                    self._to.client.set_tag(run.id, PARENT, kin.parent)
        with scratch() as directory:
            sender = Sender(self._to, scan, run.id, run.artifacts, directory, meter, held)
            report = sender.send()
        self._registry.register(key, scan.facts, mapping, run.id, run.artifacts, sender.said)
        self._finish(scan, mapping, run.id)
        self._ids[mapping.name_prefix, key] = run.id
        for child in kin.children:
            with self._to.calls("naming the parent of a fork"):
                self._to.client.set_tag(child, PARENT, run.id)
        report.url = self._finder.url(run.experiment, run.id)
        report.id = run.id
        return report

    def _create(self, scan: RunScan, mapping: ProjectMapping, kin: Kin) -> FoundRun:
        key = scan.key
        experiment = self._experiment(experiment_name(key, scan.facts, mapping))
        self._finder.forget(key.project, mapping)
        with self._to.calls("creating a run"):
            run = self._to.client.create_run(
                experiment,
                # A falsy time would be replaced by the present one.
                start_time=max(scan.facts.start or 1, 1),
                tags=self._first_tags(scan, mapping, kin),
                run_name=run_name(key.run),
            )
        return found_run(run)

    def _finish(self, scan: RunScan, mapping: ProjectMapping, run_id: str) -> None:
        facts, client = scan.facts, self._to.client
        with self._to.calls("finishing a run"):
            end = max(facts.end or facts.start or 1, 1)
            client.set_terminated(run_id, "FAILED" if facts.failed else "FINISHED", end)
            for other in self._find(scan.key, mapping):
                # A retried request may have created the run twice.
                if other.id != run_id and other.tags.get(LOAD_STATE) != COMPLETE:
                    self._delete(scan.key, other.id)
            client.set_tag(run_id, LOAD_STATE, COMPLETE)

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        with self._to.calls("reading a run"):
            run = self._one(key, mapping)
            yield from Reader(self._to, run, key, self.capabilities, into, attributes).batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        run = self._one(key, mapping)
        tags = run.data.tags
        return RunFacts(
            name=run.info.run_name,
            start=run.info.start_time,
            end=run.info.end_time,
            failed=run.info.status == "FAILED",
            tags=parse_tags(tags.get("neptune.tags", "")),
            group_tags=parse_tags(tags.get("neptune.group_tags", "")),
            description=tags.get("mlflow.note.content", ""),
            owner=tags.get("mlflow.user", ""),
            parent=tags.get("neptune.fork.parent", ""),
            experiment=tags.get("neptune.experiment", ""),
            sys_id=tags.get("neptune.sys_id", ""),
            fork_step=float(tags["neptune.fork.step"]) if "neptune.fork.step" in tags else None,
        )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        held = shown(facts, self.capabilities.tag_max_length)
        return replace(
            held,
            start=max(facts.start or 1, 1),
            end=max(facts.end or facts.start or 1, 1),
            name=run_name(facts.name),
        )

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        run_id = self._ids.get((mapping.name_prefix, key)) or self._one(key, mapping).info.run_id
        with self._to.calls("noting the verdict"):
            self._to.client.set_tag(run_id, VERIFIED, str(verified).lower())

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes every run of this identity; MLflow keeps them in its trash until `mlflow gc`."""
        self._finder.forget(key.project, mapping)
        for run in self._find(key, mapping):
            self._delete(key, run.id)
        self._ids.pop((mapping.name_prefix, key), None)

    def _delete(self, key: RunKey, run_id: str) -> None:
        """The run last: while it is there, what hangs on it can be found."""
        with self._to.calls("deleting a run"):
            self._registry.discard(key, run_id)
            self._to.client.delete_run(run_id)

    # --- finding ----------------------------------------------------------------------------

    def _one(self, key: RunKey, mapping: ProjectMapping) -> Any:
        """The run that counts, as it is now; found once, then asked for by its id."""
        for _ in range(2):
            if run_id := self._ids.get((mapping.name_prefix, key)):
                with self._to.calls("reading a run"):
                    run = self._to.client.get_run(run_id)
                if run.info.lifecycle_stage == "active":
                    return run
            if not self._find(key, mapping):
                break
        raise TargetRefusedError(
            f"run {key} is not at {self.address}", "Load it first, then verify it."
        )

    def _find(self, key: RunKey, mapping: ProjectMapping) -> list[FoundRun]:
        found = self._finder.one(key, mapping)
        if found:
            self._ids[mapping.name_prefix, key] = found[0].id
        return found

    # --- creating ---------------------------------------------------------------------------

    def _experiment(self, name: str) -> str:
        """The id of an experiment, made when it is not there."""
        with self._lock:
            if name not in self._experiments:
                self._experiments[name] = self._get_or_create(name)
            return self._experiments[name]

    def _get_or_create(self, name: str) -> str:
        client = self._to.client
        location = self._to.artifact_location(artifact_folder(name))
        with self._to.calls("creating an experiment"):
            found = client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(client.create_experiment(name, artifact_location=location))
                except Exception:
                    # Another process may have been faster.
                    if (found := client.get_experiment_by_name(name)) is None:
                        raise
            if found.lifecycle_stage != "active":
                raise TargetRefusedError(
                    f"experiment {name!r} at {self.address} was deleted, so its name is taken",
                    f"Restore it (`mlflow experiments restore -x {found.experiment_id}`), or set "
                    "MIGRATION_NAME_PREFIX to load under another name.",
                )
            return str(found.experiment_id)

    def _first_tags(self, scan: RunScan, mapping: ProjectMapping, kin: Kin) -> dict[str, str]:
        key, limit = scan.key, self.capabilities.tag_max_length
        facts, content = shown(scan.facts, limit), scan.content
        tags = {
            RUN_KEY: identity(key),
            LOAD_STATE: "loading",
            "neptune.digest": content.digest,
            "neptune.fingerprint": content.fingerprint,
            "neptune.step_decimals": str(content.step_decimals),
            "neptune.step_multiplier": str(mapping.step_multiplier),
            "neptune.mapping_version": MAPPING_VERSION,
            "neptune.loaded_by": f"migration_pipeline {__version__}",
            "neptune.project": key.project,
            "neptune.run_id": key.run,
            "neptune.kind": key.kind,
            "neptune.sys_id": facts.sys_id,
            "neptune.experiment": facts.experiment,
            "neptune.tags": _list(facts.tags, limit),
            "neptune.group_tags": _list(facts.group_tags, limit),
            "neptune.fork.parent": facts.parent,
            "neptune.fork.step": (
                "" if facts.fork_step is None else to_text("float", facts.fork_step)
            ),
            PARENT: kin.parent,
            GRADE: DAMAGED if scan.run.damage else "",
            "mlflow.note.content": facts.description,
            "mlflow.user": facts.owner,
        }
        return {name: without_nul(value) for name, value in tags.items() if value}


def _list(tags: Collection[str], limit: int | None) -> str:
    return tags_text(list(tags), limit) if tags else ""
