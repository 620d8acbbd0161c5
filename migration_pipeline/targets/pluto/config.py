"""Settings of the Pluto target: those that pluto-ml itself reads, and those of the neptune-exporter
that Pluto's guide to moving from Neptune describes."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.pluto.capabilities import CAPABILITIES
from migration_pipeline.targets.registry import TargetConfig

URLS = ("url_app", "url_api", "url_ingest", "url_py")


class PlutoConfig(TargetConfig):
    """Where runs go and how. There is no cache file: Pluto is asked what it has."""

    environment: ClassVar[dict[str, str]] = {
        "api_key": "PLUTO_API_KEY",
        "url_app": "PLUTO_URL_APP",
        "url_api": "PLUTO_URL_API",
        "url_ingest": "PLUTO_URL_INGEST",
        "url_py": "PLUTO_URL_PY",
        "project_name": "NEPTUNE_EXPORTER_PLUTO_PROJECT_NAME",
        "batch_rows": "NEPTUNE_EXPORTER_PLUTO_BATCH_ROWS",
        "log_every": "NEPTUNE_EXPORTER_PLUTO_LOG_EVERY",
        "flush_every": "NEPTUNE_EXPORTER_PLUTO_FLUSH_EVERY",
        "file_chunk_size": "NEPTUNE_EXPORTER_PLUTO_FILE_CHUNK_SIZE",
        "file_chunk_sleep": "NEPTUNE_EXPORTER_PLUTO_FILE_CHUNK_SLEEP",
        "max_files_per_run": "NEPTUNE_EXPORTER_PLUTO_MAX_FILES_PER_RUN",
    }

    api_key: SecretStr = Field(
        default=SecretStr(""), description="API key. Empty: the one that `pluto login` stored"
    )
    url_app: str = Field(
        default="", description="Pages of a Pluto of one's own. Empty: https://pluto.trainy.ai"
    )
    url_api: str = Field(default="", description="Its API, by default on port 3001")
    url_ingest: str = Field(default="", description="Its ingestion, by default on port 3003")
    url_py: str = Field(default="", description="Its monitor, by default on port 3004; not asked")
    project_name: str = Field(
        default="", description="One Pluto project for all runs. Empty: Neptune's project"
    )
    batch_rows: int | None = Field(
        default=None, ge=1, description="Rows of the archive that are taken at a time"
    )
    log_every: int = Field(
        default=1,
        ge=1,
        description="Only points whose step is a multiple of this are shown; the others are kept "
        "beside. 1: all of them",
    )
    flush_every: int = Field(
        default=CAPABILITIES.points_per_request, ge=1, description="Points in one request"
    )
    file_chunk_size: int = Field(default=100, ge=1, le=1000, description="Files in one request")
    file_chunk_sleep: float = Field(
        default=0.0, ge=0, description="Seconds of rest after each such request"
    )
    max_files_per_run: int = Field(
        default=0, ge=0, description="Files of a run that are sent; the others are lost. 0: all"
    )

    @property
    def urls(self) -> dict[str, str]:
        """The addresses that are set, checked.

        Raises:
            ConfigError: one is none, or only some are set.
        """
        found = {name: getattr(self, name).strip().rstrip("/") for name in URLS}
        for name, url in found.items():
            parts = urlsplit(url)
            if url and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise ConfigError(
                    f"{self.environment[name]}: Pluto cannot be reached by {url!r}",
                    "Give an address such as https://pluto-api.example.com.",
                )
        needed = [name for name in URLS if name != "url_py"]
        if any(found.values()) and not all(found[name] for name in needed):
            # Otherwise a run would be made at one Pluto, and its points sent to another.
            missing = ", ".join(self.environment[name] for name in needed if not found[name])
            raise ConfigError(
                f"of the addresses of Pluto only some are set; {missing} is missing",
                "Set PLUTO_URL_APP, PLUTO_URL_API and PLUTO_URL_INGEST, or none of them.",
            )
        return {name: url for name, url in found.items() if url}

    @property
    def differences(self) -> dict[str, Any]:
        """What these settings change of what Pluto can hold."""
        different: dict[str, Any] = {"points_per_request": self.flush_every}
        different["steps_shown_every"] = self.log_every
        if self.max_files_per_run:
            different["files_per_run"] = self.max_files_per_run
        return different
