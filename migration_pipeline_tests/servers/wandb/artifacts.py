"""Artifacts of the W&B stand-in: versions of collections, each with a manifest and its files.

Attributes and methods are the fields of the schema: the executor of GraphQL calls them by name.
The steps of writing one are wandb-core's (C): created with its digest, its manifest and files
uploaded, committed; the same digest in a collection is the same version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migration_pipeline_tests.servers.wandb.runs import File, RefusedError, Run, connection

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.wandb.state import Project

_TIME = "2026-01-01T00:00:00"


@dataclass
class Collection:
    """Versions of one artifact."""

    id: str
    name: str
    type: str
    project: Project
    versions: list[Artifact] = field(default_factory=list)
    digestAlgorithm = "MANIFEST_MD5"  # noqa: N815
    __typename = "ArtifactSequence"

    @property
    def latestArtifact(self) -> Artifact | None:  # noqa: N802
        return self.versions[-1] if self.versions else None

    def artifactMembership(self, info: Any, aliasName: str) -> Artifact | None:  # noqa: N802, N803
        return next((v for v in self.versions if aliasName in v.names), None)


@dataclass
class Artifact:
    """One version. `files` are what its manifest lists and was uploaded, by path."""

    id: str
    artifactSequence: Collection  # noqa: N815
    versionIndex: int  # noqa: N815
    run: Run | None
    digest: str
    where: Callable[[str], str]
    """Name of a stored file → its address."""
    description: str | None = None
    metadata: str | None = None
    named: list[str] = field(default_factory=list)
    state: str = "PENDING"
    historyStep: int | None = None  # noqa: N815
    manifest: File | None = None
    stored: dict[str, File] = field(default_factory=dict)
    ttlDurationSeconds, commitHash = 0, None  # noqa: N815
    ttlIsInherited = True  # noqa: N815
    digestAlgorithm = "MANIFEST_MD5"  # noqa: N815
    tags = ()
    createdAt = updatedAt = _TIME  # noqa: N815

    @property
    def names(self) -> set[str]:
        latest = self.artifactSequence.versions[-1] is self
        return {f"v{self.versionIndex}", *self.named, *(["latest"] if latest else [])}

    @property
    def artifactType(self) -> dict[str, str]:  # noqa: N802
        return {"name": self.artifactSequence.type}

    @property
    def aliases(self) -> list[dict[str, Any]]:
        names = sorted(self.names - {f"v{self.versionIndex}"})
        return [
            {"id": f"{self.id}-{n}", "alias": n, "artifactCollection": self.artifactSequence}
            for n in names
        ]

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """Path → what the manifest says of it."""
        content = self.manifest.content if self.manifest else None
        found: dict[str, dict[str, Any]] = json.loads(content)["contents"] if content else {}
        return found

    @property
    def currentManifest(self) -> dict[str, Any] | None:  # noqa: N802
        return {"id": f"{self.id}-manifest", "file": self.manifest} if self.manifest else None

    @property
    def size(self) -> int:
        return sum(entry.get("size", 0) for entry in self.entries.values())

    @property
    def fileCount(self) -> int:  # noqa: N802
        return len(self.entries)

    def files(
        self,
        info: Any,
        names: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> dict[str, Any]:
        found = [
            self.stored[path]
            for path, entry in self.entries.items()
            if "ref" not in entry and path in self.stored and (not names or path in names)
        ]
        return connection(found, after, min(first or 50, 1000))

    def to_upload(self, name: str) -> File:
        where = self.where(f"{self.id}/{name}")
        return self.stored.setdefault(name, File(name, where, artifact=self))


@dataclass
class Sweep:
    id: str
    name: str
    project: Project
    config: str
    state: str = "PENDING"
    description: str | None = None
    displayName: str | None = None  # noqa: N815
    bestLoss = runCountExpected = None  # noqa: N815
    createdAt = updatedAt = _TIME  # noqa: N815

    @property
    def method(self) -> str:
        import yaml

        return str(yaml.safe_load(self.config).get("method", ""))

    @property
    def runCount(self) -> int:  # noqa: N802
        return sum(run.sweepName == self.name for run in self.project.of.values())


class Registry:
    """The artifacts of an account, and the mutations that make them."""

    def __init__(self, where: Callable[[str], str]) -> None:
        self._where = where
        self.artifacts: dict[str, Artifact] = {}
        self._clients: dict[str, str] = {}

    def create(self, project: Project, given: dict[str, Any]) -> Artifact:
        name = given["artifactCollectionNames"][0] if given.get("artifactCollectionNames") else ""
        name = name or given.get("artifactCollectionName") or ""
        made = Collection(f"collection-{name}", name, given["artifactTypeName"], project)
        collection = project.collections.setdefault(name, made)
        if collection.type != given["artifactTypeName"]:
            raise RefusedError(400, f"artifact {name} is of type {collection.type}")
        same = next((v for v in collection.versions if v.digest == given["digest"]), None)
        artifact = same or Artifact(
            id=f"artifact-{len(self.artifacts) + 1}",
            artifactSequence=collection,
            versionIndex=len(collection.versions),
            run=project.of.get(given.get("runName") or ""),
            digest=given["digest"],
            where=self._where,
            description=given.get("description"),
            metadata=given.get("metadata"),
            historyStep=given.get("historyStep"),
        )
        artifact.named += [one["alias"] for one in given.get("aliases") or ()]
        if not same:
            collection.versions.append(artifact)
            self.artifacts[artifact.id] = artifact
            if artifact.run:
                artifact.run.logged.append(artifact)
        if given.get("clientID"):
            self._clients[given["clientID"]] = artifact.id
        return artifact

    def by_id(self, artifact_id: str) -> Artifact:
        if artifact_id not in self.artifacts:
            raise RefusedError(404, f"artifact {artifact_id} not found")
        return self.artifacts[artifact_id]

    def server_id(self, client_id: str) -> dict[str, str] | None:
        found = self._clients.get(client_id)
        return {"serverID": found} if found else None

    def new_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self.by_id(given["artifactID"])
        key = hashlib.blake2b(given["digest"].encode(), digest_size=8).hexdigest()
        artifact.manifest = File(given["name"], self._where(f"{artifact.id}/.manifest-{key}"))
        return {"artifactManifest": artifact.currentManifest}

    def stored_at(self, key: str) -> File | None:
        """The file that was announced under `<artifact>/<name>`."""
        artifact_id, _, name = key.partition("/")
        artifact = self.artifacts.get(artifact_id)
        if artifact is None:
            return None
        if artifact.manifest and name.startswith(".manifest-"):
            return artifact.manifest
        return artifact.stored.get(name)
