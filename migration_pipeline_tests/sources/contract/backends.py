"""Every source with real places that it reads, for the tests that all sources pass.

A new source joins by a line in `BACKENDS`; a module of its own makes its places.
"""

from __future__ import annotations

from migration_pipeline_tests.sources import (
    neptune_backend,
    neptune_local_backend,
    wandb_backend,
)
from migration_pipeline_tests.sources.contract.place import SourceBackend

BACKENDS: dict[str, SourceBackend] = {
    backend.name: backend
    for backend in (
        SourceBackend("neptune2", neptune_backend.few2, neptune_backend.many2),
        SourceBackend("neptune3", neptune_backend.few3, neptune_backend.many3),
        SourceBackend(
            "neptune_local", neptune_local_backend.few, neptune_local_backend.many, False
        ),
        SourceBackend("wandb", wandb_backend.few, wandb_backend.many),
        SourceBackend("wandb_local", wandb_backend.few_local, wandb_backend.many_local),
    )
}
