"""Which objects are running: `sys/state` follows the pings by the clock.

A client pings every 10 s from its start and sends nothing when it closes. The vendor's tests
expect `idle` no later than 60 s after the last ping; that it takes 30 is assumed, as it is that
neither a ping nor the end moves the modification time.
"""

from __future__ import annotations

from migration_pipeline.neptune_server.store import Attribute, Run, Store

IDLE_AFTER = 30_000
"""Milliseconds after the last ping."""


class Liveness:
    """Remembers the last ping of every running object. One instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._pings: dict[Run, int] = {}

    def ping(self, run: Run) -> None:
        """The object's client is alive. Its running time grows by the time since the last ping."""
        with self.store.lock:
            now = self.store.clock()
            self.settle()
            before = self._pings.get(run)
            ran = run.attributes.get("sys/running_time")
            if before is not None and ran is not None and ran.type == "float":
                ran.value += (now - before) / 1000
            self._pings[run] = now
            run.attributes["sys/ping_time"] = Attribute("datetime", now)
            run.attributes["sys/state"] = Attribute("run_state", "running")
            self.store.changes += 1

    def told(self, run: Run) -> None:
        """Somebody wrote the state: it stays until the next ping."""
        self._pings.pop(run, None)

    def settle(self) -> None:
        """Let those be idle whose last ping is too long ago. To be called before states are read,
        under the store's lock."""
        now = self.store.clock()
        for run in [run for run, last in self._pings.items() if now - last >= IDLE_AFTER]:
            del self._pings[run]
            run.attributes["sys/state"] = Attribute("run_state", "idle")
            self.store.changes += 1
