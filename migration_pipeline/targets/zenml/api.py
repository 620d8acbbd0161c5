"""ZenML's own classes that the target uses; only `connection.py` imports this, when it opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zenml.artifacts.preexisting_data_materializer import PreexistingDataMaterializer
from zenml.enums import (
    ArtifactSaveType,
    ArtifactType,
    MetadataResourceTypes,
    StackComponentType,
)
from zenml.exceptions import EntityExistsError
from zenml.metadata.metadata_types import MetadataTypeEnum
from zenml.models import (
    ArtifactVersionFilter,
    ArtifactVersionRequest,
    ModelFilter,
    ModelRequest,
    ModelVersionArtifactRequest,
    ModelVersionFilter,
    ModelVersionRequest,
    ModelVersionUpdate,
    RunMetadataRequest,
    RunMetadataResource,
)
from zenml.utils import source_utils

__all__ = [
    "ArtifactSaveType",
    "ArtifactType",
    "ArtifactVersionFilter",
    "ArtifactVersionRequest",
    "EntityExistsError",
    "MetadataResourceTypes",
    "MetadataTypeEnum",
    "ModelFilter",
    "ModelRequest",
    "ModelVersionArtifactRequest",
    "ModelVersionFilter",
    "ModelVersionRequest",
    "ModelVersionUpdate",
    "RunMetadataRequest",
    "RunMetadataResource",
    "StackComponentType",
    "sources",
]


def sources() -> dict[str, Any]:
    """How an artifact that is a folder is loaded: `artifact.load()` gives the path of a copy."""
    return {
        "materializer": source_utils.resolve(PreexistingDataMaterializer),
        "data_type": source_utils.resolve(Path),
    }
