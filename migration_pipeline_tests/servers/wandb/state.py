"""What an account of the W&B stand-in holds, and the service's rules for it.

Attributes and methods of `Run` and `Project` are the fields of the schema: the executor of GraphQL
calls them by name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from migration_pipeline_tests.servers.wandb.artifacts import Collection, Registry, Sweep
from migration_pipeline_tests.servers.wandb.limits import Window
from migration_pipeline_tests.servers.wandb.runs import File, RefusedError, Run, connection

LINE_BYTES = 10 * 2**20
_BAD_IN_PROJECT = re.compile(r"[/\\#?%:]")
_BAD_IN_RUN_ID = re.compile(r"[:;,#?/'\\%]")


@dataclass
class Rules:
    """Switches of one account."""

    read_only: bool = False
    most_projects: int | None = None
    features: tuple[str, ...] = ("FILESTREAM_GZIP", "MARK_RUN_FILES_UPLOADED")
    numbers_as_text: bool = True
    """NaN and infinities are shown as text, for JSON has none (A)."""
    max_step_inclusive: bool = True
    """Since server 0.65 (I); before it was not."""
    page: int = 100_000
    """Most rows of an answer; more are sampled down."""
    forks: bool = False
    graphql: Window | None = None
    """On the service's own cloud, for a user (D)."""
    filestream_a_second: float | None = None
    """Requests per run; on a dedicated cloud 2 (D)."""
    refuse_lines: Callable[[str], bool] | None = None
    """Lines of history that are answered with 400."""


