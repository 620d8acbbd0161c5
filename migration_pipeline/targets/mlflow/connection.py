"""The one place where mlflow is imported, made quiet, and its errors are given our names."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from migration_pipeline.errors import (
    ConfigError,
    MigrationError,
    MissingExtraError,
    MissingSettingError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.mlflow.capabilities import TESTED_SCHEMAS
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.mlflow.metrics import ClientMetrics, HttpMetrics, Metrics
from migration_pipeline.targets.mlflow.rest import Rest

if TYPE_CHECKING:
    from migration_pipeline.targets.mlflow.tables import Tables

log = logging.getLogger(__name__)

_ENVIRONMENT = {
    # Nothing of this machine is told to anyone.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # 2 + 4 + 8 s between tries; the default of 7 takes minutes to say that nobody is there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # Values are cut here, visibly; what still is too long must fail and not shrink.
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
}
_PROBE_SECONDS = 5
LOCK_SECONDS = 10.0
"""How long another writer of an SQLite file is waited for."""
_TABLES_LOCK = 0x6D6C_666C_6F77
"""Any number that others do not use for PostgreSQL's advisory locks."""
_NO_ROOM = ("database or disk is full", "No space left on device", "could not extend file")
_NO_RIGHT = ("readonly database", "read-only", "permission denied for")
_NO_ENTRY = re.compile(
    r"(password|peer|ident) authentication failed|no password supplied|no pg_hba.conf entry"
    r'|(role|database) ".*" does not exist|permission denied for database'
)
"""What databases say, in English as they do by default."""
_lock = threading.Lock()


