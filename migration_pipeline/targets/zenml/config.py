"""Settings of the ZenML target: the variables that ZenML itself reads.

Without any, what `zenml login`, `zenml project set` and `zenml stack set` have written is used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import yaml  # type: ignore[import-untyped]
from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError, MissingSettingError
from migration_pipeline.targets.registry import TargetConfig

SCHEMES = ("http", "https", "sqlite", "mysql")


class ZenmlConfig(TargetConfig):
    """Where runs go: a ZenML server or store, a project there, and the stack whose artifact store
    takes the files."""

    environment: ClassVar[dict[str, str]] = {
        "store_url": "ZENML_STORE_URL",
        "api_key": "ZENML_STORE_API_KEY",
        "config_path": "ZENML_CONFIG_PATH",
        "project": "ZENML_ACTIVE_PROJECT_ID",
        "stack": "ZENML_ACTIVE_STACK_ID",
    }

    store_url: SecretStr = Field(
        default=SecretStr(""),
        description="http(s)://server, or sqlite:///path/to/zenml.db for a store without a server. "
        "Empty: the one that `zenml login` chose. Secret because it may hold a password",
    )
    api_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key of a service account of that server. Empty: the session that "
        "`zenml login` began",
    )
    config_path: str = Field(
        default="",
        description="The folder of ZenML's configuration. Empty: ZenML's own for this user",
    )
    project: str = Field(
        default="",
        description="Name or id of the ZenML project that gets the models. Empty: the active one",
    )
    stack: str = Field(
        default="",
        description="Name or id of the stack whose artifact store gets the data and the files. "
        "Empty: the active one",
    )

    @property
    def folder(self) -> Path:
        """Where ZenML keeps its configuration; as `click.get_app_dir("zenml")` says."""
        if self.config_path:
            return Path(self.config_path).absolute()
        if sys.platform == "darwin":
            return Path("~/Library/Application Support/zenml").expanduser()
        return Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "zenml"

    @property
    def url(self) -> str:
        """The address of the store, perhaps with credentials.

        Raises:
            MissingSettingError: none is set, and ZenML was never used here.
            ConfigError: it is of an unknown kind, or ZenML's configuration cannot be read.
        """
        url = self.store_url.get_secret_value().strip().rstrip("/")
        if not url:
            return self._configured()
        scheme = url.partition(":")[0].lower()
        if scheme not in SCHEMES or "://" not in url:
            shown = scheme if "://" in url else url
            raise ConfigError(
                f"ZENML_STORE_URL: ZenML cannot be reached by {shown!r}",
                f"Give an address that begins with one of {', '.join(s + '://' for s in SCHEMES)}.",
            )
        return url

    def _configured(self) -> str:
        file = self.folder / "config.yaml"
        if not file.exists():
            raise MissingSettingError(
                "ZENML_STORE_URL",
                f"the address of ZenML (there is no {file} either, which `zenml login` writes)",
            )
        try:
            found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"ZenML's configuration {file} cannot be read: {type(error).__name__}",
                "Correct it, or run `zenml login` again.",
            ) from None
        store = found.get("store") if isinstance(found, dict) else None
        if isinstance(store, dict) and store.get("url"):
            return str(store["url"])
        stores = os.environ.get("ZENML_LOCAL_STORES_PATH") or str(self.folder / "local_stores")
        return f"sqlite:///{stores}/default_zen_store/zenml.db"

    @property
    def address(self) -> str:
        """The address as messages may show it."""
        url = self.url
        if url.startswith("sqlite:"):
            return url
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
