"""What the stand-ins for vendors have in common: accounts, a record of what was sent, faults.

A stand-in is a Starlette app whose handlers are `async` and never wait, so they follow one another
and need no locks. Its state is one object an account, and an account is whoever comes with an API
key that `account_key` made: tests that run beside each other, and processes that a test forks and
kills, share one server and nothing else.

Faults and counts are those of `migration_pipeline.neptune_server`: `server.faults.add(Fault(...))`,
`server.traffic.requests`. The record holds every request as it came, without its credentials, for
tests and for a person's eyes (`dump`).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import importlib
import json
import re
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from migration_pipeline.neptune_server.faults import Faults, Traffic
from migration_pipeline.neptune_server.gate import Gate
from migration_pipeline.neptune_server.running import HOST, http_server, listen

_SECRET = re.compile(r"authorization|api[-_]?key|cookie|token", re.IGNORECASE)
_SHOWN_BYTES = 4000


def account_key(name: str | Path, length: int = 40) -> str:
    """The API key of an account of its own; the same one for the same name in every process."""
    digest = hashlib.blake2b(str(name).encode(), digest_size=length // 2)
    return f"acc{digest.hexdigest()}"[:length]


def is_account_key(key: str) -> bool:
    return re.fullmatch(r"acc[0-9a-f]{20,}", key) is not None


@dataclass(frozen=True)
class Recorded:
    """One request as it came, credentials left out; `body` is unzipped."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Recorder:
    """Holds requests while `on`; one that carries files may be large."""

    on: bool = False
    requests: list[Recorded] = field(default_factory=list)

    def of(self, path: str) -> list[Recorded]:
        """Those in whose path a regular expression is found."""
        return [one for one in self.requests if re.search(path, one.path)]

    def dump(self) -> str:
        """All of it as text that a person reads: bodies as JSON, cut where they are long."""
        return "\n".join(f"{_line(one)}\n{_text(one.body)}\n" for one in self.requests)


def _line(one: Recorded) -> str:
    return f"{one.method} {one.path}" + (f"?{one.query}" if one.query else "")


def _text(body: bytes) -> str:
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False, indent=1)
    except ValueError:
        text = body.decode(errors="replace")
    more = f"\n… {len(text):,} characters in all" if len(text) > _SHOWN_BYTES else ""
    return text[:_SHOWN_BYTES] + more


Account = TypeVar("Account")


class StandIn(ABC, Generic[Account]):
    """One vendor's service. Subclasses say what an account is and which routes there are."""

    def __init__(self) -> None:
        self.url = ""
        """Where it answers, once it is served."""
        self.faults = Faults()
        self.traffic = Traffic()
        self.recorder = Recorder()
        self._accounts: dict[str, Account] = {}

    @abstractmethod
    def new_account(self, key: str) -> Account:
        """An empty one."""

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Endpoints of the vendor, handlers `async`."""

    def account(self, key: str) -> Account:
        """That of an API key, made when it is asked for the first time; KeyError for a key that
        no account has."""
        if not is_account_key(key):
            raise KeyError(key)
        if key not in self._accounts:
            self._accounts[key] = self.new_account(key)
        return self._accounts[key]

    def forget(self, key: str) -> None:
        """Removes an account and all that is in it."""
        self._accounts.pop(key, None)

    def app(self) -> ASGIApp:
        own = [Route("/_/traffic", self._shown_traffic)]
        inner = Starlette(routes=[*own, *self.routes()])
        return Gate(_Recording(inner, self.recorder), self.faults, self.traffic)

    async def _shown_traffic(self, request: Request) -> Response:
        """For those who started it as a process of its own."""
        return JSONResponse(
            {
                "requests": dict(self.traffic.requests),
                "statuses": {str(k): n for k, n in self.traffic.statuses.items()},
            }
        )


class _Recording:
    """Middleware: unzips bodies, so that no handler has to, and notes them."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        headers = [(k, v) for k, v in scope["headers"] if k != b"content-encoding"]
        if len(headers) < len(scope["headers"]):
            body = gzip.decompress(body)
            headers = [(k, v) for k, v in headers if k != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
        if self._recorder.on:
            self._recorder.requests.append(
                Recorded(
                    scope["method"],
                    scope["path"],
                    scope["query_string"].decode("latin-1"),
                    {
                        k.decode("latin-1"): v.decode("latin-1")
                        for k, v in headers
                        if not _SECRET.search(k.decode("latin-1"))
                    },
                    body,
                )
            )
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, "headers": headers}, again, send)


S = TypeVar("S", bound=StandIn[Any])


def start(server: S) -> S:
    """Serves it from a thread for as long as this process lives; forked processes use it too."""
    _serve(server)
    return server


@contextlib.contextmanager
def serving(server: S) -> Iterator[S]:
    """Serves it from a thread until the block ends."""
    http, thread = _serve(server)
    try:
        yield server
    finally:
        http.should_exit = True
        thread.join(timeout=10)


def _serve(server: StandIn[Any]) -> tuple[uvicorn.Server, threading.Thread]:
    listening = listen()
    server.url = f"http://{HOST}:{listening.getsockname()[1]}"
    http = http_server(server.app())

    def run() -> None:
        with listening:
            http.run(sockets=[listening])

    thread = threading.Thread(target=run, name=type(server).__name__, daemon=True)
    thread.start()
    return http, thread


@contextlib.contextmanager
def spawned(reference: str) -> Iterator[str]:
    """The stand-in `module:Class` in a process of its own, for benchmarks; yields its address."""
    command = [sys.executable, "-m", "migration_pipeline_tests.servers.standin", reference]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"{reference} ended with {process.wait()} before it served")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reference", help="module:Class")
    module, _, name = parser.parse_args().reference.partition(":")
    server: StandIn[Any] = getattr(importlib.import_module(module), name)()
    listening = listen()
    server.url = f"http://{HOST}:{listening.getsockname()[1]}"
    print(server.url, flush=True)
    http_server(server.app()).run(sockets=[listening])


if __name__ == "__main__":
    main()
