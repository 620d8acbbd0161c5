"""A way to a service that can be cut, as if the service went down, and be there again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Proxy:
    """Passes on what comes in at `port` until it is cut; then it refuses."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._open: set[socket.socket] = set()
        self.port = self._listen(0)

    def _listen(self, port: int) -> int:
        self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        used: int = self._listening.getsockname()[1]
        return used

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                incoming, _ = listening.accept()
                outgoing = socket.create_connection(self._to)
                pair = (incoming, outgoing)
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, incoming: socket.socket, outgoing: socket.socket) -> None:
        with incoming, outgoing:
            self._open.update((incoming, outgoing))
            back = threading.Thread(target=_pass_on, args=(outgoing, incoming), daemon=True)
            back.start()
            _pass_on(incoming, outgoing)
            back.join()
            self._open.difference_update((incoming, outgoing))

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """The same way again, for who asks anew."""
        self._listen(self.port)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def on_the_way(address: str, usual_port: int) -> Iterator[tuple[str, Proxy]]:
    """A service's address by way of a proxy, and the proxy."""
    real = urlsplit(address)
    made = Proxy(real.hostname or "", real.port or usual_port)
    user, at, _ = real.netloc.rpartition("@")
    try:
        yield real._replace(netloc=f"{user}{at}127.0.0.1:{made.port}").geturl(), made
    finally:
        made.cut()