def _quiet() -> None:
    """Defaults for mlflow's own switches; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class Connection:
    """MLflow's client for one address, opened on first use after a quick look whether anyone is
    there: MLflow's own way of finding that out takes minutes."""

    def __init__(self, config: MlflowConfig) -> None:
        self.uri = _absolute(config.uri)
        self.address = config.address
        self._artifact_root = config.artifact_root
        self._secrets = _secrets_of(self.uri)

    @property
    def over_http(self) -> bool:
        return self.uri.startswith(("http:", "https:"))

    @property
    def one_writer(self) -> bool:
        return self.uri.startswith("sqlite:")

    @cached_property
    def _opened(self) -> tuple[Any, Any]:
        with _lock:
            _quiet()
            try:
                import mlflow
                from mlflow import entities
            except ImportError as error:
                raise MissingExtraError("mlflow", "mlflow", "mlflow") from error
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            # It logs each database error with a traceback; they reach us as exceptions anyway.
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
            with self.calls("opening it"):
                self.probe()
                with self._alone():
                    return mlflow.MlflowClient(self.uri), entities

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time opens a database: MLflow makes its tables then, and two that find
        none get into each other's way. A server does that for itself."""
        if self.one_writer:
            name = hashlib.blake2b(self.uri.encode(), digest_size=8).hexdigest()
            with open(Path(tempfile.gettempdir()) / f"mlflow-{name}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        elif not self.over_http:
            import sqlalchemy

            engine = sqlalchemy.create_engine(self.uri)
            try:
                with engine.connect() as session:
                    session.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({_TABLES_LOCK})"))
                    yield
            finally:
                engine.dispose()  # the session ends, and its lock with it
        else:
            yield

    @property
    def client(self) -> Any:
        """`mlflow.MlflowClient`."""
        return self._opened[0]

    @property
    def entities(self) -> Any:
        """The module `mlflow.entities`."""
        return self._opened[1]

    @cached_property
    def tables(self) -> Tables | None:
        """MLflow's own tables, where the address is a database whose schema was tested."""
        if self.over_http:
            return None
        from migration_pipeline.targets.mlflow.tables import Tables

        assert self.client is not None  # makes the tables where there are none
        with self.calls("looking at its tables"):
            tables = Tables(self.uri)
            if (schema := tables.schema) in TESTED_SCHEMAS:
                return tables
            tables.close()
        log.warning(
            "mlflow at %s: its tables have version %s, which was not tested; points go through "
            "MLflow's client, which is slower",
            self.address,
            schema,
        )
        return None

    @property
    def rest(self) -> Rest:
        """Plain requests, where the address is a server's."""
        assert self.client is not None  # which looks whether anyone is there
        return Rest(self.uri)

    @cached_property
    def metrics(self) -> Metrics:
        """The way for points of metrics."""
        if self.over_http:
            return HttpMetrics(self.rest)
        return self.tables or ClientMetrics(self.client, self.entities.Metric)

    def artifacts(self, artifact_uri: str) -> Any:
        """Lists and downloads the files of one run."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(artifact_uri, tracking_uri=self.uri)

    def artifact_location(self, folder: str) -> str | None:
        """Where an experiment made by us keeps its files; None: the server decides.

        Raises:
            MissingSettingError: the address is a database that is no file, and none is set.
        """
        root = self._artifact_root
        if self.over_http and not root:
            return None
        if not root and self.one_writer:
            path = _sqlite_path(self.uri)
            root = str(path.parent / "mlartifacts") if path else ""
        if not root:
            raise MissingSettingError(
                "MLFLOW_ARTIFACT_ROOT", f"the files of runs at {self.address}"
            )
        if "://" in root:
            return f"{root.rstrip('/')}/{folder}"
        return (Path(root).absolute() / folder).as_uri()

    def probe(self) -> None:
        """Raises within about 15 s if nobody is there or nothing may be written."""
        if self.over_http:
            self._probe_http()
        elif self.one_writer:
            self._probe_sqlite()
        else:
            self._probe_database()

    def _probe_http(self) -> None:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        answer = http_request(
            get_default_host_creds(self.uri),
            "/api/2.0/mlflow/experiments/search",
            "POST",
            json={"max_results": 1},
            max_retries=1,
            timeout=_PROBE_SECONDS,
            raise_on_status=False,
        )
        if answer.status_code in (401, 403):
            raise TargetRefusedError(
                f"target mlflow at {self.address} refuses the credentials "
                f"(status {answer.status_code})",
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN.",
            )
        if answer.status_code >= 500 or answer.status_code == 429:
            raise TargetUnavailableError(
                "mlflow", self.address, f"it answers with status {answer.status_code}"
            )
        if answer.status_code != 200 or not answer.text.lstrip().startswith("{"):
            raise TargetRefusedError(
                f"what answers at {self.address} is not MLflow (status {answer.status_code})",
                "Correct MLFLOW_TRACKING_URI.",
            )

    def _probe_sqlite(self) -> None:
        path = _sqlite_path(self.uri)
        if path is None:
            return
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._read_only(str(error)) from error
            return
        if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
            raise self._read_only("this user may not write there")
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            raise TargetUnavailableError("mlflow", self.address, str(error)) from error
        except sqlite3.DatabaseError as error:
            raise TargetRefusedError(
                f"{self.address} is not an SQLite database: {error}", "Correct MLFLOW_TRACKING_URI."
            ) from error

    def _read_only(self, reason: str) -> TargetRefusedError:
        what = "the file and its folder" if self.one_writer else "MLflow's tables"
        return TargetRefusedError(
            f"target mlflow at {self.address} is read-only: {reason}",
            f"Give this user the right to write {what}.",
        )

    def _probe_database(self) -> None:
        import sqlalchemy

        try:
            engine = sqlalchemy.create_engine(
                self.uri, connect_args={"connect_timeout": _PROBE_SECONDS}
            )
        except ImportError as error:
            raise ConfigError(
                f"{self.address} needs the Python package {error.name}, which is not installed",
                f"Install it, for instance with `pip install {error.name}-binary`.",
            ) from error
        try:
            with engine.connect():
                pass
        finally:
            engine.dispose()

    def has_tables(self) -> bool:
        """Whether a database has MLflow's tables: it makes them where it finds none. A server has
        made its own."""
        if self.over_http or "file:" in self.uri:
            return True
        path = _sqlite_path(self.uri) if self.one_writer else None
        if path is not None and not path.exists():
            return False
        with self.calls("looking for its tables"):
            import sqlalchemy

            # Without mode=ro SQLite would make the file.
            read_only = f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true"
            engine = sqlalchemy.create_engine(read_only if path else self.uri)
            try:
                return bool(sqlalchemy.inspect(engine).has_table("experiments"))
            finally:
                engine.dispose()

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Gives the errors of MLflow, its HTTP client and its database our names.

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
        text = self.scrub(str(error)).strip().split("\n")[0][:500]
        kind = type(error)
        code = str(getattr(error, "error_code", ""))
        module = kind.__module__.partition(".")[0]
        if "out-of-date database schema" in text or "Can't locate revision" in text:
            return TargetRefusedError(
                f"the database of MLflow at {self.address} has another schema version: {text}",
                "Back it up and run `mlflow db upgrade`, or install the MLflow that it belongs to.",
            )
        if any(said in text for said in _NO_ROOM):
            return TargetRefusedError(
                f"target mlflow at {self.address}, {doing}: no room is left: {text}",
                "Make room and start again; what has arrived is not sent again.",
            )
        if _NO_ENTRY.search(text):
            return TargetRefusedError(
                f"the database server of mlflow at {self.address} refuses: {text}",
                "Correct user, password and database in MLFLOW_TRACKING_URI.",
            )
        if any(said in text for said in _NO_RIGHT):
            return self._read_only(text)
        unreachable = module in ("requests", "urllib3") or (
            module == "sqlalchemy" and kind.__name__ == "OperationalError"
        )
        busy = code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED") or (
            "failed with exception" in text and "API request to" in text
        )
        if unreachable or busy:
            return TargetUnavailableError("mlflow", self.address, f"{doing}: {text}")
        return TargetRefusedError(
            f"target mlflow at {self.address}, {doing}: {kind.__name__}: {text}",
            "Correct what it names and start again; runs that are complete are not sent again.",
        )

    def scrub(self, text: str) -> str:
        """Text without passwords and tokens."""
        for secret in (
            *self._secrets,
            os.environ.get("MLFLOW_TRACKING_PASSWORD", ""),
            os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
        ):
            if secret:
                text = text.replace(secret, "***")
        return text


def _secrets_of(uri: str) -> tuple[str, ...]:
    parts = urlsplit(uri)
    password = parts.password or ""
    userinfo = parts.netloc.rpartition("@")[0]
    return tuple(s for s in (userinfo, password, unquote(password), parts.query) if s)


def _sqlite_path(uri: str) -> Path | None:
    """The file of an sqlite:/// address; None for the form `file:…?uri=true`."""
    path = unquote(uri.split("://", 1)[1][1:].partition("?")[0])
    return None if path.startswith("file:") else Path(path)


def _absolute(uri: str) -> str:
    """An SQLite address that does not depend on the working directory."""
    if not uri.startswith("sqlite:") or (path := _sqlite_path(uri)) is None:
        return uri
    _, mark, query = uri.partition("?")
    return f"sqlite:///{path.absolute()}{mark}{query}"
