"""Settings of the W&B source: where its server is, or where its folders lie."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from migration_pipeline.wandb_sdk import server_url

KEY_VARIABLE = "WANDB_API_KEY"


class WandbSourceConfig(BaseModel):
    """How to reach the server and how hard to pull, or which folders to read instead."""

    model_config = ConfigDict(frozen=True)

    api_key: SecretStr = Field(
        default=SecretStr(""), description="WANDB_API_KEY; empty: that of ~/.netrc (`wandb login`)."
    )
    base_url: str = Field(default="https://api.wandb.ai", description="WANDB_BASE_URL: the server.")
    entity: str = Field(
        default="",
        description="WANDB_ENTITY: users and teams, comma-separated, whose projects are listed; "
        "empty: the key's default entity.",
    )
    local_paths: tuple[Path, ...] = Field(
        default=(),
        description="MIGRATION_LOCAL_PATH: folders in which `run-*` and `offline-run-*` are looked "
        "for; then no server is asked.",
    )
    workers: int = Field(default=4, ge=1, le=64, description="Requests under way at once.")
    retry_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long a request is repeated while the server answers 429, 5xx or not at "
        "all.",
    )
    accept_missing_files: bool = Field(
        default=False,
        description="MIGRATION_ACCEPT_MISSING_FILES: export a run although files that it names "
        "are gone; its manifest names them.",
    )

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end.

        Raises:
            ConfigError: it is no http(s) address.
        """
        return server_url(self.base_url)

    @property
    def entities(self) -> list[str]:
        return [name for part in self.entity.split(",") if (name := part.strip())]
