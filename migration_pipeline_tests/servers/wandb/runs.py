"""A run of the W&B stand-in: its history, files and what is asked of them by GraphQL.

Attributes and methods are the fields of the schema: the executor of GraphQL calls them by name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.wandb.artifacts import Artifact
    from migration_pipeline_tests.servers.wandb.state import Project


class RefusedError(Exception):
    """The service says no, with this status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class File:
    """A file of a run; shown once its bytes are there."""

    name: str
    where: str
    content: bytes | None = None
    artifact: Any = None

    @property
    def storagePath(self) -> str:  # noqa: N802
        return self.name

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

    @property
    def displayName(self) -> str:  # noqa: N802
        """Of a file of an artifact, whose own name is that of what is stored."""
        return self.name

    uploadMultipartUrls = digest = None  # noqa: N815
    uploadHeaders = ()  # noqa: N815
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
    monitored: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    held: dict[str, File] = field(default_factory=dict)
    parent: Run | None = None
    shared: int = -1
    """`_step` of the last row that it shares with its parent."""
    sweepName: str | None = None  # noqa: N815
    logged: list[Artifact] = field(default_factory=list)
    readOnly = stopped = False  # noqa: N815
    createdAt = heartbeatAt = "2026-01-01T00:00:00"  # noqa: N815

    @property
    def projectId(self) -> str:  # noqa: N802
        return self.project.internalId

    @property
    def user(self) -> dict[str, Any]:
        return self.project.account.viewer

    @property
    def systemMetrics(self) -> str:  # noqa: N802
        """The last of each (A)."""
        found: dict[str, Any] = {}
        for line in self.monitored:
            found |= json.loads(line)
        return json.dumps({k: v for k, v in found.items() if k.startswith("system.")})

    @property
    def historyLineCount(self) -> int:  # noqa: N802
        return len(self.lines)

    @property
    def logLineCount(self) -> int:  # noqa: N802
        return len(self.logs)

    @property
    def eventsLineCount(self) -> int:  # noqa: N802
        return len(self.monitored)

    @property
    def historyTail(self) -> str:  # noqa: N802
        return json.dumps(self.lines[-1:])

    @property
    def eventsTail(self) -> str:  # noqa: N802
        return json.dumps(self.monitored[-1:])

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

    def events(self, info: Any, samples: int | None = None) -> list[str]:
        """Rows of system metrics in the order in which they came, sampled above `samples` (A)."""
        most = min(self.project.account.rules.page, samples or 500)
        found = self.monitored
        if len(found) > most:
            found = [found[i * len(found) // most] for i in range(most)]
        return [_shown(line) for line in found]

    def outputArtifacts(  # noqa: N802
        self, info: Any, after: str | None = None, first: int | None = None
    ) -> dict[str, Any]:
        done = [artifact for artifact in self.logged if artifact.state == "COMMITTED"]
        return connection(done, after, min(first or 50, 1000))

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
