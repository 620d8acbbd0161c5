"""Who writes on an object store, and whose turn it is: what locks are on a folder.

A store has no lock that dies with its holder. Instead every writer keeps an object, its *sign*,
that a thread writes again every few seconds. A sign that has grown old, by the store's own clock,
or one of this machine whose process is gone, is a dead writer's. A writer that was stopped for so
long that others may have taken it for dead gives up: it may not write any more.

Turns are taken by a numbered object that is made only where there is none, so that of several one
succeeds. Who finds the newest free, or its holder dead, makes the next number, and has the turn if
no higher one is there by then; older ones are removed only after that, so the newest always stands.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from migration_pipeline.archive.store import StorePath
from migration_pipeline.errors import MigrationError, StoppedWriterError

LEASE_SECONDS = 60.0
"""A sign that is older is a dead writer's."""
_TURN = "turn."
_FREE = b"free"
_MOST_BYTES = 4096
"""Of a sign: one request, where reading all of an object asks for its size first."""
_WAIT_SECONDS = (0.02, 0.5)


def this_process() -> str:
    """Host, process id, and when it began: ids are used again."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def is_gone(process: str) -> bool:
    """Whether it is known that a process is no more; False: it lives, or is on another machine."""
    host, _, rest = process.partition(" ")
    pid, _, began = rest.partition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """Clock ticks from boot to its start; empty where the system has no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


@dataclass
class Sign:
    """An object that shows that its owner lives, while it is being renewed."""

    path: StorePath
    content: bytes
    written: float
    held: bool = True
    """False: it is not certain yet that the object is this sign's to write."""
    lost: bool = False
    busy: threading.Lock = field(default_factory=threading.Lock)

    def renew(self) -> None:
        with self.busy:
            if self.held and not self._is_late():
                self.path.write_bytes(self.content)
                self.written = _clock()

    def _is_late(self) -> bool:
        self.lost = self.lost or _clock() - self.written > LEASE_SECONDS * 0.75
        return self.lost

    def check(self) -> None:
        """
        Raises:
            StoppedWriterError: it was not renewed for so long that others may write now.
        """
        with self.busy:
            if self._is_late():
                raise StoppedWriterError(str(self.path.parent))


class _Renewing:
    """The thread of a process that renews its signs."""

    def __init__(self) -> None:
        self._changes = threading.Condition()
        self._signs: list[Sign] = []
        self._thread: threading.Thread | None = None

    def add(self, sign: Sign) -> None:
        with self._changes:
            self._signs.append(sign)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="signs", daemon=True)
                self._thread.start()

    def remove(self, sign: Sign) -> None:
        with self._changes, contextlib.suppress(ValueError):
            self._signs.remove(sign)

    def knows(self, path: StorePath) -> bool:
        with self._changes:
            return any(sign.path == path for sign in self._signs)

    def _run(self) -> None:
        while True:
            with self._changes:
                self._changes.wait(LEASE_SECONDS / 6)
                signs = list(self._signs)
            for sign in signs:
                # The owner finds out by `check`: here nobody could be told.
                with contextlib.suppress(MigrationError, OSError):
                    sign.renew()


_renewing = _Renewing()
os.register_at_fork(after_in_child=lambda: _renewing.__init__())  # type: ignore[misc]


def _clock() -> float:
    """Also goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def give_sign(path: StorePath) -> Sign:
    """Shows that this process writes; `take_back` ends it."""
    sign = Sign(path, this_process().encode(), _clock())
    _renewing.add(sign)
    try:
        path.write_bytes(sign.content)
    except BaseException:
        _renewing.remove(sign)
        raise
    return sign


def take_back(sign: Sign) -> None:
    _renewing.remove(sign)
    with sign.busy:
        if not sign.lost:
            sign.path.unlink(missing_ok=True)


def _is_over(path: StorePath, process: str) -> bool:
    """Whether the owner is no more, or is this process, which has no such sign any more: it could
    not take it back when it ended."""
    return is_gone(process) or (process == this_process() and not _renewing.knows(path))


def is_dead(path: StorePath, clock: Callable[[], float]) -> bool:
    """Whether nobody renews a sign.

    Args:
        clock: the store's time, asked only where it is needed (`store_clock`).
    """
    try:
        if _is_over(path, path.read_range(0, _MOST_BYTES).decode("utf-8", "replace")):
            return True
        return clock() - path.stat().st_mtime > LEASE_SECONDS
    except FileNotFoundError:
        return True


def store_clock(folder: StorePath) -> Callable[[], float]:
    """Tells the store's time: an object is written and looked at."""

    def now() -> float:
        path = folder / f"clock.{uuid.uuid4().hex[:8]}"
        path.write_bytes(b"")
        try:
            return path.stat().st_mtime
        finally:
            path.unlink(missing_ok=True)

    return now


@contextlib.contextmanager
def turn(folder: StorePath) -> Iterator[Callable[[], None]]:
    """One writer at a time; yields what raises when the turn is lost (`Sign.check`).

    Args:
        folder: where the objects of turns are; nothing else is in it.
    """
    sign = _take(folder)
    try:
        yield sign.check
    finally:
        _renewing.remove(sign)
        with sign.busy:
            if not sign._is_late():
                sign.path.write_bytes(_FREE)


def _take(folder: StorePath) -> Sign:
    wait = _WAIT_SECONDS[0]
    while True:
        newest = max(_numbers(folder), default=0)
        if newest == 0 or _is_free(folder, newest):
            mine = folder / f"{_TURN}{newest + 1}"
            content = f"{this_process()} {uuid.uuid4().hex}".encode()
            sign = Sign(mine, content, _clock(), held=False)
            _renewing.add(sign)
            try:
                sign.held = _is_made(sign, newest)
            finally:
                if not sign.held:
                    _renewing.remove(sign)
            if sign.held:
                return sign
        time.sleep(wait)  # a store tells nobody that an object changed
        wait = min(2 * wait, _WAIT_SECONDS[1])


def _is_made(sign: Sign, newest: int) -> bool:
    """Makes the object of a turn; whether it is the one that counts."""
    sign.path.create(sign.content)
    # Asked, not believed: an answer can get lost, and there are stores without conditions.
    if _content(sign.path) != sign.content:
        return False
    folder = sign.path.parent
    numbers = _numbers(folder)
    if max(numbers, default=0) > newest + 1:
        sign.path.unlink(missing_ok=True)
        return False
    for number in numbers:
        if number <= newest:
            (folder / f"{_TURN}{number}").unlink(missing_ok=True)
    return True


def _numbers(folder: StorePath) -> list[int]:
    names = folder.walk()
    return [int(name[len(_TURN) :]) for name in names if name.startswith(_TURN)]


def _content(path: StorePath) -> bytes:
    try:
        return path.read_range(0, _MOST_BYTES)
    except FileNotFoundError:
        return b""


def _is_free(folder: StorePath, number: int) -> bool:
    path = folder / f"{_TURN}{number}"
    content = _content(path)
    if content in (b"", _FREE):
        return content == _FREE  # gone: a newer one is there by now
    process = content.decode("utf-8", "replace").rpartition(" ")[0]
    if _is_over(path, process):
        return True
    try:
        return store_clock(folder)() - path.stat().st_mtime > LEASE_SECONDS
    except FileNotFoundError:
        return False
