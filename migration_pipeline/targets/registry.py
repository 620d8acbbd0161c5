"""Name → target, imported only when it is used.

A target is a folder with `config.py` (settings, without the SDK), `capabilities.py` (data) and
`client.py` (the only place that imports the SDK). To add one: fill in the folder, add a line here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from migration_pipeline.errors import MissingExtraError, MissingSettingError, UnknownNameError
from migration_pipeline.targets.target import Capabilities, Target


class TargetConfig(BaseModel):
    """Settings of one target. Secrets are secret types; nothing here imports an SDK."""

    model_config = ConfigDict(frozen=True)
    environment: ClassVar[dict[str, str]] = {}
    """Field → the environment variable that fills it."""

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the variables in `environment`; unset or empty ones leave the field's default.

        Raises:
            MissingSettingError: a field without a default has no variable set.
        """
        found = {
            field: value
            for field, variable in cls.environment.items()
            if (value := os.environ.get(variable, ""))
        }
        for field, variable in cls.environment.items():
            if field not in found and cls.model_fields[field].is_required():
                raise MissingSettingError(variable, cls.model_fields[field].description or field)
        return cls.model_validate(found)


@dataclass(frozen=True)
class _Entry:
    extra: str
    module: str
    """What `import` needs for it; its absence means the extra is not installed."""
    config: str
    capabilities: str
    client: str


_FOLDERS = "migration_pipeline.targets"


def _folder(name: str, prefix: str, module: str = "", extra: str = "") -> _Entry:
    """The entry of a target whose folder, extra and package are all called as it is."""
    folder = f"{_FOLDERS}.{name}"
    return _Entry(
        extra=extra or name,
        module=module or name,
        config=f"{folder}.config:{prefix}Config",
        capabilities=f"{folder}.capabilities:CAPABILITIES",
        client=f"{folder}.client:{prefix}Target",
    )


_TARGETS: dict[str, _Entry] = {
    "comet": _folder("comet", "Comet", module="comet_ml"),
    "dummy": _folder("dummy", "Dummy", module="pyarrow"),
    "goodseed": _folder("goodseed", "Goodseed"),
    "litlogger": _folder("litlogger", "Litlogger"),
    "minfx": _folder("minfx", "Minfx"),
    "mlflow": _folder("mlflow", "Mlflow"),
    "neptune": _folder("neptune", "Neptune"),
    "pluto": _folder("pluto", "Pluto"),
    "trackio": _folder("trackio", "Trackio"),
    "wandb": _folder("wandb", "Wandb"),
    "zenml": _folder("zenml", "Zenml"),
}


def target_names() -> list[str]:
    """Every target there is, installed or not, sorted."""
    return sorted(_TARGETS)


def check_targets(names: Iterable[str]) -> None:
    """
    Raises:
        UnknownNameError: one is not registered.
    """
    for name in names:
        _entry(name)


def config_class(name: str) -> type[TargetConfig]:
    """The settings model of a target; needs no SDK.

    Raises:
        UnknownNameError: there is no such target.
    """
    found: type[TargetConfig] = _load(_entry(name).config)
    return found


def capabilities_of(name: str) -> Capabilities:
    """What a target can hold; needs no SDK.

    Raises:
        UnknownNameError: there is no such target.
    """
    found: Capabilities = _load(_entry(name).capabilities)
    return found


def open_target(name: str, config: TargetConfig | None = None) -> Target:
    """The target, ready to be used; `config` None: from the environment. Connects to nothing yet.

    Raises:
        UnknownNameError: there is no such target.
        MissingExtraError: its SDK is not installed.
        MissingSettingError: a setting is missing.
    """
    entry = _entry(name)
    if importlib.util.find_spec(entry.module) is None:
        raise MissingExtraError(name, entry.extra, entry.module)
    made: Target = _load(entry.client)(config or config_class(name).from_environment())
    return made


def _entry(name: str) -> _Entry:
    if name not in _TARGETS:
        raise UnknownNameError("target", name, _TARGETS, "MIGRATION_TARGETS")
    return _TARGETS[name]


def _load(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
