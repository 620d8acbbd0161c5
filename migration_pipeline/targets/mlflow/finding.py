"""Finds runs at MLflow by the tag `neptune.run_key`, among the experiments of their project.

A database is asked for the tags alone; a server answers with all parameters and latest values of
each run, which it cannot be kept from.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from json import dumps
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.mlflow.capabilities import SEARCH_PAGE
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.metrics import FoundRun
from migration_pipeline.targets.mlflow.naming import identity, like, project_name
from migration_pipeline.targets.target import LoadState, TargetRun

MAPPING_VERSION = "1"
"""Raised when runs that were loaded before should be loaded again."""
RUN_KEY, LOAD_STATE, VERIFIED = "neptune.run_key", "neptune.load_state", "neptune.verified"
GRADE, DAMAGED = "neptune.grade", "damaged"
COMPLETE = "complete"


class Finder:
    """The listing of runs; used by several threads."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._of_project: dict[tuple[str, str], list[str]] = {}
        self._forgotten = 0
        self._lock = threading.Lock()

    def forget(self, project: str, mapping: ProjectMapping) -> None:
        """An experiment of the project was made, or may have been."""
        with self._lock:
            self._forgotten += 1
            self._of_project.pop((mapping.name_prefix, project), None)

    def all(self, project: str, mapping: ProjectMapping) -> dict[RunKey, list[FoundRun]]:
        found: dict[RunKey, list[FoundRun]] = {}
        self.forget(project, mapping)
        for run in self._search(project, mapping, None):
            tags = run.tags
            if tags.get("neptune.project") == project and "neptune.run_id" in tags:
                kind: Any = tags.get("neptune.kind", "run")
                found.setdefault(RunKey(project, tags["neptune.run_id"], kind), []).append(run)
        return {key: sorted(runs, key=_first_counts) for key, runs in found.items()}

    def one(self, key: RunKey, mapping: ProjectMapping) -> list[FoundRun]:
        """All runs of this identity, the complete ones first, then the oldest."""
        found = [
            run
            for run in self._search(key.project, mapping, identity(key))
            if run.tags.get(RUN_KEY) == identity(key)
            and run.tags.get("neptune.kind", "run") == key.kind
        ]
        return sorted(found, key=_first_counts)

    def target_run(self, runs: list[FoundRun]) -> TargetRun:
        """What the loader is told of runs of one identity, sorted."""
        if not runs:
            return TargetRun(LoadState.ABSENT)
        tags = runs[0].tags
        complete = (
            tags.get(LOAD_STATE) == COMPLETE
            and tags.get("neptune.mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=tags.get("neptune.digest", ""),
            fingerprint=tags.get("neptune.fingerprint", ""),
            step_decimals=int(tags.get("neptune.step_decimals", 0)),
            step_multiplier=int(tags.get("neptune.step_multiplier", 1)),
            damaged=tags.get(GRADE) == DAMAGED,
            verified=tags.get(VERIFIED) == "true",
            ids=tuple(run.id for run in runs),
            parent=tags.get("neptune.fork.parent", ""),
            sys_id=tags.get("neptune.sys_id", ""),
            url=self.url(runs[0].experiment, runs[0].id),
        )

    def url(self, experiment: str, run_id: str) -> str:
        if not self._to.over_http:
            return ""
        return f"{self._to.address}/#/experiments/{experiment}/runs/{run_id}"

    def _search(
        self, project: str, mapping: ProjectMapping, wanted: str | None
    ) -> Iterator[FoundRun]:
        """All runs of a project's experiments, or those of an identity and perhaps others."""
        experiments = self._experiments_of(project, mapping)
        if not experiments:
            return
        if tables := self._to.tables:
            with self._to.calls("searching runs"):
                yield from tables.runs(experiments, (RUN_KEY, wanted) if wanted else None)
            return
        filter_string = f"tags.`{RUN_KEY}` LIKE '{like(wanted)}'" if wanted else ""
        if self._to.over_http:
            yield from self._pages(experiments, filter_string)
            return
        token = None
        while True:
            with self._to.calls("searching runs"):
                page = self._to.client.search_runs(
                    experiments, filter_string, max_results=SEARCH_PAGE, page_token=token
                )
            yield from (found_run(run) for run in page)
            if not (token := page.token):
                return

    def _pages(self, experiments: list[str], filter_string: str) -> Iterator[FoundRun]:
        """What a server lists; nearly all of its answer is of no use here."""
        asked = {"experiment_ids": experiments, "max_results": SEARCH_PAGE}
        asked["filter"] = filter_string
        while True:
            with self._to.calls("searching runs"):
                answer = self._to.rest.post("runs/search", dumps(asked).encode())
            for run in answer.get("runs", ()):
                info, tags = run["info"], run.get("data", {}).get("tags", ())
                yield FoundRun(
                    info["run_id"],
                    str(info["experiment_id"]),
                    int(info.get("start_time", 0)),
                    info.get("artifact_uri", ""),
                    {tag["key"]: tag.get("value", "") for tag in tags},
                )
            if not (token := answer.get("next_page_token")):
                return
            asked["page_token"] = token

    def _experiments_of(self, project: str, mapping: ProjectMapping) -> list[str]:
        """Ids of the experiments of a project; asked for once until one is made, or all of the
        project is listed."""
        name = project_name(project, mapping)
        with self._lock:
            known, asked_at = self._of_project.get((mapping.name_prefix, project)), self._forgotten
        if known is not None:
            return known
        found, token = [], None
        while True:
            with self._to.calls("searching experiments"):
                page = self._to.client.search_experiments(
                    filter_string=f"name LIKE '{like(name[:200])}%'", page_token=token
                )
            found += [
                e.experiment_id
                for e in page
                if e.name == name
                or e.name.startswith(f"{name}/")
                or e.tags.get("neptune.project") == project
            ]
            if not (token := page.token):
                break
        with self._lock:
            # An answer may be older than an experiment that another thread has made meanwhile.
            if asked_at == self._forgotten:
                self._of_project[mapping.name_prefix, project] = found
        return found


def found_run(run: Any) -> FoundRun:
    """MLflow's run as the listing has it."""
    info = run.info
    return FoundRun(
        info.run_id,
        info.experiment_id,
        info.start_time or 0,
        info.artifact_uri or "",
        dict(run.data.tags),
    )


def _first_counts(run: FoundRun) -> tuple[bool, int, str]:
    return (run.tags.get(LOAD_STATE) != COMPLETE, run.start, run.id)