@dataclass
class Project:
    id: str
    name: str
    account: Account
    of: dict[str, Run] = field(default_factory=dict)
    burnt: set[str] = field(default_factory=set)
    """Ids of runs that were deleted: none can be used again (D, I)."""
    collections: dict[str, Collection] = field(default_factory=dict)
    swept: dict[str, Sweep] = field(default_factory=dict)
    readOnly = isBenchmark = False  # noqa: N815
    createdAt = "2026-01-01T00:00:00"  # noqa: N815

    @property
    def internalId(self) -> str:  # noqa: N802
        return str(int.from_bytes(hashlib.blake2b(self.id.encode(), digest_size=4).digest()))

    @property
    def entity(self) -> dict[str, str]:
        return {"id": f"entity-{self.entityName}", "name": self.entityName}

    @property
    def entityName(self) -> str:  # noqa: N802
        return self.account.entity

    def run(self, info: Any, name: str) -> Run | None:
        return self.of.get(name)

    def bucket(self, info: Any, name: str, missingOk: bool | None = False) -> Run | None:  # noqa: N803
        if name not in self.of and not missingOk:
            raise RefusedError(404, f"could not find run {name}")
        return self.of.get(name)

    @property
    def user(self) -> dict[str, Any]:
        return self.account.viewer

    @property
    def totalSweeps(self) -> int:  # noqa: N802
        return len(self.swept)

    def sweeps(
        self,
        info: Any,
        after: str | None = None,
        first: int | None = None,
        filters: str | None = None,
    ) -> dict[str, Any]:
        return connection(list(self.swept.values()), after, min(first or 50, 1000))

    def sweep(self, info: Any, sweepName: str) -> Sweep | None:  # noqa: N803
        return self.swept.get(sweepName)

    def artifactType(self, info: Any, name: str) -> dict[str, Any]:  # noqa: N802
        return {"name": name, "artifactCollection": self.artifactCollection}

    def artifactCollection(self, info: Any, name: str) -> Collection | None:  # noqa: N802
        return self.collections.get(name)

    def _found(self, filters: str | None) -> list[Run]:
        wanted = json.loads(filters or "{}")
        return [run for run in self.of.values() if _fits(run, wanted)]

    def runCount(self, info: Any, filters: str | None = None) -> int:  # noqa: N802
        return len(self._found(filters))

    def runs(
        self,
        info: Any,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> dict[str, Any]:
        return connection(self._found(filters), after, min(first or 50, 1000))


def _fits(run: Run, wanted: dict[str, Any]) -> bool:
    """W&B's filters have MongoDB's form; these are the ones that are used here."""
    for name, value in wanted.items():
        if name == "$and":
            fits = all(_fits(run, one) for one in value)
        elif name == "$or":
            fits = any(_fits(run, one) for one in value)
        elif name.startswith("config."):
            found: Any = json.loads(run.config)
            key = name.removeprefix("config.")
            found = found.get(key.removesuffix(".value"), {})
            fits = isinstance(found, dict) and found.get("value") == value
        elif name == "name":
            fits = run.name in value["$in"] if isinstance(value, dict) else run.name == value
        elif name == "tags":
            fits = value in run.tags
        else:
            raise RefusedError(400, f"invalid filter {name}")
        if not fits:
            return False
    return True


@dataclass
class Account:
    key: str
    address: Callable[[], str]
    entity: str = "team"
    rules: Rules = field(default_factory=Rules)
    projects: dict[str, Project] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.registry = Registry(
            lambda key: f"{self.address()}/artifacts/{self.place}/{quote(key)}"
        )

    @property
    def place(self) -> str:
        """Stands for the account in addresses that need no key."""
        return hashlib.blake2b(self.key.encode(), digest_size=8).hexdigest()

    @property
    def viewer(self) -> dict[str, Any]:
        return {
            "id": "user-1",
            "name": "A User",
            "username": "user",
            "email": "user@example.com",
            "admin": False,
            "flags": "{}",
            "entity": self.entity,
            "teams": {"edges": [{"node": {"name": self.entity}}]},
            "apiKeys": {"edges": []},
        }

    def at(self, entity: str | None, name: str | None) -> Project | None:
        """A project, or none of that name.

        Raises:
            RefusedError: no such entity (A: as for one that the user is no member of).
        """
        self.check_entity(entity)
        return self.projects.get(name or "uncategorized")

    def check_entity(self, entity: str | None) -> None:
        if entity and entity != self.entity:
            raise RefusedError(404, f"entity {entity} not found during upsertBucket")

    def check_write(self) -> None:
        if self.rules.read_only:
            raise RefusedError(403, "permission denied")

    def made(self, entity: str | None, name: str) -> Project:
        """The project, made when it is not there."""
        self.check_entity(entity)
        if name not in self.projects:
            if not name or len(name) > 128 or _BAD_IN_PROJECT.search(name):
                raise RefusedError(400, f"invalid project name: {name!r}")
            most = self.rules.most_projects
            if most is not None and len(self.projects) >= most:
                raise RefusedError(403, "project limit reached for entity: upgrade your plan")
            self.projects[name] = Project(f"project-{next(self._numbers)}", name, self)
        return self.projects[name]

    def by_id(self, run_id: str) -> Run:
        for project in self.projects.values():
            for run in project.of.values():
                if run.id == run_id:
                    return run
        raise RefusedError(404, "run not found")

    def upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        """Creates or changes a run; all that is not given stays (C: nil fields are left out)."""
        self.check_write()
        _check(given)
        if given.get("id"):
            run, inserted = self.by_id(given["id"]), False
        else:
            project = self.made(given.get("entityName"), given.get("modelName") or "uncategorized")
            name = given["name"]
            if name in project.burnt:
                raise RefusedError(
                    409,
                    f"run {self.entity}/{project.name}/{name} was previously created and deleted; "
                    "try a new run name",
                )
            inserted = name not in project.of
            if inserted:
                config = json.loads(given.get("config") or "{}")
                own = config.get("_wandb", {}).get("value", {})
                if "branch_point" in own and not self.rules.forks:
                    raise RefusedError(400, "forking runs is not available on this server")
                made = Run(f"run-{next(self._numbers)}", name, project, name)
                if point := own.get("branch_point"):
                    made.parent, made.shared = project.of.get(point["run_id"]), point["step"]
                    if made.parent is None or point["run_id"] == name:
                        raise RefusedError(400, "invalid fork: no such run to fork from")
                project.of[name] = made
            run = project.of[name]
            run.state = given.get("state") or "running"
        for field_name, attribute in _FIELDS.items():
            if given.get(field_name) is not None:
                setattr(run, attribute, given[field_name])
        return {"bucket": run, "inserted": inserted}

    def upsert_sweep(self, given: dict[str, Any]) -> Sweep:
        self.check_write()
        project = self.made(given.get("entityName"), given.get("projectName") or "uncategorized")
        sweep = next((s for s in project.swept.values() if s.id == given.get("id")), None)
        if sweep is None:
            name = f"sweep{len(project.swept) + 1}"
            sweep = Sweep(f"{project.id}-{name}", name, project, given["config"])
            project.swept[name] = sweep
        for name in ("state", "description", "displayName"):
            if given.get(name) is not None:
                setattr(sweep, name, given[name])
        return sweep

    def delete(self, run_id: str) -> None:
        self.check_write()
        run = self.by_id(run_id)
        del run.project.of[run.name]
        run.project.burnt.add(run.name)

    def file_of(self, run: Run, name: str) -> File:
        if name not in run.held:
            where = f"{self.address()}/storage/{self.place}/{run.id}/{quote(name)}"
            run.held[name] = File(name, where)
        return run.held[name]

    def stream(self, run: Run, body: dict[str, Any]) -> None:
        """One filestream request: lines replace those from their offset on; an offset beyond the
        end is moved down to it (I: the service keeps no gaps)."""
        self.check_write()
        for name, part in body.get("files", {}).items():
            content: list[str] = part.get("content", [])
            if any(len(line.encode()) > LINE_BYTES for line in content):
                raise RefusedError(413, "request entity too large")
            refuse = self.rules.refuse_lines
            if refuse and any(refuse(line) for line in content):
                raise RefusedError(400, "invalid history line")
            if name == "wandb-summary.json":
                run.summaryMetrics = content[-1]
                continue
            lines = {"wandb-history.jsonl": run.lines, "wandb-events.jsonl": run.monitored}
            held = lines.get(name, run.logs)
            offset = min(part.get("offset", 0), len(held))
            held[offset : offset + len(content)] = content
        if body.get("complete"):
            run.state = "failed" if body.get("exitcode") else "finished"


_FIELDS = {
    "displayName": "displayName",
    "groupName": "group",
    "jobType": "jobType",
    "notes": "notes",
    "description": "description",
    "config": "config",
    "summaryMetrics": "summaryMetrics",
    "commit": "commit",
    "host": "host",
    "tags": "tags",
    "sweep": "sweepName",
}


def _check(given: dict[str, Any]) -> None:
    name = given.get("name")
    if not given.get("id") and (
        not name or name != name.strip() or _BAD_IN_RUN_ID.search(name) or len(name) > 128
    ):
        raise RefusedError(400, f"invalid run id: {name!r}")
    if len(given.get("displayName") or "") > 128:
        raise RefusedError(400, "invalid run displayName: must be at most 128 characters")
    for tag in given.get("tags") or ():
        if not 1 <= len(tag) <= 64:
            raise RefusedError(400, f"invalid tag {tag!r}: must be 1 to 64 characters")
    for setting in ("config", "summaryMetrics"):
        if given.get(setting):
            _object(setting, given[setting])


def _object(what: str, text: str) -> None:
    try:
        good = isinstance(json.loads(text, parse_constant=_no_constant), dict)
    except ValueError:
        good = False
    if not good:
        raise RefusedError(400, f"{what} is not a JSON object")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
