"""The outermost layer: counts requests and lets faults happen on the connection itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .faults import Fault, Faults, Incoming, Traffic

_UPLOADS = "/storage/"
_HELD_SECONDS = 0.02
"""Between two looks whether a request that is held may go on."""


class Gate:
    """ASGI middleware. It must wrap everything else: cutting a connection needs uvicorn's own
    `send`, whose object holds the transport."""

    def __init__(self, app: ASGIApp, faults: Faults, traffic: Traffic) -> None:
        self.app = app
        self.faults = faults
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = receive
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        path: str = scope["path"]
        self.traffic.asked(scope["method"], path)
        body = b""
        if not path.startswith(_UPLOADS):
            body = await _read(receive)
            receive = _replay(body, receive)
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        request = Incoming(scope["method"], path, headers, body, query)
        client = _client(scope, headers)
        fault = self.faults.decide(client, request)
        counted = self._counting(send)
        if fault is None:
            await self.app(scope, receive, counted)
            return
        await asyncio.sleep(fault.latency)
        while fault.hold is not None and not fault.hold.is_set():
            await asyncio.sleep(_HELD_SECONDS)
        if fault.reset:
            _transport(send).abort()
            await _gone(connection)
        elif fault.status is not None:
            if fault.retry_after is not None:
                self.faults.told_to_wait(client, request, fault.retry_after)
            await _answer(fault, counted)
        elif fault.truncate is not None:
            await self.app(scope, receive, _truncating(counted, send, fault.truncate))
            await _gone(connection)
        else:
            await self.app(scope, receive, counted)

    def _counting(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.traffic.answered(message["status"])
            elif message["type"] == "http.response.body":
                self.traffic.sent(len(message.get("body", b"")))
            await send(message)

        return counting


def _client(scope: Scope, headers: dict[str, str]) -> str:
    """Who asks: the machine and program, since one client may hold several tokens in turn."""
    address = (scope.get("client") or ("", 0))[0]
    return f"{address} {headers.get('user-agent', '')}"


async def _read(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(pieces)


async def _gone(receive: Receive) -> None:
    """Wait until uvicorn knows that the connection is closed, else it logs a missing answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while (await receive())["type"] != "http.disconnect":
                pass


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replaying() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


async def _answer(fault: Fault, send: Send) -> None:
    content = fault.content
    if content is None:
        content = json.dumps({"errorType": "FAULT", "message": "asked for by a test"}).encode()
    headers = [
        (b"content-type", fault.content_type.encode()),
        (b"content-length", str(len(content)).encode()),
    ]
    if fault.retry_after is not None:
        headers.append((b"retry-after", f"{fault.retry_after:g}".encode()))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _truncating(send: Send, raw: Send, part: float) -> Send:
    """Pass on headers and `part` of the announced body, then close the connection."""
    left = 0
    closed = False

    async def truncating(message: Message) -> None:
        nonlocal left, closed
        if closed:
            return
        if message["type"] == "http.response.start":
            length = dict(message["headers"]).get(b"content-length", b"0")
            left = int(int(length) * part)
            await send(message)
            return
        body = message.get("body", b"")[:left]
        left -= len(body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if not left or not message.get("more_body"):
            closed = True
            _transport(raw).close()

    return truncating


def _transport(send: Callable[..., Any]) -> asyncio.Transport:
    cycle = getattr(send, "__self__", None)
    transport: asyncio.Transport = cycle.transport  # type: ignore[union-attr]
    return transport
