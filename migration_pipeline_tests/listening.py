"""A Pluto that is nowhere but here, to see that nobody comes to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def listening_pluto() -> Iterator[tuple[dict[str, str], list[Any]]]:
    """Settings under which pluto-ml's hook patches `wandb`, and who came."""
    listening = socket.create_server(("127.0.0.1", 0))
    came: list[Any] = []

    def accept() -> None:
        while True:
            try:
                connection, address = listening.accept()
            except OSError:
                return
            came.append(address)
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    names = ("APP", "API", "INGEST", "PY")
    yield {"PLUTO_API_KEY": "p" * 40, **{f"PLUTO_URL_{n}": url for n in names}}, came
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(timeout=10)
