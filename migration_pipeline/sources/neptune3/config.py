"""Settings of the Neptune 3.x source."""

from __future__ import annotations

import base64
import binascii
import json

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from migration_pipeline.errors import InvalidTokenError, MissingSettingError

TOKEN_VARIABLE = "NEPTUNE_API_TOKEN"


class Neptune3Config(BaseModel):
    """How to reach the server and how hard to pull."""

    model_config = ConfigDict(frozen=True)

    api_token: SecretStr = Field(
        default=SecretStr(""), description="NEPTUNE_API_TOKEN: holds the server's address too."
    )
    workers: int = Field(default=4, ge=1, le=64, description="Requests under way at once.")
    retry_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long a request is repeated while the server answers 429, 5xx or not at "
        "all; waits that the server asks for do not count.",
    )
    connect_seconds: float = Field(
        default=30.0, gt=0, description="The same for the very first request of a process."
    )
    accept_missing_files: bool = Field(
        default=False,
        description="MIGRATION_ACCEPT_MISSING_FILES: export a run although files that it names "
        "are gone from the server's storage; its manifest names them.",
    )


def server_address(token: SecretStr) -> str:
    """The base address inside a token.

    neptune-query turns a token without `api_url` into the address "None"; here `api_address`
    stands in for it.

    Raises:
        MissingSettingError: the token is empty.
        InvalidTokenError: it is not base64, not JSON, or holds no address.
    """
    text = token.get_secret_value().strip()
    if not text:
        raise MissingSettingError(TOKEN_VARIABLE, "reading from a Neptune server")
    try:
        content = json.loads(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidTokenError(TOKEN_VARIABLE, "it is not base64 text of a JSON object") from None
    address = isinstance(content, dict) and (content.get("api_url") or content.get("api_address"))
    if not isinstance(address, str) or not address.startswith(("http://", "https://")):
        raise InvalidTokenError(TOKEN_VARIABLE, "it holds no server address")
    return address
