"""Several machines on this one: a corner of a broker, a database, workers as real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

import migration_pipeline
from migration_pipeline import deploy
from migration_pipeline_tests.machine import lacks

ROOT = Path(migration_pipeline.__file__).parents[1]
DEPLOYED = Path(deploy.__file__).parent / "dagster.yaml"
BIN = Path(sys.executable).parent
RABBITMQ = os.environ.get("MIGRATION_TEST_RABBITMQ", "pyamqp://guest:guest@127.0.0.1:5672")
REDIS = os.environ.get("MIGRATION_TEST_REDIS", "redis://127.0.0.1:6379")
QUIET = """
compute_logs:  # what steps print goes where their process prints: no two watchers for each of them
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
REDIS_DATABASE = 13
"""Emptied by the tests; nobody else's by custom."""


def answers(address: str) -> bool:
    """Whether something listens at the port of an address."""
    host, _, port = address.rpartition("@")[2].rpartition("//")[2].partition("/")[0].partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """A virtual host of its own on the local RabbitMQ; without one the test is skipped."""
    if shutil.which("rabbitmqctl") is None or not answers(RABBITMQ):
        lacks("no RabbitMQ on this machine")
    name = f"migration_test_{os.getpid()}_{time.time_ns()}"
    control("add_vhost", name)
    try:
        control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield f"{RABBITMQ}/{name}"
    finally:
        control("delete_vhost", name)


def control(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A database of the local Redis; without one the test is skipped."""
    if shutil.which("redis-cli") is None or not answers(REDIS):
        lacks("no Redis on this machine")
    address = f"{REDIS}/{REDIS_DATABASE}"
    subprocess.run(["redis-cli", "-u", address, "flushdb"], check=True, capture_output=True)
    yield address
    subprocess.run(["redis-cli", "-u", address, "flushdb"], check=True, capture_output=True)


@dataclass
class Machines:
    """A DAGSTER_HOME with the settings for several machines, and what is started in it.

    Args:
        folder: holds the home, the shared path and the archive.
        celery: the file that workers read.
    """

    folder: Path
    environment: dict[str, str]
    celery: Path = deploy.CELERY
    by_name: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def worker(self, name: str, before: Sequence[str] = (), **more: str) -> subprocess.Popen[str]:
        """A worker with one process; it takes steps as soon as it is ready.

        Args:
            before: words of a command that starts the worker's.
        """
        command = [
            *before,
            str(BIN / "dagster-celery"),
            "worker",
            "start",
            "-A",
            "dagster_celery.app",
        ]
        command += ["-y", str(self.celery), "-n", name, "-l", "INFO", "--", "-c", "1"]
        return self.start(name, command, more)

    def ready(self, *workers: subprocess.Popen[str]) -> None:
        """Waits until they take steps."""
        until(lambda: all(" ready." in self.said(worker) for worker in workers), *workers)

    def job(
        self, job: str, *arguments: str, dagster: Sequence[str] = ("-m", "dagster"), **more: str
    ) -> subprocess.Popen[str]:
        """`dagster job execute`.

        Args:
            dagster: what Python is told to run as Dagster's command line.
        """
        command = [sys.executable, *dagster, "job", "execute", "-j", job]
        command += ["-m", "migration_pipeline.definitions", *arguments]
        return self.start(f"job-{len(self._started)}", command, more)

    def start(
        self, name: str, command: list[str], more: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """A process with these machines' settings."""
        kept = {n: os.environ[n] for n in ("HOME", "LANG") if n in os.environ}
        environment = {
            **kept,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(self.home),
            "MIGRATION_SHARED_PATH": str(self.folder / "shared"),
            "MIGRATION_DATA_PATH": str(self.data),
            "MIGRATION_FILES_PATH": str(self.files),
            **self.environment,
            **more,
        }
        with self.log(name).open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        process.log = self.log(name)  # type: ignore[attr-defined]
        self._started.append(process)
        self.by_name[name] = process
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self, process: subprocess.Popen[str]) -> str:
        """What a process has printed so far."""
        text: str = process.log.read_text()  # type: ignore[attr-defined]
        return text

    def finish(self, process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str]:
        """Exit code, and what it printed."""
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            logs = {log.name: log.read_text()[-3000:] for log in self.folder.glob("*.log")}
            raise AssertionError("\n".join(f"== {n}\n{text}" for n, text in logs.items())) from None
        return code, self.said(process)

    def instance(self) -> dg.DagsterInstance:
        """The same storage as the processes have; the caller closes it."""
        os.environ["DAGSTER_POSTGRES_URL"] = self.environment.get("DAGSTER_POSTGRES_URL", "")
        os.environ["MIGRATION_SHARED_PATH"] = str(self.folder / "shared")
        return dg.DagsterInstance.from_config(str(self.home))

    def stop(self) -> None:
        for process in self._started:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """A machine that loses power: the process and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(what: Callable[[], object], *alive: subprocess.Popen[str], seconds: float = 150) -> None:
    """Waits for something that other processes do; fails when one of them ends before."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline or any(process.poll() is not None for process in alive):
            folder = alive[0].log.parent  # type: ignore[attr-defined]
            said = {log.name: log.read_text()[-3000:] for log in folder.glob("*.log")}
            raise AssertionError("\n".join(f"== {n}\n{text}" for n, text in said.items()))
        time.sleep(0.2)  # asking takes time of its own: of all events of a run, from a database


@contextlib.contextmanager
def machines(folder: Path, settings: Path = DEPLOYED, **environment: str) -> Iterator[Machines]:
    """Machines whose processes end with the block.

    Args:
        settings: the `dagster.yaml` of all.
    """
    made = Machines(folder, environment)
    made.home.mkdir(parents=True, exist_ok=True)
    (made.folder / "shared").mkdir()
    (made.home / "dagster.yaml").write_text(settings.read_text() + QUIET)
    try:
        yield made
    finally:
        made.stop()
