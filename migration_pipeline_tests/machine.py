"""What a test needs of the machine that it runs on, and what happens where the machine lacks it."""

from __future__ import annotations

import ctypes
import errno
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

T = TypeVar("T")
_VERSION = 0x20080522
"""linux/capability.h, _LINUX_CAPABILITY_VERSION_3"""
_PAST_PERMISSIONS = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH"""


def lacks(what: str) -> NoReturn:
    """Skips the test by name; in CI, which installs what can be had, it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must not leave this out: {what}", pytrace=False)
    pytest.skip(what)


def obeying_permissions(call: Callable[[], T]) -> T:
    """The call's result, made in a thread without root's right to read and write whatever the mode
    says. Threads that it starts have no such right either."""

    def obeying() -> T:
        header, data = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
        _capabilities("capget", header, data)
        for at in (0, 1):  # effective, and permitted, which access(2) asks for
            data[at] &= ~_PAST_PERMISSIONS
        _capabilities("capset", header, data)
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(obeying).result()


def unreadable(file: Path) -> None:
    """Puts a file there that opens and cannot be read, as on a bad sector."""
    file.unlink()
    file.symlink_to("/proc/self/mem")  # at its beginning nothing is mapped: Linux answers EIO


class _BadSector(io.FileIO):
    def __init__(self, path: Path, bad: range) -> None:
        super().__init__(path)
        self._bad = bad

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        if at in self._bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if at < self._bad.start:
            left = self._bad.start - at
            size = left if size is None or size < 0 else min(size, left)
        return super().read(size) or b""

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def unreadable_part(monkeypatch: pytest.MonkeyPatch, name: str, bad: range) -> None:
    """These bytes of files of a name are as on a bad sector, which no file system here has."""
    real = Path.open

    def opened(self: Path, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
        if self.name == name and mode == "rb":
            raw = _BadSector(self, bad)
            return io.BufferedReader(raw) if buffering else raw
        return real(self, mode, buffering, *more, **named)

    monkeypatch.setattr(Path, "open", opened)


def _capabilities(name: str, header: object, data: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(header, data):
        raise OSError(ctypes.get_errno(), name)
