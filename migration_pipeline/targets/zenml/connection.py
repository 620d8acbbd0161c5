"""The one place where zenml is imported, made quiet, and its errors are given our names.

ZenML's client is a singleton over global state that is filled from the environment. It is filled
here once a connection, under a lock; what is kept of it, the store and the artifact store, belongs
to that connection and is not touched by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from migration_pipeline.errors import (
    MigrationError,
    MissingExtraError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.zenml.capabilities import TESTED
from migration_pipeline.targets.zenml.config import ZenmlConfig

log = logging.getLogger(__name__)
_QUIET = {
    # Nothing of this machine is told to anyone.
    "ZENML_ANALYTICS_OPT_IN": "false",
    "ZENML_AUTO_OPEN_DASHBOARD": "false",
    "ZENML_DISABLE_CLIENT_SERVER_MISMATCH_WARNING": "true",
    "ZENML_ENABLE_REPO_INIT_WARNINGS": "false",
    "ZENML_ENABLE_RICH_TRACEBACK": "false",
    "ZENML_LOGGING_VERBOSITY": "ERROR",
}
_PROBE_SECONDS = 5
_lock = threading.Lock()
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PASSING = ("Cannot connect to the ZenML server", "Error connecting to URL", "database is locked")
"""Of errors that ZenML, or a server of it, has put into a RuntimeError."""
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Opened:
    """What a connection keeps.

    Args:
        store: ZenML's store: an SQL database or the REST client of a server.
        artifacts: the artifact store of the stack.
        artifact_store, project: their ids.
        dashboard: what the addresses of its pages begin with; empty: there are none.
        api: ZenML's own classes, by name.
    """

    store: Any
    artifacts: Any
    artifact_store: UUID
    project: UUID
    dashboard: str
    api: Any


class Connection:
    """One ZenML store, opened on first use after a quick look whether anyone is there: ZenML's own
    way of finding that out takes half a minute."""

    def __init__(self, config: ZenmlConfig) -> None:
        self._config = config
        self.url = config.url
        self.address = config.address
        self._secrets = _secrets_of(self.url, config)

    @property
    def over_http(self) -> bool:
        return self.url.startswith(("http:", "https:"))

    @property
    def one_writer(self) -> bool:
        return self.url.startswith("sqlite:")

    @cached_property
    def _opened(self) -> Opened:
        with _lock, self.calls("opening it"):
            found: Opened | None = self.__dict__.get("_opened")
            if found is not None:  # another thread was faster
                return found
            for name, value in _QUIET.items():
                os.environ.setdefault(name, value)
            if not getattr(sys.modules["__main__"], "__file__", None):
                # Workers of other processes have none; ZenML would not know where code lies.
                os.environ.setdefault("ZENML_CUSTOM_SOURCE_ROOT", os.getcwd())
            self._give_settings()
            with _as_it_was():
                self.probe()
                opened = self.__dict__["_opened"] = self._open()
            return opened

    @property
    def store(self) -> Any:
        return self._opened.store

    @property
    def artifacts(self) -> Any:
        return self._opened.artifacts

    @property
    def api(self) -> Any:
        return self._opened.api

    @property
    def project(self) -> UUID:
        return self._opened.project

    @property
    def artifact_store(self) -> UUID:
        return self._opened.artifact_store

    def page(self, version: UUID | str) -> str:
        """The address of the page of a model version; empty where there is no dashboard."""
        dashboard = self._opened.dashboard
        return f"{dashboard}/model-versions/{version}" if dashboard else ""

    def _give_settings(self) -> None:
        """ZenML reads its settings from the environment, whenever it needs them."""
        config = self._config
        for name, value in (
            ("ZENML_CONFIG_PATH", config.config_path),
            ("ZENML_STORE_URL", config.store_url.get_secret_value().strip().rstrip("/")),
            ("ZENML_STORE_API_KEY", config.api_key.get_secret_value()),
        ):
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        # Names are allowed here, and looked up below; ZenML itself takes ids only.
        for name in ("ZENML_ACTIVE_PROJECT_ID", "ZENML_ACTIVE_STACK_ID"):
            os.environ.pop(name, None)

    def _open(self) -> Opened:
        try:
            from zenml.client import Client
            from zenml.config.global_config import GlobalConfiguration
            from zenml.login.credentials_store import CredentialsStore
            from zenml.stack.stack_component import StackComponent

            from migration_pipeline.targets.zenml import api
        except ImportError as error:
            raise MissingExtraError("zenml", "zenml", str(error.name)) from error
        CredentialsStore.reset_instance()
        GlobalConfiguration._reset_instance()
        Client._reset_instance()
        try:
            client = Client()
            store = client.zen_store
        except ImportError as error:  # the parts that only a store without a server needs
            raise MissingExtraError("zenml", "zenml", str(error.name)) from error
        project = self._chosen(
            "ZenML project", self._config.project, store.get_project, lambda: client.active_project
        )
        stack = self._chosen(
            "stack", self._config.stack, client.get_stack, lambda: client.active_stack_model
        )
        component = stack.components[api.StackComponentType.ARTIFACT_STORE][0]
        artifacts = StackComponent.from_model(component)
        if self.over_http and "://" not in artifacts.path:
            log.warning(
                "The artifact store of stack %s is the folder %s of this machine: others will see "
                "the cards of %s, but not the data. Choose a stack with a shared artifact store.",
                stack.name,
                artifacts.path,
                self.address,
            )
        return Opened(
            store=store,
            artifacts=artifacts,
            artifact_store=artifacts.id,
            project=project.id,
            dashboard=self._dashboard(store, project.id),
            api=api,
        )

    def _chosen(self, what: str, name: str, get: Any, active: Any) -> Any:
        try:
            return get(name) if name else active()
        except (KeyError, RuntimeError) as error:
            setting = "ZENML_ACTIVE_PROJECT_ID" if "project" in what else "ZENML_ACTIVE_STACK_ID"
            said = f"there is no {what} {name!r}" if name else f"no {what} is active"
            raise TargetRefusedError(
                f"{said} at {self.address} ({self.scrub(str(error))[:200]})",
                f"Set {setting} to its name or id.",
            ) from None

    def _dashboard(self, store: Any, project: UUID) -> str:
        """As zenml.utils.dashboard_utils has it: the open-source dashboard has no page for a model
        version."""
        info = store.get_store_info() if self.over_http else None
        if info is None or str(info.deployment_type) != "cloud":
            return ""
        return f"{str(info.dashboard_url).rstrip('/')}/projects/{project}"

    def probe(self) -> None:
        """Raises within seconds if nobody is there, it is of an untested version, or nothing may
        be written."""
        if self.over_http:
            self._probe_http()
        elif self.one_writer:
            self._probe_sqlite()

    def _probe_http(self) -> None:
        import requests

        try:
            answer = requests.get(f"{self.url}/api/v1/info", timeout=_PROBE_SECONDS)
        except requests.RequestException as error:
            raise TargetUnavailableError(
                "zenml", self.address, self.scrub(str(error))[:300]
            ) from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise TargetUnavailableError(
                "zenml", self.address, f"it answers with status {answer.status_code}"
            )
        try:
            version = str(answer.json()["version"])
        except (ValueError, KeyError, TypeError):
            raise TargetRefusedError(
                f"what answers at {self.address} is not ZenML (status {answer.status_code})",
                "Correct ZENML_STORE_URL.",
            ) from None
        if not version.startswith(TESTED):
            raise TargetRefusedError(
                f"target zenml at {self.address} is of version {version}, and only {TESTED}x was "
                "tried",
                f"Load into a server of version {TESTED}x; it may be upgraded afterwards.",
            )

    def _probe_sqlite(self) -> None:
        path = self.database
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        for place in (path, folder):
            if place.exists() and not os.access(place, os.W_OK):
                raise self._read_only(f"this user may not write {place}")
        if not folder.is_dir():
            raise self._read_only(f"{folder} is a file")
        if path.exists() and path.stat().st_size:
            with path.open("rb") as stream:
                if stream.read(15) != b"SQLite format 3":
                    raise TargetRefusedError(
                        f"{self.address} is not an SQLite database", "Correct ZENML_STORE_URL."
                    )

    @property
    def database(self) -> Path:
        """The file of an sqlite:/// address."""
        return Path(unquote(self.url.split("://", 1)[1][1:].partition("?")[0])).absolute()

    def has_tables(self) -> bool:
        """Whether opening the store would find one: ZenML makes an SQLite file that is not there.
        A server, and a MySQL database, are made by others."""
        return not self.one_writer or self.database.exists()

    def _read_only(self, reason: str) -> TargetRefusedError:
        return TargetRefusedError(
            f"target zenml at {self.address} is read-only: {reason}",
            "Give this user the right to write there.",
        )

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Gives the errors of ZenML, its HTTP client, its database and its artifact store our
        names.

        Args:
            doing: what was being done, for the message.
        """
        try:
            yield
        except MigrationError:
            raise
        except Exception as error:
            raise self._named(error, doing) from None

    def _named(self, error: Exception, doing: str) -> TargetError:
        text = " ".join(self.scrub(str(error)).split())[:500]
        kind = type(error)
        module = kind.__module__.partition(".")[0]
        if kind.__name__ in ("AuthorizationException", "CredentialsNotValid"):
            return TargetRefusedError(
                f"target zenml at {self.address} refuses the credentials: {text}",
                "Set ZENML_STORE_API_KEY to the key of a service account, or run "
                f"`zenml login {self.address}`.",
            )
        if isinstance(error, OSError) and error.errno in _READ_ONLY:
            return self._read_only(f"{doing}: {text}")
        if "readonly database" in text or "read-only" in text:
            return self._read_only(text)
        if (isinstance(error, OSError) and error.errno in _FULL) or "disk is full" in text:
            return TargetRefusedError(
                f"target zenml at {self.address} has no space left, {doing}: {text}",
                "Free some and start again; runs that are complete are not sent again.",
            )
        if "Can't locate revision" in text:
            return TargetRefusedError(
                f"the database of ZenML at {self.address} has another schema version: {text}",
                "Install the ZenML that it belongs to.",
            )
        unreachable = module in ("requests", "urllib3") or (
            module == "sqlalchemy" and kind.__name__ == "OperationalError"
        )
        if unreachable or any(said in text for said in _PASSING):
            return TargetUnavailableError("zenml", self.address, f"{doing}: {text}")
        return TargetRefusedError(
            f"target zenml at {self.address}, {doing}: {kind.__name__}: {text}",
            "Correct what it names and start again; runs that are complete are not sent again.",
        )

    def scrub(self, text: str) -> str:
        """Text without passwords and keys."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Importing zenml takes over the root logger, the hook for uncaught exceptions, and what is
    written to the standard streams."""
    root, hook = logging.getLogger(), sys.excepthook
    level, handlers = root.level, list(root.handlers)
    own = [getattr(stream, "__dict__", {}) for stream in (sys.stdout, sys.stderr)]
    writes = [attributes.get("write") for attributes in own]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        sys.excepthook = hook
        for attributes, write in zip(own, writes, strict=True):
            if write is not None:
                attributes["write"] = write
            else:
                attributes.pop("write", None)
        logging.getLogger("zenml").setLevel(logging.ERROR)


def _secrets_of(url: str, config: ZenmlConfig) -> tuple[str, ...]:
    parts = urlsplit(url)
    password = parts.password or ""
    userinfo = parts.netloc.rpartition("@")[0]
    key = config.api_key.get_secret_value()
    return tuple(s for s in (userinfo, password, unquote(password), key) if s)
