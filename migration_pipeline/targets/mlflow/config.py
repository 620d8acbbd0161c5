"""Settings of the MLflow target: the variables that MLflow itself reads, and where files go."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.registry import TargetConfig

SCHEMES = ("http", "https", "sqlite", "postgresql")


class MlflowConfig(TargetConfig):
    """Credentials of a tracking server (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD,
    MLFLOW_TRACKING_TOKEN) are read by MLflow's client from the environment and stay there."""

    environment: ClassVar[dict[str, str]] = {
        "tracking_uri": "MLFLOW_TRACKING_URI",
        "artifact_root": "MLFLOW_ARTIFACT_ROOT",
    }

    tracking_uri: SecretStr = Field(
        description="http(s)://server, sqlite:///path/to/mlflow.db or postgresql://…; "
        "secret because it may hold a password"
    )
    artifact_root: str = Field(
        default="",
        description="Where files go when the tracking address is a database: a directory or a "
        "storage URI. Empty: a folder mlartifacts beside the SQLite file. A tracking server "
        "decides for itself",
    )

    @property
    def uri(self) -> str:
        """The address, credentials included.

        Raises:
            ConfigError: it is of an unknown kind.
        """
        uri = self.tracking_uri.get_secret_value().strip()
        scheme = uri.partition(":")[0].partition("+")[0].lower()
        if scheme not in SCHEMES or "://" not in uri:
            shown = scheme if "://" in uri else uri
            raise ConfigError(
                f"MLFLOW_TRACKING_URI: MLflow cannot be reached by {shown!r}",
                f"Give an address that begins with one of {', '.join(s + '://' for s in SCHEMES)}.",
            )
        if uri in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
            raise ConfigError(
                f"MLFLOW_TRACKING_URI is {uri}: a database in memory ends with the process",
                "Give the path of a file, such as sqlite:///mlflow.db.",
            )
        return uri

    @property
    def address(self) -> str:
        """The address as messages may show it."""
        uri = self.tracking_uri.get_secret_value().strip()
        if uri.startswith("sqlite:"):
            return uri
        parts = urlsplit(uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
