"""What Neptune's clients left below a folder: one entry for each directory of an execution.

2.x: `.neptune/{offline,async,sync}/<type>__<uuid>__<pid>__<key>/` with `data-<n>.log`; older
clients `<type>__<uuid>/exec-…/` or `<uuid>/exec-…/`. What a name means is asked of the client
itself (`neptune.cli.utils`). 3.x: a folder with `run_operations.sqlite3`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migration_pipeline.archive.manifest import KINDS, Kind
from migration_pipeline.errors import ConfigError
from migration_pipeline.sources.neptune_local.config import PATH_VARIABLE

DATABASE = "run_operations.sqlite3"
_MODES = ("offline", "async", "sync")


@dataclass(frozen=True)
class Execution:
    """A directory that one execution of a script left.

    Args:
        path: of the directory.
        version: of Neptune, 2 or 3.
        container: 2.x: the id that the client gave the object, or, of mode async, the server.
        mode: 2.x: offline, async or sync.
        metadata: 2.x: what `metadata.json` says; empty where there is none that can be read.
    """

    path: Path
    version: int
    container: str = ""
    kind: Kind = "run"
    mode: str = ""
    metadata: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def home(self) -> Path:
        """The folder that holds the client's folder: usually where the script was started."""
        above = self.path.parent
        if self.version == 2:
            while above.name not in _MODES and above != above.parent:
                above = above.parent
            above = above.parent
        return above.parent if above.name == ".neptune" else above

    def modified(self) -> datetime:
        """When the directory was last written to, in milliseconds."""
        latest = 0
        for folder, _, files in os.walk(self.path):
            times = [os.stat(os.path.join(folder, name)).st_mtime_ns for name in files]
            latest = max([latest, *times])
        return datetime.fromtimestamp(latest // 10**6 / 1000, UTC)


def find_executions(paths: Sequence[Path]) -> list[Execution]:
    """All that lie below these folders, each once, in the order of their paths.

    Raises:
        ConfigError: one of them is no folder, or nothing lies below it.
    """
    found: dict[Path, Execution] = {}
    for path in paths:
        if not path.is_dir():
            raise ConfigError(
                f"{PATH_VARIABLE} names {str(path)!r}, which is no folder",
                "Name the folder that holds `.neptune`, or any folder above it.",
            )
        below = {one.path: one for one in _below(path.resolve())}
        if not below:
            raise ConfigError(
                f"{PATH_VARIABLE}: below {str(path)!r} lies nothing that a Neptune client left",
                "Name the folder that holds `.neptune` (2.x: offline, async or sync in it; 3.x: "
                f"folders with {DATABASE}), or any folder above it.",
            )
        found |= below
    return [found[path] for path in sorted(found)]


def _below(top: Path) -> Iterator[Execution]:
    for folder, folders, files in os.walk(top):
        folders.sort()
        path = Path(folder)
        if DATABASE in files:
            yield Execution(path, 3)
            folders.clear()
        elif is_log(files) or (path.parent.name in _MODES and "metadata.json" in files):
            if found := _of_2x(path):
                yield found
            folders.clear()


def is_log(files: Sequence[str]) -> bool:
    """Whether these are the names of files of a 2.x log."""
    return "last_put_version" in files or any(
        name.startswith("data-") and name.endswith(".log") for name in files
    )


def _of_2x(path: Path) -> Execution | None:
    """None for one of mode sync, which keeps no log, that has left nothing to upload either."""
    from migration_pipeline.sources.neptune_local.client2 import (
        detect_async_dir,
        detect_offline_dir,
    )

    named = path.parent if path.name.startswith("exec-") else path
    metadata = _metadata(path)
    mode = str(metadata.get("mode") or named.parent.name)
    if mode == "sync" and not any(path.glob("data-*.log")) and not any(path.glob("upload_path/*")):
        return None
    detect = detect_offline_dir if mode == "offline" else detect_async_dir
    try:
        kind, container = (str(getattr(one, "value", one)) for one in detect(named.name)[:2])
    except ValueError:  # a name that no client gave
        kind, container = "run", named.name
    kind = str(metadata.get("containerType") or kind)
    container = str(metadata.get("containerId") or container)
    known: Kind = next((one for one in KINDS if one == kind), "run")
    return Execution(path, 2, container, known, mode, metadata)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        read = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
