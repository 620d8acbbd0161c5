"""Tokens over http: oauthlib refuses addresses without encryption, which servers within a company
or on this machine may have, unless a variable of the process says otherwise.
"""

from __future__ import annotations

import os
import threading
import weakref

VARIABLE = "OAUTHLIB_INSECURE_TRANSPORT"
_lock = threading.RLock()  # a pass may be collected while one is made
_passes = 0
_before: str | None = None


class Pass:
    """While one for an http address is held, the variable is set; after the last one it is what
    it was. One for https changes nothing.

    It is to be held for a whole session: the environment should not change around each request
    while other threads read it.
    """

    def __init__(self, address: str) -> None:
        global _passes, _before
        if not address.lower().startswith("http://"):
            return
        with _lock:
            if not _passes:
                _before = os.environ.get(VARIABLE)
            os.environ[VARIABLE] = "1"  # whatever others have done to it since the first pass
            _passes += 1
        weakref.finalize(self, _return).atexit = False


def _return() -> None:
    global _passes
    with _lock:
        _passes -= 1
        if _passes:
            return
        if _before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = _before
