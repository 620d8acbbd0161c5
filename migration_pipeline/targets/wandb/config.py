"""Settings of the W&B target: the variables that the SDK itself reads."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from migration_pipeline.targets.registry import TargetConfig
from migration_pipeline.wandb_sdk import server_url, without_password


class WandbConfig(TargetConfig):
    """Where runs go. Without WANDB_API_KEY the key that `wandb login` left in ~/.netrc is used."""

    environment: ClassVar[dict[str, str]] = {
        "api_key": "WANDB_API_KEY",
        "entity": "WANDB_ENTITY",
        "base_url": "WANDB_BASE_URL",
        "mode": "WANDB_MODE",
        "directory": "WANDB_DIR",
        "timeout": "WANDB_HTTP_TIMEOUT",
        "forks": "MIGRATION_WANDB_FORKS",
    }

    api_key: SecretStr = Field(
        default=SecretStr(""), description="API key; empty: that of ~/.netrc (`wandb login`)"
    )
    entity: str = Field(
        default="", description="User or team that projects are made for; empty: the key's default"
    )
    base_url: str = Field(
        default="https://api.wandb.ai",
        description="Server; that of a dedicated cloud or a self-managed server otherwise",
    )
    mode: Literal["online", "offline"] = Field(
        default="online",
        description="`offline`: nothing is sent; directories for `wandb sync` are written",
    )
    directory: str = Field(
        default=".", description="Offline runs are written to the folder `wandb` in it"
    )
    timeout: float = Field(default=20.0, gt=0, description="Seconds that an answer may take")

    forks: Literal["metadata", "native"] = Field(
        default="metadata",
        description="`native`: forks share their parents' history, which is a preview that the "
        "service and dedicated clouds have on request; otherwise config says the parent and step",
    )

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end.

        Raises:
            ConfigError: it is no http(s) address.
        """
        return server_url(self.base_url)

    @property
    def address(self) -> str:
        """What messages show."""
        if self.mode == "offline":
            return self.directory
        return without_password(self.url)
