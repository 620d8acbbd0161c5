"""A Neptune server on loopback, over an archive or over memory.

The real service is gone, yet people hold archives of it and scripts that speak to it. This server
lets the unmodified clients, of 3.x and of 2.x, read an archive (`python -m
migration_pipeline.neptune_server --data DIR --files DIR`) and write to it, and lets tests see an
exporter meet every failure a server can show. It behaves as Neptune's own end-to-end tests say the
real one does; where they are silent the docstrings say "assumed".
"""

from migration_pipeline.neptune_server.faults import Fault, Faults, Limits
from migration_pipeline.neptune_server.running import (
    RunningServer,
    SpawnedServer,
    running_server,
    spawn_server,
)
from migration_pipeline.neptune_server.store import Store

__all__ = [
    "Fault",
    "Faults",
    "Limits",
    "RunningServer",
    "SpawnedServer",
    "Store",
    "running_server",
    "spawn_server",
]
