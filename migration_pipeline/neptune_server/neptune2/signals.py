"""The channel on which a server may tell a running client to stop: accepted, and silent.

A refused channel is worse than a silent one: the client then waits, longer each time, and its
`stop()` waits for that.
"""

from __future__ import annotations

import contextlib

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

PATH = "/api/notifications/v1/runs/{project}/{run}/signal"


async def _listen(channel: WebSocket) -> None:
    await channel.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await channel.receive_text()


route = WebSocketRoute(PATH, _listen)
