"""Settings of the source that reads what Neptune's clients left on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from migration_pipeline.errors import ConfigError

PATH_VARIABLE = "MIGRATION_LOCAL_PATH"
PROJECT_VARIABLE = "MIGRATION_LOCAL_PROJECT"
RUN_IDS_VARIABLE = "MIGRATION_LOCAL_RUN_IDS"
MERGE_VARIABLE = "MIGRATION_LOCAL_MERGE"
MERGE_DATA_VARIABLE = "MIGRATION_LOCAL_MERGE_DATA_PATH"
MERGE_FILES_VARIABLE = "MIGRATION_LOCAL_MERGE_FILES_PATH"
MergeWith = Literal["", "archive", "neptune2", "neptune3"]


def run_ids(given: str) -> dict[str, str]:
    """`container id=run id`, comma-separated.

    Raises:
        ConfigError: an entry is not of this form.
    """
    found = {}
    for entry in given.split(","):
        container, equals, run = (part.strip() for part in entry.partition("="))
        if not entry.strip():
            continue
        if not (container and equals and run):
            raise ConfigError(
                f"{RUN_IDS_VARIABLE} has the entry {entry.strip()!r}",
                "Write `container id=run id`, comma-separated; the container id is the long one in "
                "a directory's name.",
            )
        found[container] = run
    return found


class NeptuneLocalConfig(BaseModel):
    """Where to look, and what the directories do not say."""

    model_config = ConfigDict(frozen=True)

    paths: tuple[Path, ...] = Field(
        description=f"{PATH_VARIABLE}: folders below which directories of the clients are searched."
    )
    project: str = Field(
        default="",
        description=f"{PROJECT_VARIABLE}: `workspace/project` of 2.x runs, which their directories "
        "do not say; empty: `local/` and the name of the folder that holds `.neptune`.",
    )
    run_ids: Mapping[str, str] = Field(
        default_factory=dict,
        description=f"{RUN_IDS_VARIABLE}: container id of a 2.x directory → run id.",
    )
    merge: MergeWith = Field(
        default="",
        description=f"{MERGE_VARIABLE}: with what a run is merged that is there too: `archive` "
        f"(that of {MERGE_DATA_VARIABLE}, else the one that is exported to), `neptune2` or "
        "`neptune3` (the server of the token).",
    )
    workers: int = Field(default=2, ge=1, le=64, description="Runs read at once.")
