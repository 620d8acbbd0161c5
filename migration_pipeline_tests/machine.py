"""What a test needs of the machine that it runs on, and what happens where the machine lacks it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

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


def _capabilities(name: str, header: object, data: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(header, data):
        raise OSError(ctypes.get_errno(), name)
