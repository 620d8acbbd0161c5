"""The source, the archive and one resource a target, as the launchpad shows them.

Every default comes from the environment (`settings`). A secret is never a value here: the field
holds the name of the environment variable that has it, so that no run config, event or log can.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field, PrivateAttr, SecretStr, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.errors_file import ERRORS_VARIABLE, errors_files
from migration_pipeline.archive.location import Location, location
from migration_pipeline.archive.store import StorePath
from migration_pipeline.defs import settings
from migration_pipeline.errors import ConfigError, MissingSettingError
from migration_pipeline.sources.neptune_local.config import (
    MERGE_DATA_VARIABLE,
    MERGE_FILES_VARIABLE,
    MERGE_VARIABLE,
    PATH_VARIABLE,
    PROJECT_VARIABLE,
    RUN_IDS_VARIABLE,
    run_ids,
)
from migration_pipeline.sources.registry import (
    SOURCE_VARIABLE,
    SourceSettings,
    make_source,
    source_names,
)
from migration_pipeline.sources.source import Source
from migration_pipeline.targets.registry import TargetConfig, config_class, open_target
from migration_pipeline.targets.target import Target

MODEL_DATA_VARIABLE = "MIGRATION_MODEL_DATA_PATH"


class ArchiveResource(dg.ConfigurableResource[Any]):
    """Where the archive lies."""

    data_path: str = Field(
        default=settings.text("MIGRATION_DATA_PATH", "./exports/data"),
        description="MIGRATION_DATA_PATH: directory of the Parquet parts, here or on an "
        "object store (s3://, gs:// or az://bucket/folder).",
    )
    files_path: str = Field(
        default=settings.text("MIGRATION_FILES_PATH", "./exports/files"),
        description="MIGRATION_FILES_PATH: directory of the runs' files; where the data is on an "
        "object store, these are too.",
    )
    report_path: str = Field(
        default=settings.text("MIGRATION_REPORT_PATH", "./exports/report"),
        description="MIGRATION_REPORT_PATH: where reports are written.",
    )

    model_data_path: str = Field(
        default=settings.text(MODEL_DATA_VARIABLE),
        description=f"{MODEL_DATA_VARIABLE}: where neptune-exporter put the parts of 2.x models "
        "and model versions; empty: nowhere else.",
    )
    model_files_path: str = Field(
        default=settings.text("MIGRATION_MODEL_FILES_PATH"),
        description="MIGRATION_MODEL_FILES_PATH: the same for their files.",
    )

    errors_path: str = Field(
        default=settings.text(ERRORS_VARIABLE),
        description=f"{ERRORS_VARIABLE}: neptune-exporter's errors file, or the directory it is "
        "in, when it lies neither in nor beside the data or files directory.",
    )

    def errors(self) -> list[Location]:
        """neptune-exporter's errors files that belong to the archive.

        Raises:
            ConfigError: the one that was given is not there.
        """
        return errors_files(self.open(), self.errors_path)

    def open(self) -> Archive:
        """
        Raises:
            ConfigError: the directory of models was given and is not there: none would be found,
                and nobody would know; or one of the paths is of no kind that is known.
            ObjectStoreRefusedError, ObjectStoreUnavailableError: a bucket is not there, not ours,
                or does not answer.
        """
        places = {
            variable: location(given, variable) if given else None
            for variable, given in (
                ("MIGRATION_DATA_PATH", self.data_path),
                ("MIGRATION_FILES_PATH", self.files_path),
                (MODEL_DATA_VARIABLE, self.model_data_path),
                ("MIGRATION_MODEL_FILES_PATH", self.model_files_path),
            )
        }
        data, files, model_data, model_files = places.values()
        assert data is not None
        assert files is not None
        if isinstance(data, Path) is not isinstance(files, Path):
            raise ConfigError(
                f"MIGRATION_DATA_PATH is {str(data)!r} and MIGRATION_FILES_PATH is {str(files)!r}",
                "Put both on an object store, or both into folders: a run is written to both, and "
                "one kind of lock has to hold for it.",
            )
        for place in places.values():
            if isinstance(place, StorePath):
                place.require_bucket()
        if model_data is not None and not model_data.is_dir():
            raise ConfigError(
                f"{MODEL_DATA_VARIABLE} is {self.model_data_path!r}, which is no directory",
                "Correct it, or leave it unset when models have no directories of their own.",
            )
        return Archive(data, files, model_data, model_files)


class SourceResource(dg.ConfigurableResource[Any]):
    """Where runs come from."""

    kind: str = Field(
        default=settings.text(SOURCE_VARIABLE, "neptune3"),
        description=f"{SOURCE_VARIABLE}: which kind of source: {', '.join(source_names())}.",
    )
    api_token_variable: str = Field(
        default="NEPTUNE_API_TOKEN",
        description="Name of the environment variable that holds the API token.",
    )
    workers: int = Field(default=4, ge=1, le=64, description="Requests under way at once.")
    accept_missing_files: bool = Field(
        default=settings.flag("MIGRATION_ACCEPT_MISSING_FILES"),
        description="MIGRATION_ACCEPT_MISSING_FILES: export a run although files that it names "
        "are gone from the server's storage; its manifest names them.",
    )
    local_path: str = Field(
        default=settings.text(PATH_VARIABLE),
        description=f"{PATH_VARIABLE}: of `neptune_local` and `wandb`: folders below which the "
        f"directories that clients left are searched, separated by {os.pathsep!r}.",
    )
    local_project: str = Field(
        default=settings.text(PROJECT_VARIABLE),
        description=f"{PROJECT_VARIABLE}: of `neptune_local`: `workspace/project` of 2.x runs, "
        "which their directories do not say.",
    )
    local_run_ids: str = Field(
        default=settings.text(RUN_IDS_VARIABLE),
        description=f"{RUN_IDS_VARIABLE}: of `neptune_local`: `container id=run id`, "
        "comma-separated, for 2.x directories.",
    )
    local_merge: str = Field(
        default=settings.text(MERGE_VARIABLE),
        description=f"{MERGE_VARIABLE}: of `neptune_local`: `archive`, `neptune2` or `neptune3`: "
        "what a run is merged with that is there too; empty: with nothing.",
    )
    local_merge_data_path: str = Field(
        default=settings.text(MERGE_DATA_VARIABLE),
        description=f"{MERGE_DATA_VARIABLE}: of `neptune_local`: data directory of the archive, "
        "such as one that neptune-exporter wrote, that runs are merged with; it is only read. "
        "Empty: the archive that is exported to.",
    )
    local_merge_files_path: str = Field(
        default=settings.text(MERGE_FILES_VARIABLE),
        description=f"{MERGE_FILES_VARIABLE}: its files directory.",
    )
    _source: Source | None = PrivateAttr(default=None)

    def open(self, archive: ArchiveResource) -> Source:
        """The source, the same one for all steps of a process.

        Raises:
            UnknownNameError, ConfigError, InvalidTokenError: before anything is sent.
        """
        if self._source is None:
            given = SourceSettings(
                self.api_token_variable,
                self.workers,
                self.accept_missing_files,
                archive.open(),
                archive.errors(),
                [Path(one).expanduser() for one in self.local_path.split(os.pathsep) if one],
                self.local_project,
                run_ids(self.local_run_ids),
                self.local_merge,
                self._merge_with(),
            )
            self._source = make_source(self.kind, given)
        return self._source

    def _merge_with(self) -> Archive | None:
        """
        Raises:
            MissingSettingError: only one of its directories is given.
            ConfigError: its data directory is not there.
        """
        given = {
            MERGE_DATA_VARIABLE: self.local_merge_data_path,
            MERGE_FILES_VARIABLE: self.local_merge_files_path,
        }
        if not any(given.values()):
            return None
        for variable, path in given.items():
            if not path:
                raise MissingSettingError(variable, "merging with another archive")
        data, files = (location(path, variable) for variable, path in given.items())
        if not data.is_dir():
            raise ConfigError(
                f"{MERGE_DATA_VARIABLE} is {str(data)!r}, which is no directory",
                "Correct it, or leave it unset to merge with the archive that is exported to.",
            )
        return Archive(data, files)


class TargetResource(dg.ConfigurableResource[Any]):
    """Base of the targets' resources; the fields are those of the target's own settings."""

    _name: str = PrivateAttr(default="")

    def open(self) -> Target:
        """The target; connects to nothing yet.

        Raises:
            MissingExtraError, MissingSettingError: its SDK or a setting is missing.
        """
        raise NotImplementedError


def target_resource(name: str) -> TargetResource:
    """The resource of a registered target, made from its settings without importing its SDK."""
    config = config_class(name)
    fields: dict[str, Any] = {}
    for field, info in config.model_fields.items():
        variable = config.environment.get(field, "")
        if _is_secret(info):
            fields[_variable_field(field)] = (
                str,
                Field(
                    default=variable,
                    description="Name of the environment variable that holds: "
                    f"{info.description or field}",
                ),
            )
        else:
            fields[field] = (info.annotation, _with_default(info, variable))

    def open_it(self: TargetResource) -> Target:
        return open_target(name, _filled_in(config, self))

    model: type[TargetResource] = create_model(
        f"{name.capitalize()}Resource", __base__=TargetResource, __doc__=config.__doc__, **fields
    )
    model.open = open_it  # type: ignore[method-assign]
    return model()


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr in (info.annotation, *get_args(info.annotation))


def _variable_field(field: str) -> str:
    return f"{field}_variable"


def _with_default(info: FieldInfo, variable: str) -> Any:
    """The field with the environment's value, unless that is an address with a password in it."""
    given = os.environ.get(variable, "").strip() if variable else ""
    default = "" if info.is_required() else info.get_default(call_default_factory=True)
    if given and not _has_password(given):
        default = _typed(info, variable, given)
    description = ": ".join(part for part in (variable, info.description) if part)
    return Field(default=default, description=description)


def _typed(info: FieldInfo, variable: str, given: str) -> Any:
    """
    Raises:
        ConfigError: it is not of the field's type.
    """
    try:
        return TypeAdapter(info.annotation).validate_python(given)
    except ValidationError as error:
        raise ConfigError(
            f"{variable} is {given!r}: {error.errors()[0]['msg']}", "Correct it, or unset it."
        ) from error


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return False


def _filled_in(config: type[TargetConfig], resource: TargetResource) -> TargetConfig:
    """The target's settings: run config first, what it leaves empty from the environment.

    Raises:
        MissingSettingError: a field without a default is in neither.
    """
    values: dict[str, Any] = {}
    for field, info in config.model_fields.items():
        variable = config.environment.get(field, "")
        if _is_secret(info):
            variable = getattr(resource, _variable_field(field)) or variable
            given = os.environ.get(variable, "").strip()
        else:
            given = getattr(resource, field)
            if given == "" and variable:
                given = os.environ.get(variable, "").strip()
        if given not in ("", None):
            values[field] = given
        elif info.is_required():
            raise MissingSettingError(variable or field, info.description or field)
    return config.model_validate(values)
