"""`dagster dev` as a newcomer starts it, over a Neptune server whose runs the test can change."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import migration_pipeline
from migration_pipeline.neptune_server import RunningServer, Store, running_server

ROOT = Path(migration_pipeline.__file__).parents[1]
ARTIFACTS = ROOT / ".ci" / "artifacts"
NOON = 1_700_000_000_000
PATIENCE = 240.0
"""Seconds until something that the page or the daemon must do is given up."""


@dataclass
class Deployment:
    """A running `dagster dev`.

    Args:
        url: of its page.
        home: DAGSTER_HOME, and the folder that it works in.
        server: the Neptune server that it exports from.
    """

    url: str
    home: Path
    server: RunningServer
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: Any) -> Any:
        """What GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def wait(self, what: str, found: Any) -> Any:
        """Calls until it gives something true: neither daemon nor launched runs tell anyone."""
        until = time.monotonic() + PATIENCE
        while not (result := found()):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, f"{what} did not come\n{self.log()}"
            time.sleep(0.2)
        return result

    def log(self) -> str:
        return (self.home / "dev.log").read_text(errors="replace")[-5000:]


def write_run(server: RunningServer, project: str, run: str, points: int = 20) -> None:
    """A run with a parameter and a float series."""
    made = server.store.project(project).create_run(run)
    made.set("config/rate", "float", 0.5)
    times = [NOON + 1000 * i for i in range(points)]
    steps = [float(i) for i in range(points)]
    made.extend_float_series("loss", steps, times, [1 / (i + 1) for i in range(points)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def deployed(home: Path, runs: Mapping[str, list[str]]) -> Iterator[Deployment]:
    """Serves runs by project and starts `dagster dev` with the repository's `dagster.yaml`."""
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with running_server(Store()) as server, (home / "dev.log").open("wb") as log:
        for project, names in runs.items():
            for name in names:
                write_run(server, project, name)
        port = _free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = [sys.executable, "-m", "dagster", "dev", "-m", "migration_pipeline.definitions"]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=home,
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "DAGSTER_HOME": str(home),
                "NEPTUNE_API_TOKEN": server.token,
                "MIGRATION_TARGETS": "dummy",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        found = Deployment(f"http://127.0.0.1:{port}", home, server, process)
        try:
            found.wait("the page", lambda: _answers(found))
            yield found
        finally:
            _end(process)


def _answers(deployment: Deployment) -> bool:
    """The page is there, and the code location behind it."""
    query = "{repositoriesOrError {... on RepositoryConnection {nodes {name}}}}"
    with suppress(OSError):
        return bool(deployment.ask(query)["repositoriesOrError"].get("nodes"))
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; then whatever of its session is left."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
