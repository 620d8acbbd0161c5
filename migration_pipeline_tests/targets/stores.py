"""Real MLflow stores for tests: an SQLite file copied from one whose tables were made once, and a
tracking server on loopback."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline_tests.machine import lacks


@functools.cache
def _template() -> Path:
    """Making the tables takes MLflow seconds; copying the file takes none."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    MlflowTarget(MlflowConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db")).check()
    return folder / "mlflow.db"


def sqlite_uri(folder: Path) -> str:
    """The address of a new, empty store below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


def sqlite_target(folder: Path) -> MlflowTarget:
    return MlflowTarget(MlflowConfig(tracking_uri=sqlite_uri(folder)))


POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1/postgres")


def psql(command: str, check: bool = True) -> bool:
    """Whether a statement went well on the local PostgreSQL server."""
    done = subprocess.run(["psql", "-q", POSTGRES, "-c", command], capture_output=True, check=check)
    return not done.returncode


@contextlib.contextmanager
def postgres_database() -> Iterator[str]:
    """The address of a new database on the local server; without a server the test is skipped."""
    name = f"migration_test_{os.getpid()}_{time.time_ns()}"
    if shutil.which("psql") is None or not psql(f"CREATE DATABASE {name}", check=False):
        lacks("no PostgreSQL server on this machine")
    try:
        yield f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
    finally:
        psql(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A real `mlflow server`; yields its address."""
    uri = sqlite_uri(folder)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    # Its job runners start processes of their own, and are of no use here.
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with in_a_process(command, quiet, port, folder / "server.log") as address:
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def in_a_process(
    command: list[str], environment: dict[str, str], port: int, log: Path
) -> Iterator[str]:
    """A server that answers `/health` once it is ready; yields its address."""
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
        try:
            _wait_for(address, process)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.3)
    raise RuntimeError(f"the server did not start: {' '.join(map(str, process.args))}")
