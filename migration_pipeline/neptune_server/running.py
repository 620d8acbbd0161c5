"""Starting the server: in a thread of this process, or as a process of its own."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from .app import create_app
from .auth import Auth
from .faults import Fault, Faults, Traffic
from .neptune2.accounts import Accounts
from .object_stores import ObjectStores
from .store import Store

HOST = "127.0.0.1"


class RunningServer:
    """A server and all that a test wants to look at or turn.

    `token` goes into NEPTUNE_API_TOKEN. `store` is what it knows; `faults` what it does wrong;
    `auth` issues tokens (`lifetime`, `expire_tokens()`), `object_stores` signed URLs (`provider`,
    `lifetime`, `expire_urls()`); `accounts` are users and their roles; `traffic` counts.
    """

    def __init__(
        self, store: Store, faults: Faults, url: str, protocols: Collection[str] = ("2", "3")
    ) -> None:
        self.store = store
        self.faults = faults
        self.url = url
        self.auth = Auth(url)
        self.object_stores = ObjectStores(store, url)
        self.traffic = Traffic()
        self.accounts = Accounts(store, self.auth.user)
        self.app = create_app(
            store, self.auth, self.object_stores, faults, self.traffic, self.accounts, protocols
        )

    @property
    def token(self) -> str:
        """The API token that clients authenticate with; it holds the server's address."""
        return self.auth.api_token

    @property
    def requests(self) -> dict[str, int]:
        """Requests so far by "METHOD /path"; uploads and downloads count per object store."""
        return dict(self.traffic.requests)

    @property
    def bytes_sent(self) -> int:
        """Bytes of all answers' bodies so far."""
        return self.traffic.bytes_sent

    def refuse_series(self, project: str, run_id: str, status: int = 400) -> Fault:
        """Refuse every series request that asks for this run, by its run id or sys id.

        KeyError when there is none.
        """
        found = self.store.projects[project]
        run = found.find(run_id) or found.runs[run_id]
        holders = [f"{project}/{run.sys_id}", f"CUSTOM/{project}/{run.run_id}", run.uuid]
        return self.faults.refuse_series(holders, status)


def listen(port: int = 0) -> socket.socket:
    """A socket bound to loopback; port 0 takes a free one. OSError when the port is in use.

    The protocol is named because asyncio sends small answers without delay (40 ms) only then.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    listening.listen(128)
    return listening


def make_server(
    store: Store,
    faults: Faults,
    listening: socket.socket,
    protocols: Collection[str] = ("2", "3"),
) -> RunningServer:
    """The server that will answer on a bound socket."""
    return RunningServer(store, faults, f"http://{HOST}:{listening.getsockname()[1]}", protocols)


def http_server(app: ASGIApp) -> uvicorn.Server:
    """h11 and asyncio, whatever else is installed: `gate` cuts connections of these.

    Idle connections stay open for long, else a pooled connection that closes in the very moment
    of a request looks like a fault that nobody asked for. Of web sockets, which the 2.x client
    opens, the implementation is named that does not need the library's older interface.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        http="h11",
        loop="asyncio",
        ws="websockets-sansio",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


@contextmanager
def running_server(
    store: Store | None = None,
    *,
    faults: Faults | None = None,
    port: int = 0,
    protocols: Collection[str] = ("2", "3"),
) -> Iterator[RunningServer]:
    """Serve `store` (a new empty one when None) from a thread until the block ends.

    `protocols` are those of the clients that it answers.

    >>> with running_server() as server:
    ...     os.environ["NEPTUNE_API_TOKEN"] = server.token
    """
    listening = listen(port)
    server = make_server(store or Store(), faults or Faults(), listening, protocols)
    http = http_server(server.app)
    thread = threading.Thread(
        target=http.run, kwargs={"sockets": [listening]}, name="neptune-server", daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        http.should_exit = True
        thread.join(timeout=10)
        listening.close()


@dataclass
class SpawnedServer:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    token: str
    url: str

    def traffic(self) -> dict[str, Any]:
        """`requests` by endpoint, `statuses`, `bytes_sent` and `violations` so far."""
        with urllib.request.urlopen(f"{self.url}/server/traffic") as answer:
            parsed: dict[str, Any] = json.load(answer)
        return parsed

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def spawn_server(arguments: Sequence[str] = ()) -> Iterator[SpawnedServer]:
    """Run `python -m migration_pipeline.neptune_server` with `arguments` until the block ends.

    RuntimeError with what it printed when it ends before it serves.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "migration_pipeline.neptune_server", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed = []
    prefix = "export NEPTUNE_API_TOKEN="
    for line in process.stdout:
        printed.append(line)
        if line.startswith(prefix):
            break
    else:
        raise RuntimeError(
            f"the server ended with {process.wait()} before it served: {''.join(printed).strip()}"
        )
    token = printed[-1].removeprefix(prefix).strip()
    server = SpawnedServer(process, token, json.loads(base64.b64decode(token))["api_url"])
    try:
        yield server
    finally:
        server.stop()
        process.stdout.close()
