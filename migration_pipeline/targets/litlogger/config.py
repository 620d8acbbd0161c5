"""Settings of the litlogger target: the variables that Lightning's SDK itself reads, and ours."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.litlogger.capabilities import REQUESTS_PER_SECOND
from migration_pipeline.targets.registry import TargetConfig


class LitloggerConfig(TargetConfig):
    """Who loads, and where: without a key, the session that `lightning login` began."""

    environment: ClassVar[dict[str, str]] = {
        "api_key": "LIGHTNING_API_KEY",
        "user_id": "LIGHTNING_USER_ID",
        "cloud_url": "LIGHTNING_CLOUD_URL",
        "owner": "LITLOGGER_OWNER",
        "requests_per_second": "LITLOGGER_REQUESTS_PER_SECOND",
        "visible_seconds": "LITLOGGER_VISIBLE_SECONDS",
        "read_timeout": "LIGHTNING_CLOUD_READ_TIMEOUT",
    }

    api_key: SecretStr = Field(
        default=SecretStr(""),
        description="API key of lightning.ai. Empty: the session that `lightning login` began",
    )
    user_id: str = Field(default="", description="Id of the user that the key belongs to")
    cloud_url: str = Field(
        default="https://lightning.ai", description="Address of Lightning's platform"
    )
    owner: str = Field(
        default="",
        description="Name of the user or organization in which teamspaces are made. "
        "Empty: the user that loads",
    )
    requests_per_second: float = Field(
        default=REQUESTS_PER_SECOND,
        ge=0,
        description="Requests with points, 1,000 each, in a second. Lightning's own client "
        "sends one, to respect limits that are not published. 0: as fast as they are taken",
    )
    visible_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How long to wait until points that were sent can be read: the service shows "
        "them seconds later",
    )
    read_timeout: float = Field(
        default=30.0, gt=0, description="Seconds of silence after which an answer is given up"
    )

    @property
    def address(self) -> str:
        """The address, as messages may show it.

        Raises:
            ConfigError: it is none.
        """
        url = self.cloud_url.strip().rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ConfigError(
                "LIGHTNING_CLOUD_URL is no address of Lightning's platform",
                "Give one such as https://lightning.ai, without credentials, or unset it.",
            )
        return url
