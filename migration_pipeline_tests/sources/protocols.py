"""What differs between the protocols in tests that hold for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2.creation import create_run
from migration_pipeline.neptune_server.store import Project, Run


@dataclass(frozen=True)
class Protocol:
    """A source and the requests that it makes.

    Args:
        name: of the source.
        version: of its projects.
        values, floats, strings: regexes of the paths that give them.
        unreadable: a page of points that is none.
        request_of_floats: as `RunningServer.requests` counts it.
        groups: module and name of how many runs begin together.
    """

    name: str
    version: int
    values: str
    floats: str
    strings: str
    unreadable: bytes
    request_of_floats: str
    groups: str
    create: Callable[[Project, str], Run]
    is_values: Callable[[bytes], bool]

    def fault_of_values(self, of: Callable[[bytes], bool] = bool, **what: Any) -> Fault:
        """At the request that gives the attributes of many runs, where its body is one of these."""
        return Fault(self.values, body=lambda b: self.is_values(b) and of(b), **what)


NEPTUNE3 = Protocol(
    name="neptune3",
    version=3,
    values="attributes/query",
    floats="series/float",
    strings="attributes/series$",
    unreadable=b"\x0a\x05\x0a\x01",
    request_of_floats="POST /api/leaderboard/v1/proto/attributes/series/float",
    groups="migration_pipeline.sources.neptune3.source.GROUP_RUNS",
    create=lambda project, name: project.create_run(name),
    is_values=bool,
)
NEPTUNE2 = Protocol(
    name="neptune2",
    version=2,
    values="entries/search",
    floats="series/float",
    strings="series/string",
    unreadable=b'{"totalItemCount": 3, "values": [{"step": 0}]}',
    request_of_floats="GET /api/leaderboard/v1/attributes/series/float",
    groups="migration_pipeline.sources.neptune2.source.GROUP_RUNS",
    create=create_run,
    is_values=lambda body: b"attributeFilters" not in body,
)
PROTOCOLS = {p.name: p for p in (NEPTUNE3, NEPTUNE2)}
