"""Settings of the Comet target: the variables that Comet itself reads, and the pace."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.comet.capabilities import CAPABILITIES
from migration_pipeline.targets.registry import TargetConfig

COMET_COM = "https://www.comet.com"
_PUBLISHED_FOR = ("comet.com", "comet.ml")
"""Hosts for which Comet has published its rates; a server of one's own has none."""


class CometConfig(TargetConfig):
    """Timeouts and certificates are Comet's own settings (COMET_TIMEOUT_HTTP,
    COMET_TIMEOUT_FILE_UPLOAD, COMET_TIMEOUT_FILE_DOWNLOAD, COMET_INTERNAL_CHECK_TLS_CERTIFICATE),
    which its SDK reads from the environment or from `.comet.config`."""

    environment: ClassVar[dict[str, str]] = {
        "api_key": "COMET_API_KEY",
        "workspace": "COMET_WORKSPACE",
        "url": "COMET_URL_OVERRIDE",
        "values_per_minute": "MIGRATION_COMET_VALUES_PER_MINUTE",
        "points_per_request": "MIGRATION_COMET_POINTS_PER_REQUEST",
    }

    api_key: SecretStr = Field(description="API key of a user who may write to the workspace")
    workspace: str = Field(
        default="", description="Workspace that gets the projects. Empty: the key's default one"
    )
    url: str = Field(
        default="",
        description="Address of a Comet of one's own, such as https://comet.example.com/clientlib/."
        f" Empty: the one that the key names, or {COMET_COM}",
    )
    values_per_minute: int | None = Field(
        default=None,
        ge=0,
        description="Values of metrics that are sent a minute, parameters and all else in "
        "proportion; 0: as many as go. Empty: as published for comet.com, and 0 elsewhere",
    )
    points_per_request: int = Field(
        default=CAPABILITIES.points_per_request,
        ge=1,
        description="Values of metrics in one request",
    )

    @property
    def root(self) -> str:
        """Scheme and host of the server.

        Raises:
            ConfigError: the address is none.
        """
        url = self.url.strip() or _url_in(self.api_key.get_secret_value()) or COMET_COM
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"COMET_URL_OVERRIDE: Comet cannot be reached by {url!r}",
                "Give an address such as https://comet.example.com/clientlib/.",
            )
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    @property
    def paces(self) -> dict[str, int]:
        """Kind of request → values a minute; what is not there is sent as fast as it goes."""
        most = self.values_per_minute
        if most is None:
            host = urlsplit(self.root).hostname or ""
            if not any(host == name or host.endswith(f".{name}") for name in _PUBLISHED_FOR):
                return {}
            most = _published("points")
        if not most:
            return {}
        kinds = {"metric": "points", "parameter": "parameters", "other": "files"}
        return {
            kind: max(most * _published(what) // _published("points"), 1)
            for kind, what in kinds.items()
        }


def _published(what: str) -> int:
    return next(rate.count for rate in CAPABILITIES.rates if rate.what == what)


def _url_in(key: str) -> str:
    """The address that a key may carry behind its `*` (comet_ml.api_key); empty: none."""
    _, _, attributes = key.partition("*")
    try:
        held: Any = json.loads(base64.b64decode(attributes + "=" * (-len(attributes) % 4)))
    except ValueError:
        return ""
    return str(held.get("baseUrl") or "") if isinstance(held, dict) else ""
