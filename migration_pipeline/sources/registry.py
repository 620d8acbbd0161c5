"""Name → source, imported only when it is used: a vendor's client is slow to import."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import SecretStr

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Location
from migration_pipeline.errors import ConfigError, MissingSettingError, UnknownNameError
from migration_pipeline.sources.source import Source

SOURCE_VARIABLE = "MIGRATION_SOURCE"


@dataclass(frozen=True)
class SourceSettings:
    """What every source is told.

    Args:
        token_variable: name of the environment variable that holds the token; the token itself
            stands in no setting, so that it cannot get into a run's configuration.
        workers: requests under way at once.
        accept_missing_files: export runs although files that they name are gone.
        archive: where exports go, and where the source `archive` has its runs.
        errors: neptune-exporter's errors files that belong to it.
        local_paths, local_project, local_run_ids, local_merge: of `neptune_local`, as its settings
            have them; the first is of `wandb`, too.
        local_merge_with: the archive that local runs are merged with; None: `archive`.
    """

    token_variable: str = "NEPTUNE_API_TOKEN"
    workers: int = 4
    accept_missing_files: bool = False
    archive: Archive | None = None
    errors: Sequence[Location] = ()
    local_paths: Sequence[Path] = ()
    local_project: str = ""
    local_run_ids: Mapping[str, str] = field(default_factory=dict)
    local_merge: str = ""
    local_merge_with: Archive | None = None

    def token(self) -> SecretStr:
        """The token.

        Raises:
            MissingSettingError: the variable is unset or empty.
        """
        text = os.environ.get(self.token_variable, "").strip()
        if not text:
            raise MissingSettingError(self.token_variable, "reading from a Neptune server")
        return SecretStr(text)


def _neptune3(settings: SourceSettings) -> Source:
    from migration_pipeline.sources.neptune3.config import Neptune3Config
    from migration_pipeline.sources.neptune3.source import Neptune3Source

    return Neptune3Source(Neptune3Config(**_of_neptune(settings)))


def _neptune2(settings: SourceSettings) -> Source:
    from migration_pipeline.sources.neptune2.config import Neptune2Config
    from migration_pipeline.sources.neptune2.source import Neptune2Source

    return Neptune2Source(Neptune2Config(**_of_neptune(settings)))


def _of_neptune(settings: SourceSettings) -> dict[str, Any]:
    """What both Neptune sources are told; the token has been looked at."""
    from migration_pipeline.sources.neptune import server_address

    token = settings.token()
    server_address(token)  # raises for a malformed one
    return {
        "api_token": token,
        "workers": settings.workers,
        "accept_missing_files": settings.accept_missing_files,
    }


def _archive(settings: SourceSettings) -> Source:
    from migration_pipeline.sources.archive.source import ArchiveSource

    if settings.archive is None:
        raise MissingSettingError("MIGRATION_DATA_PATH", "an archive as the source")
    return ArchiveSource(settings.archive, settings.errors)


def _neptune_local(settings: SourceSettings) -> Source:
    from migration_pipeline.sources.neptune_local.config import (
        MERGE_DATA_VARIABLE,
        MERGE_VARIABLE,
        PATH_VARIABLE,
        MergeWith,
        NeptuneLocalConfig,
    )
    from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource

    if not settings.local_paths:
        raise MissingSettingError(PATH_VARIABLE, "reading what Neptune's clients left on disk")
    merge = settings.local_merge
    known = get_args(MergeWith)
    if merge not in known:
        raise UnknownNameError("source to merge with", merge, known[1:], MERGE_VARIABLE)
    other = settings.local_merge_with
    if other is not None and merge != "archive":
        raise ConfigError(
            f"{MERGE_DATA_VARIABLE} is set, and {MERGE_VARIABLE} is {merge!r}",
            f"Set {MERGE_VARIABLE}=archive to merge with that archive, or unset the other.",
        )
    if other is not None and settings.archive is not None and other.data == settings.archive.data:
        raise ConfigError(
            f"{MERGE_DATA_VARIABLE} is the archive that is exported to, {other.data}",
            "Leave it unset to merge with that, or set MIGRATION_DATA_PATH and "
            "MIGRATION_FILES_PATH to another place: what another tool wrote is never rewritten.",
        )
    config = NeptuneLocalConfig(
        paths=tuple(settings.local_paths),
        project=settings.local_project,
        run_ids=settings.local_run_ids,
        merge=cast(MergeWith, merge),
    )
    server = make_source(merge, settings) if merge not in ("", "archive") else None
    return NeptuneLocalSource(config, settings.archive, server, other)


def _wandb(settings: SourceSettings) -> Source:
    from migration_pipeline.sources.wandb.config import KEY_VARIABLE, WandbSourceConfig
    from migration_pipeline.sources.wandb.source import WandbSource

    variable = settings.token_variable
    if variable == SourceSettings.token_variable:
        variable = KEY_VARIABLE
    given = {
        "base_url": os.environ.get("WANDB_BASE_URL", "").strip(),
        "entity": os.environ.get("WANDB_ENTITY", "").strip(),
        "api_key": os.environ.get(variable, "").strip(),
        "local_paths": tuple(settings.local_paths),
    }
    config = WandbSourceConfig.model_validate(
        {name: value for name, value in given.items() if value}
        | {"workers": settings.workers, "accept_missing_files": settings.accept_missing_files}
    )
    config.url  # noqa: B018  raises for one that is none
    return WandbSource(config)


SOURCES: dict[str, Callable[[SourceSettings], Source]] = {
    "archive": _archive,
    "neptune2": _neptune2,
    "neptune3": _neptune3,
    "neptune_local": _neptune_local,
    "wandb": _wandb,
}
"""To add a source: fill in its folder, add a line here."""


def source_names() -> Sequence[str]:
    return sorted(SOURCES)


def make_source(name: str, settings: SourceSettings) -> Source:
    """A source that is ready to be asked; its settings are checked, nothing is sent yet.

    Raises:
        UnknownNameError: there is no source of that name.
        MissingSettingError, InvalidTokenError: what it needs is unset or malformed.
    """
    try:
        factory = SOURCES[name]
    except KeyError:
        raise UnknownNameError("source", name, SOURCES, SOURCE_VARIABLE) from None
    return factory(settings)
