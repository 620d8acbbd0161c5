"""MLflow as a target: finds, loads, reads back and marks runs.

A run is found by the tag `neptune.run_key` among the experiments of its project. Its state is the
tag `neptune.load_state`, which becomes `complete` as the very last write; a run that was begun and
not finished is deleted (MLflow keeps it in its trash) and sent anew.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_PLURALS, RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import shown, tags_text, to_text, without_nul
from migration_pipeline.targets.mlflow.capabilities import (
    CAPABILITIES,
    EXPERIMENT_NAME_MAX_LENGTH,
    RUN_NAME_MAX_LENGTH,
    SEARCH_PAGE,
)
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.read_back import read_back
from migration_pipeline.targets.mlflow.sending import Sender, plan_names, scratch
from migration_pipeline.targets.target import (
    Kin,
    LoadReport,
    LoadState,
    Meter,
    TargetRun,
)

MAPPING_VERSION = "1"
"""Raised when runs that were loaded before should be loaded again."""
RUN_KEY, LOAD_STATE, VERIFIED = "neptune.run_key", "neptune.load_state", "neptune.verified"
PARENT = "mlflow.parentRunId"
GRADE, _DAMAGED = "neptune.grade", "damaged"
_COMPLETE = "complete"


class MlflowTarget:
    """See `targets.target.Target`."""

    name = "mlflow"

    def __init__(self, config: MlflowConfig) -> None:
        self._to = Connection(config)
        self._experiments: dict[str, str] = {}
        self._of_project: dict[tuple[str, str], list[str]] = {}
        self._ids: dict[tuple[str, RunKey], str] = {}
        self._lock = threading.Lock()
        # SQLite has one writer at a time; further ones only wait for it and may give up.
        parallel = 1 if self._to.one_writer else CAPABILITIES.parallel_runs
        self.capabilities: Capabilities = CAPABILITIES.model_copy(
            update={"parallel_runs": parallel}
        )

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
        found: dict[RunKey, list[Any]] = {}
        self._of_project.pop((mapping.name_prefix, project), None)
        for run in self._search(project, mapping, ""):
            tags = run.data.tags
            if tags.get("neptune.project") == project and "neptune.run_id" in tags:
                kind = tags.get("neptune.kind", "run")
                found.setdefault(RunKey(project, tags["neptune.run_id"], kind), []).append(run)
        return {key: self._target_run(runs) for key, runs in found.items()}

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        return self._target_run(self._find(key, mapping))

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key = scan.key
        names = plan_names(scan)
        self.discard(key, mapping)
        experiment = self._experiment(experiment_name(key, scan.facts, mapping))
        self._of_project.pop((mapping.name_prefix, key.project), None)
        with self._to.calls("creating a run"):
            run = self._to.client.create_run(
                experiment,
                # A falsy time would be replaced by the present one.
                start_time=max(scan.facts.start or 1, 1),
                tags=self._first_tags(scan, kin),
                run_name=_within(without_nul(key.run), RUN_NAME_MAX_LENGTH),
            )
        run_id = run.info.run_id
        with scratch() as directory:
            sender = Sender(self._to, scan, names, run_id, directory, meter)
            report = sender.send()
        self._finish(scan, mapping, run_id)
        self._ids[mapping.name_prefix, key] = run_id
        for child in kin.children:
            with self._to.calls("naming the parent of a fork"):
                self._to.client.set_tag(child, PARENT, run_id)
        report.url = self._url(run.info)
        report.id = run_id
        return report

    def _finish(self, scan: RunScan, mapping: ProjectMapping, run_id: str) -> None:
        facts, content = scan.facts, scan.content
        tags = {
            "neptune.digest": content.digest,
            "neptune.fingerprint": content.fingerprint,
            "neptune.step_decimals": str(content.step_decimals),
            "neptune.step_multiplier": str(mapping.step_multiplier),
            "neptune.mapping_version": MAPPING_VERSION,
            "neptune.loaded_by": f"migration_pipeline {__version__}",
        }
        client, tag = self._to.client, self._to.entities.RunTag
        with self._to.calls("finishing a run"):
            client.log_batch(run_id, tags=[tag(k, v) for k, v in tags.items()])
            end = max(facts.end or facts.start or 1, 1)
            client.set_terminated(run_id, "FAILED" if facts.failed else "FINISHED", end)
            for other in self._find(scan.key, mapping):
                # A retried request may have created the run twice.
                unfinished = other.data.tags.get(LOAD_STATE) != _COMPLETE
                if other.info.run_id != run_id and unfinished:
                    client.delete_run(other.info.run_id)
            client.set_tag(run_id, LOAD_STATE, _COMPLETE)

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        with self._to.calls("reading a run"):
            yield from read_back(self._to, self._one(key, mapping), key, into, attributes)

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
            name=_within(without_nul(facts.name), RUN_NAME_MAX_LENGTH),
        )

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        run_id = self._ids.get((mapping.name_prefix, key)) or self._one(key, mapping).info.run_id
        with self._to.calls("noting the verdict"):
            self._to.client.set_tag(run_id, VERIFIED, str(verified).lower())

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes every run of this identity; MLflow keeps them in its trash until `mlflow gc`."""
        self._of_project.pop((mapping.name_prefix, key.project), None)
        self._ids.pop((mapping.name_prefix, key), None)
        for run in self._find(key, mapping):
            with self._to.calls("deleting a run"):
                self._to.client.delete_run(run.info.run_id)

    # --- finding ----------------------------------------------------------------------------

    def _one(self, key: RunKey, mapping: ProjectMapping) -> Any:
        """The run that counts, as it is now; found once, then asked for by its id."""
        if run_id := self._ids.get((mapping.name_prefix, key)):
            with self._to.calls("reading a run"):
                run = self._to.client.get_run(run_id)
            if run.info.lifecycle_stage == "active":
                return run
        found = self._find(key, mapping)
        if not found:
            raise TargetRefusedError(
                f"run {key} is not at {self.address}", "Load it first, then verify it."
            )
        return found[0]

    def _find(self, key: RunKey, mapping: ProjectMapping) -> list[Any]:
        """All runs of this identity, the complete ones first, then the oldest."""
        found = [
            run
            for run in self._search(
                key.project, mapping, f"tags.`{RUN_KEY}` LIKE '{_pattern(identity(key))}'"
            )
            if run.data.tags.get(RUN_KEY) == identity(key)
            and run.data.tags.get("neptune.kind", "run") == key.kind
        ]
        found.sort(key=_first_counts)
        if found:
            self._ids[mapping.name_prefix, key] = found[0].info.run_id
        return found

    def _search(self, project: str, mapping: ProjectMapping, filter_string: str) -> Iterator[Any]:
        experiments = self._experiments_of(project, mapping)
        token = None
        while experiments:
            with self._to.calls("searching runs"):
                page = self._to.client.search_runs(
                    experiments, filter_string, max_results=SEARCH_PAGE, page_token=token
                )
            yield from page
            if not (token := page.token):
                return

    def _experiments_of(self, project: str, mapping: ProjectMapping) -> list[str]:
        """Ids of the experiments of a project; asked for once until one is made, or all of the
        project is listed."""
        name = project_name(project, mapping)
        known = self._of_project.get((mapping.name_prefix, project))
        if known is not None:
            return known
        found, token = [], None
        while True:
            with self._to.calls("searching experiments"):
                page = self._to.client.search_experiments(
                    filter_string=f"name LIKE '{_pattern(name[:200])}%'", page_token=token
                )
            found += [
                e.experiment_id
                for e in page
                if e.name == name
                or e.name.startswith(f"{name}/")
                or e.tags.get("neptune.project") == project
            ]
            if not (token := page.token):
                self._of_project[mapping.name_prefix, project] = found
                return found

    def _target_run(self, runs: list[Any]) -> TargetRun:
        if not runs:
            return TargetRun(LoadState.ABSENT)
        runs = sorted(runs, key=_first_counts)
        tags = runs[0].data.tags
        complete = (
            tags.get(LOAD_STATE) == _COMPLETE
            and tags.get("neptune.mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=tags.get("neptune.digest", ""),
            fingerprint=tags.get("neptune.fingerprint", ""),
            step_decimals=int(tags.get("neptune.step_decimals", 0)),
            step_multiplier=int(tags.get("neptune.step_multiplier", 1)),
            damaged=tags.get(GRADE) == _DAMAGED,
            verified=tags.get(VERIFIED) == "true",
            ids=tuple(run.info.run_id for run in runs),
            parent=tags.get("neptune.fork.parent", ""),
            sys_id=tags.get("neptune.sys_id", ""),
            url=self._url(runs[0].info),
        )

    def _url(self, info: Any) -> str:
        if not self._to.over_http:
            return ""
        return f"{self.address}/#/experiments/{info.experiment_id}/runs/{info.run_id}"

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

    def _first_tags(self, scan: RunScan, kin: Kin) -> dict[str, str]:
        key, limit = scan.key, self.capabilities.tag_max_length
        facts = shown(scan.facts, limit)
        tags = {
            RUN_KEY: identity(key),
            LOAD_STATE: "loading",
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
            GRADE: _DAMAGED if scan.run.damage else "",
            "mlflow.note.content": facts.description,
            "mlflow.user": facts.owner,
        }
        return {name: without_nul(value) for name, value in tags.items() if value}


def _list(tags: Collection[str], limit: int | None) -> str:
    return tags_text(list(tags), limit) if tags else ""


def project_name(project: str, mapping: ProjectMapping) -> str:
    """How the names of all experiments of a project begin."""
    return f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project


def experiment_name(key: RunKey, facts: RunFacts, mapping: ProjectMapping) -> str:
    """`<prefix>/<project>/<sys/name>`, as neptune-exporter names it; without a name the project.

    Models, model versions and a project's metadata are runs of their own, in an experiment a kind.
    """
    name = project_name(key.project, mapping)
    group = facts.experiment if key.kind == "run" else KIND_PLURALS[key.kind]
    if group:
        name = f"{name}/{without_nul(group)}"
    return _within(name, EXPERIMENT_NAME_MAX_LENGTH)


def identity(key: RunKey) -> str:
    """The value of `neptune.run_key`: `workspace/project|run id`, or `…|%model|id`.

    `neptune.kind` tells a run from a model if its id should begin with that.
    """
    mark = "" if key.kind == "run" else f"%{key.kind}|"
    text = without_nul(f"{key.project}|{mark}{key.run}")
    return _within(text, CAPABILITIES.tag_max_length or len(text))


def _within(name: str, limit: int) -> str:
    """A name cut to a length, with a digest of the whole, so that two never become one."""
    return name if len(name) <= limit else f"{name[: limit - 17]}-{layout.digest(name)}"


def artifact_folder(experiment: str) -> str:
    """The folder of an experiment's files: short, because MLflow keeps no address beyond 200."""
    return f"{layout.clean(experiment)[:40]}-{layout.digest(experiment)}"


def _pattern(text: str) -> str:
    """A LIKE pattern that matches the text, and perhaps others: what a filter cannot quote or
    escape is a wildcard. The caller compares exactly."""
    return re.sub(r"[^A-Za-z0-9 ./|:-]", "_", text)


def _first_counts(run: Any) -> tuple[bool, int, str]:
    complete = run.data.tags.get(LOAD_STATE) == _COMPLETE
    return (not complete, run.info.start_time or 0, run.info.run_id)
