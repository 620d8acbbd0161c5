"""Where things of a W&B run go in the archive: the table of Neptune's own migration script.

https://github.com/neptune-ai/examples (`utils/migration_tools/from_wandb`): config → `config`,
summary → `summary`, metrics under their names, system metrics → `monitoring` without `system.`,
`output.log` → `monitoring/stdout`, code, requirements, checkpoints, other files, and all that W&B
says of the run → `wandb`. What the script leaves out has a place, too: media and tables are file
series under their names, artifacts are under `artifacts`, and no file is skipped.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from migration_pipeline.archive import layout

STDOUT = "monitoring/stdout"
OUTPUT_LOG = "output.log"
_MONITORED = "system."


def archive_projects(names: Iterable[str]) -> dict[str, str]:
    """Name in the archive → W&B's: underscores are hyphens, as the script writes them.

    Where two would meet, those with underscores keep their own names.
    """
    names = sorted(set(names))
    wanted = [name.replace("_", "-") for name in names]
    return {
        name if wanted.count(want) > 1 else want: name
        for name, want in zip(names, wanted, strict=True)
    }


def monitored(key: str) -> str:
    """The attribute of a system metric."""
    return f"monitoring/{key.removeprefix(_MONITORED)}"


def of_file(name: str) -> str:
    """The attribute of a run's file."""
    if name.startswith("code/"):
        return f"source_code/files/{name.removeprefix('code/')}"
    if name == "requirements.txt":
        return "source_code/requirements"
    base = name.rpartition("/")[2]
    if fnmatch.fnmatchcase(base, "*.ckpt") or "checkpoint" in base:
        return f"checkpoints/{name}"
    return f"files/{name}"


class Paths:
    """Attribute paths of nested keys: joined by `/`, and told apart where two would meet.

    `{"a": {"b": 1}}` and `{"a/b": 2}` are both `a/b`; the one that comes later gets a digest of its
    keys.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._known: dict[tuple[str, ...], str] = {}
        self.changed: list[str] = []
        """Paths that are not their keys'."""

    def of(self, keys: tuple[str, ...]) -> str:
        return self._place(keys, "/".join(keys))

    def beside(self, path: str, name: str) -> str:
        """`<path>/<name>`, for what is kept in addition to what W&B has at a path."""
        return self._place((path, f"\0{name}"), f"{path}/{name}")

    def _place(self, keys: tuple[str, ...], path: str) -> str:
        known = self._known.get(keys)
        if known is None:
            if path in self._taken:
                path = f"{path}-{layout.digest(chr(0).join(keys))[:8]}"
                self.changed.append(path)
            self._taken.add(path)
            known = self._known[keys] = path
        return known
