"""What ZenML is asked and told: models, model versions, artifact versions and their metadata.

Requests go to ZenML's store with ids, not through its client: the client looks up names and the
active project again and again, and leaves out metadata that is too long without an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from migration_pipeline.targets.zenml.capabilities import LIST_PAGE
from migration_pipeline.targets.zenml.connection import Connection

Metadata = Mapping[str, dict[str, Any]]


class Records:
    """Of one connection; may be used by several threads."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._models: dict[str, UUID] = {}
        self._lock = threading.Lock()

    # --- models and versions ----------------------------------------------------------------

    def model(self, name: str) -> UUID | None:
        """The id of a model; kept once it is found."""
        if name not in self._models:
            asked = self._to.api.ModelFilter(name=name, project=self._to.project)
            with self._to.calls("looking for a model"):
                page = self._to.store.list_models(asked)
            for model in page.items:
                if model.name == name:  # some databases take upper for lower case
                    self._models[name] = model.id
        return self._models.get(name)

    def make_model(self, name: str, description: str) -> UUID:
        """The id of a model, made if it is not there."""
        with self._lock:
            if (found := self.model(name)) is not None:
                return found
            asked = self._to.api.ModelRequest(
                name=name,
                description=description,
                project=self._to.project,
                save_models_to_registry=False,
            )
            with self._to.calls("creating a model"):
                try:
                    self._models[name] = self._to.store.create_model(asked).id
                except self._to.api.EntityExistsError:
                    # Another process may have been faster.
                    if self.model(name) is None:
                        raise
            return self._models[name]

    def versions(self, model: UUID, name: str = "") -> dict[str, UUID]:
        """Name → id of a model's versions, or of the one of that name."""
        found = self._pages(
            self._to.store.list_model_versions,
            lambda page: self._to.api.ModelVersionFilter(
                model=model,
                project=self._to.project,
                page=page,
                size=LIST_PAGE,
                sort_by="number",
                **({"name": name} if name else {}),
            ),
            "listing model versions",
            hydrate=False,
        )
        return {version.name: version.id for version in found if not name or version.name == name}

    def version(self, version: UUID) -> Any:
        """A model version with description, tags and cards."""
        with self._to.calls("reading a model version"):
            return self._to.store.get_model_version(version, hydrate=True)

    def make_version(self, model: UUID, name: str, description: str, tags: list[str]) -> UUID:
        asked = self._to.api.ModelVersionRequest(
            name=name,
            model=model,
            project=self._to.project,
            description=description,
            tags=tags,
        )
        with self._to.calls("creating a model version"):
            found: UUID = self._to.store.create_model_version(asked).id
            return found

    def delete_version(self, version: UUID) -> None:
        with self._to.calls("deleting a model version"):
            self._to.store.delete_model_version(version)

    def put_cards(self, version: UUID, cards: Metadata) -> None:
        self._put(self._to.api.MetadataResourceTypes.MODEL_VERSION, version, cards)

    # --- artifacts --------------------------------------------------------------------------

    def artifacts(self, name: str, version: str = "") -> list[Any]:
        """Versions of an artifact with their metadata, all or the one of that name."""
        found = self._pages(
            self._to.store.list_artifact_versions,
            lambda page: self._to.api.ArtifactVersionFilter(
                artifact=name,
                project=self._to.project,
                page=page,
                size=LIST_PAGE,
                sort_by="created",
                **({"version": version} if version else {}),
            ),
            "listing artifacts",
            hydrate=True,
        )
        return [
            artifact
            for artifact in found
            if artifact.artifact.name == name and (not version or artifact.version == version)
        ]

    def make_artifact(self, name: str, version: str, uri: str, metadata: Metadata) -> UUID:
        """Registers a folder of the artifact store, which may still be empty."""
        api = self._to.api
        asked = api.ArtifactVersionRequest(
            artifact_name=name,
            version=version,
            type=api.ArtifactType.DATA,
            uri=uri,
            artifact_store_id=self._to.artifact_store,
            project=self._to.project,
            save_type=api.ArtifactSaveType.PREEXISTING,
            has_custom_name=True,
            metadata=dict(metadata) or None,
            **api.sources(),
        )
        with self._to.calls("registering an artifact"):
            found: UUID = self._to.store.create_artifact_version(asked).id
            return found

    def delete_artifact(self, artifact: UUID) -> None:
        with self._to.calls("deleting an artifact"):
            self._to.store.delete_artifact_version(artifact)

    def link(self, version: UUID, artifact: UUID) -> None:
        """Shows an artifact on the page of a model version."""
        asked = self._to.api.ModelVersionArtifactRequest(
            model_version=version, artifact_version=artifact
        )
        with self._to.calls("linking an artifact"):
            self._to.store.create_model_version_artifact_link(asked)

    def put_mark(self, artifact: UUID, metadata: Metadata) -> None:
        """Adds to the metadata of an artifact version; of a key that is there, keys of the new
        value replace those of the old one."""
        self._put(self._to.api.MetadataResourceTypes.ARTIFACT_VERSION, artifact, metadata)

    # --- all --------------------------------------------------------------------------------

    def _put(self, kind: Any, resource: UUID, metadata: Metadata) -> None:
        api = self._to.api
        asked = api.RunMetadataRequest(
            project=self._to.project,
            resources=[api.RunMetadataResource(id=resource, type=kind)],
            values=dict(metadata),
            types=dict.fromkeys(metadata, api.MetadataTypeEnum.DICT),
        )
        with self._to.calls("writing metadata"):
            self._to.store.create_run_metadata(asked)

    def _pages(
        self, ask: Callable[..., Any], of_page: Callable[[int], Any], doing: str, hydrate: bool
    ) -> Iterator[Any]:
        number = 1
        while True:
            with self._to.calls(doing):
                page = ask(of_page(number), hydrate=hydrate)
            yield from page.items
            if number >= page.total_pages:
                return
            number += 1
