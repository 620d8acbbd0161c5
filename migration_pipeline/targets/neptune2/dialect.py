"""In what the clients of the 2.x protocol differ, and the settings of their users."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from migration_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Dialect:
    """One client of the protocol.

    Args:
        target: name of the target.
        product: what its users call the service.
        package: the client; both have the same modules below it.
        token_variable: the setting, for messages.
        elsewhere: what to set so that runs go elsewhere, as the end of a sentence.
        own_host: addresses begin with the token's host, whatever the server's documents say.
        configured: the server tells in its client configuration where its API and its pages are,
            and which clients it takes.
        organization: requests that write name the workspace as well.
        words: NaN, infinities and −0.0 are sent as words.
        any_file: series take any file, not only images.
        minimum: where the server tells the oldest client that it takes; empty: nowhere.
        pages: where people look at runs, by a part of the server's host; "" is for all others.
            `{base}`, `{project}` and `{id}` are filled in.
    """

    target: str
    product: str
    package: str
    token_variable: str
    elsewhere: str
    own_host: bool
    configured: bool
    organization: bool
    words: bool
    any_file: bool
    minimum: str
    pages: dict[str, str]

    def url(self, base: str, project: str, sys_id: str) -> str:
        """The page of a run, where the server's pages are at `base`."""
        host = urlsplit(base).netloc.lower()
        found = next((page for part, page in self.pages.items() if part and part in host), None)
        return (found or self.pages[""]).format(base=base, project=project, id=sys_id)


@dataclass(frozen=True)
class Server:
    """A server, and the token for it."""

    dialect: Dialect
    token: SecretStr

    @property
    def address(self) -> str:
        """The server's, from the token.

        Raises:
            ConfigError: the token is none.
        """
        variable = self.dialect.token_variable
        text = self.token.get_secret_value().strip()
        if "," in text:
            raise ConfigError(
                f"{variable} holds several tokens",
                "Give one: a load goes to one server. Load again with the other one.",
            )
        try:
            content = json.loads(base64.b64decode(text, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise self._no_token("it is not base64 text of a JSON object") from None
        fields = ("api_address",) if self.dialect.own_host else ("api_url", "api_address")
        found = content if isinstance(content, dict) else {}
        address = next((found[field] for field in fields if found.get(field)), None)
        if not isinstance(address, str) or not address.startswith(("http://", "https://")):
            raise self._no_token("it holds no server address")
        if urlsplit(address).username or urlsplit(address).password:
            raise self._no_token("its address holds a user name or a password")
        return address.rstrip("/")

    def _no_token(self, reason: str) -> ConfigError:
        return ConfigError(
            f"{self.dialect.token_variable} is not an API token: {reason}",
            f"Copy the whole token from the user menu of {self.dialect.product}.",
        )


@dataclass(frozen=True)
class Place:
    """A project of a server; the server itself where that is empty."""

    server: Server
    project: str

    @property
    def dialect(self) -> Dialect:
        return self.server.dialect

    @property
    def address(self) -> str:
        """Server and project, as messages show them."""
        return f"{self.server.address}/{self.project}".rstrip("/")
