"""What an account of the W&B stand-in holds, and the service's rules for it.

Attributes and methods of `Run` and `Project` are the fields of the schema: the executor of GraphQL
calls them by name.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

LINE_BYTES = 10 * 2**20
_BAD_IN_PROJECT = re.compile(r"[/\\#?%:]")
_BAD_IN_RUN_ID = re.compile(r"[:;,#?/'\\%]")


class RefusedError(Exception):
    """The service says no, with this status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


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
    filestream_a_second: float | None = None
    """Requests per run; on a dedicated cloud 2 (D)."""
    refuse_lines: Callable[[str], bool] | None = None
    """Lines of history that are answered with 400."""


@dataclass
class File:
    """A file of a run; shown once its bytes are there."""

    name: str
    where: str
    content: bytes | None = None

    @property
    def id(self) -> str:
        return base64.b64encode(self.name.encode()).decode()

    def url(self, info: Any, upload: bool | None = False) -> str:
        return self.where

    @property
    def directUrl(self) -> str:  # noqa: N802
        return self.where

    @property
    def uploadUrl(self) -> str:  # noqa: N802
        return self.where

    @property
    def sizeBytes(self) -> int:  # noqa: N802
        return len(self.content or b"")

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.content or b"").digest()).decode()

    mimetype, updatedAt = "application/octet-stream", "2026-01-01T00:00:00"  # noqa: N815


@dataclass
class Run:
    id: str
    name: str
    project: Project
    displayName: str = ""  # noqa: N815
    state: str = "running"
    tags: list[str] = field(default_factory=list)
    config: str = "{}"
    summaryMetrics: str = "{}"  # noqa: N815
    group: str = ""
    jobType: str = ""  # noqa: N815
    commit: str | None = None
    host: str | None = None
    notes: str = ""
    description: str | None = None
    lines: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    held: dict[str, File] = field(default_factory=dict)
    parent: Run | None = None
    shared: int = -1
    """`_step` of the last row that it shares with its parent."""
    sweepName = systemMetrics = None  # noqa: N815
    readOnly = stopped = False  # noqa: N815
    createdAt = heartbeatAt = "2026-01-01T00:00:00"  # noqa: N815

    @property
    def projectId(self) -> str:  # noqa: N802
        return self.project.internalId

    @property
    def user(self) -> dict[str, Any]:
        return self.project.account.viewer

    @property
    def historyLineCount(self) -> int:  # noqa: N802
        return len(self.lines)

    @property
    def logLineCount(self) -> int:  # noqa: N802
        return len(self.logs)

    @property
    def eventsLineCount(self) -> int:  # noqa: N802
        return len(self.events)

    @property
    def historyTail(self) -> str:  # noqa: N802
        return json.dumps(self.lines[-1:])

    @property
    def eventsTail(self) -> str:  # noqa: N802
        return json.dumps(self.events[-1:])

    def wandbConfig(self, info: Any, keys: list[str] | None = None) -> str:  # noqa: N802
        own = json.loads(self.config).get("_wandb", {}).get("value", {})
        return json.dumps({k: v for k, v in own.items() if keys is None or k in keys})

    @property
    def rows(self) -> list[tuple[int, str]]:
        """`_step` and line of each row; a line without a step has that of its place. A fork has its
        parent's rows before its own (D)."""
        before = self.parent.rows if self.parent else []
        return [row for row in before if row[0] <= self.shared] + [
            (_step(line, place), line) for place, line in enumerate(self.lines)
        ]

    @property
    def historyKeys(self) -> dict[str, Any]:  # noqa: N802
        counts = Counter(key for line in self.lines for key in json.loads(line))
        keys = {
            key: {"typeCounts": [{"type": "number", "count": count}], "monotonic": False}
            for key, count in counts.items()
        }
        last = max((step for step, _ in self.rows), default=-1)
        return {"keys": keys, "sets": [], "lastStep": last}

    def history(
        self,
        info: Any,
        minStep: int | None = None,  # noqa: N803
        maxStep: int | None = None,  # noqa: N803
        samples: int | None = None,
    ) -> list[str]:
        rules = self.project.account.rules
        low = minStep or 0
        high = 2**63 if maxStep is None else maxStep + rules.max_step_inclusive
        found = [line for step, line in self.rows if low <= step < high]
        most = min(rules.page, samples or 500)
        if len(found) > most:
            found = [found[i * len(found) // most] for i in range(most)]
        return [_shown(line) for line in found] if rules.numbers_as_text else found

    def sampledHistory(self, info: Any, specs: list[str]) -> list[list[Any]]:  # noqa: N802
        found = []
        for spec in map(json.loads, specs):
            keys = spec.get("keys", [])
            rows = [json.loads(_shown(line)) for line in self.lines]
            rows = [{k: row[k] for k in keys} for row in rows if all(k in row for k in keys)]
            most = spec.get("samples", 500)
            step = -(-len(rows) // most) or 1
            found.append(rows[::step])
        return found

    def parquetHistory(self, info: Any, liveKeys: list[str]) -> dict[str, Any]:  # noqa: N802,N803
        return {"parquetUrls": [], "liveData": []}

    @property
    def shown_files(self) -> list[File]:
        """Those of a fork's parent are its own as well (D)."""
        found = {f.name: f for f in self.parent.shown_files} if self.parent else {}
        found |= {f.name: f for f in self.held.values() if f.content is not None}
        return [found[name] for name in sorted(found)]

    @property
    def fileCount(self) -> int:  # noqa: N802
        return len(self.shown_files)

    def files(
        self,
        info: Any,
        names: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
    ) -> dict[str, Any]:
        like = re.compile(re.escape(pattern).replace("%", ".*")) if pattern else None
        found = [
            f
            for f in self.shown_files
            if (not names or f.name in names) and (like is None or like.fullmatch(f.name))
        ]
        return connection(found, after, min(first or 50, 1000))


def connection(found: Sequence[Any], after: str | None, first: int) -> dict[str, Any]:
    """A page, by a cursor that is the number of what came before."""
    start = int(after or 0)
    page = found[start : start + first]
    edges = [{"node": one, "cursor": str(start + i + 1)} for i, one in enumerate(page)]
    more = start + len(page) < len(found)
    last = edges[-1]["cursor"] if edges else None
    return {
        "edges": edges,
        "pageInfo": {"endCursor": last, "hasNextPage": more},
        "totalCount": len(found),
    }


def _step(line: str, place: int) -> int:
    found = re.search(r'"_step":\s*(\d+)', line)
    return int(found[1]) if found else place


_BARE = re.compile(r"(?<=[:\[,])\s*(-?Infinity|NaN)(?=\s*[,}\]])")


def _shown(line: str) -> str:
    """JSON has no NaN and no infinities."""
    if "NaN" not in line and "Infinity" not in line:
        return line
    return json.dumps(_as_text(json.loads(line)), separators=(",", ":"))


def _as_text(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict):
        return {k: _as_text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_text(v) for v in value]
    return value


@dataclass
class Project:
    id: str
    name: str
    account: Account
    of: dict[str, Run] = field(default_factory=dict)
    burnt: set[str] = field(default_factory=set)
    """Ids of runs that were deleted: none can be used again (D, I)."""
    readOnly = False  # noqa: N815

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
            lines = {"wandb-history.jsonl": run.lines, "wandb-events.jsonl": run.events}
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


def names_of(runs: Iterable[Run]) -> list[str]:
    return [run.name for run in runs]
