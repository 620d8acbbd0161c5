"""Files of a run at a tracker that keeps them on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from migration_pipeline.targets.local.sqlite import sync


def copy(source: Path, target: Path) -> int:
    """Copies a file and makes sure that it is on the disk; returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync(target)
    return target.stat().st_size
