"""What an account at the stand-in for Lightning AI holds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any


@dataclass
class Values:
    """Points of one metric, column by column; a time is None where the stream keeps none."""

    steps: list[int] = field(default_factory=list)
    times: list[str | None] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    def add(self, other: Values) -> None:
        self.steps += other.steps
        self.times += other.times
        self.numbers += other.numbers

    def rows(self) -> list[tuple[int, str | None, float]]:
        return list(zip(self.steps, self.times, self.numbers, strict=True))


@dataclass
class Stream:
    """One experiment; Lightning's API calls it a metrics stream."""

    id: str
    name: str
    teamspace: str
    user: str
    created_at: str
    tags: list[dict[str, Any]]
    store_step: bool
    store_created_at: bool
    said: dict[str, Any]
    """All that came with its creation."""
    phase: str = "RUNNING"
    persisted: bool = False
    batches: list[tuple[float, str, Values]] = field(default_factory=list)
    """When it arrived, name of the metric, values."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Id → path within the experiment."""
    media: dict[str, dict[str, Any]] = field(default_factory=dict)

    def metrics(self, lag: float = 0.0) -> dict[str, Values]:
        """Name → values in the order of their arrival, as far as readers see them already."""
        found: dict[str, Values] = {}
        seen = time.monotonic() - lag
        for arrived, name, values in self.batches:
            if arrived <= seen:
                found.setdefault(name, Values()).add(values)
        return found

    def shown(self) -> dict[str, Any]:
        """As V1MetricsStream."""
        said = self.said
        return {
            "id": self.id,
            "name": self.name,
            "projectId": self.teamspace,
            "userId": self.user,
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
            "tags": self.tags,
            "storeStep": self.store_step,
            "storeCreatedAt": self.store_created_at,
            "phase": self.phase,
            "persisted": self.persisted,
            "lightColor": said.get("lightColor", ""),
            "darkColor": said.get("darkColor", ""),
            "systemInfo": said.get("systemInfo"),
            "clusterId": "cloud-1",
            "cloudspaceId": said.get("cloudspaceId", ""),
            "appId": "",
            "workId": "",
            "pluginId": "",
            "jobId": "",
            "jobName": "",
        }


@dataclass
class Teamspace:
    id: str
    name: str
    display_name: str
    owner_id: str
    owner_type: str
    streams: dict[str, Stream] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Path on the teamspace's drive → content."""

    def by_name(self, name: str) -> Stream | None:
        return next((s for s in self.streams.values() if s.name == name), None)

    def shown(self) -> dict[str, Any]:
        """As V1Project, with the fields of V1Membership."""
        return {
            "id": self.id,
            "projectId": self.id,
            "name": self.name,
            "displayName": self.display_name,
            "ownerId": self.owner_id,
            "ownerType": self.owner_type,
            "projectSettings": {"preferredCluster": "cloud-1"},
        }


@dataclass
class Upload:
    """A place that a file may be put to."""

    teamspace: str
    path: str
    part: int | None = None
    upload_id: str = ""


@dataclass
class Account:
    """One user, with the organizations that the user is in.

    Args:
        read_only: may look and not write.
        max_teamspaces, max_experiments: beyond them nothing more is made; of the second, in one
            teamspace.
        pace: values of a request and seconds between requests above which 429 is answered.
        lag: seconds until readers see points.
    """

    key: str
    read_only: bool = False
    max_teamspaces: int | None = None
    max_experiments: int | None = None
    pace: tuple[int, float] | None = None
    lag: float = 0.0
    teamspaces: dict[str, Teamspace] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    appended: list[float] = field(default_factory=list)
    """When points were taken."""
    _ids: Any = field(default_factory=lambda: count(1))

    @property
    def user_id(self) -> str:
        return user_id(self.key)

    @property
    def username(self) -> str:
        return f"name-{self.key[3:9]}"

    @property
    def organizations(self) -> dict[str, str]:
        """Name → id."""
        return {f"org-of-{self.key[3:9]}": f"org{self.key[3:9]}"}

    def new_id(self, kind: str) -> str:
        return f"{kind}{next(self._ids):06d}"


def user_id(key: str) -> str:
    """The user whose API key that is."""
    return f"user{key[3:11]}"
