"""Name → target, imported only when it is used.

A target is a folder with `config.py` (settings, without the SDK), `capabilities.py` (data) and
`client.py` (the only place that imports the SDK). To add one: fill in the folder, add a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from migration_pipeline.targets.target import Capabilities, Target


class TargetConfig(BaseModel):
    """Settings of one target. Secrets are secret types; nothing here imports an SDK."""

    model_config = ConfigDict(frozen=True)
    environment: ClassVar[dict[str, str]] = {}
    """Field → the environment variable that fills it."""

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the variables in `environment`; unset ones leave the field's default.

        Raises:
            MissingSettingError: a field without a default has no variable set.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class _Entry:
    extra: str
    module: str
    """What `import` needs for it; its absence means the extra is not installed."""
    config: str
    capabilities: str
    client: str


_FOLDERS = "migration_pipeline.targets"
_TARGETS: dict[str, _Entry] = {
    "mlflow": _Entry(
        extra="mlflow",
        module="mlflow",
        config=f"{_FOLDERS}.mlflow.config:MlflowConfig",
        capabilities=f"{_FOLDERS}.mlflow.capabilities:CAPABILITIES",
        client=f"{_FOLDERS}.mlflow.client:MlflowTarget",
    ),
}


def target_names() -> list[str]:
    """Every target there is, installed or not, sorted."""
    return sorted(_TARGETS)


def config_class(name: str) -> type[TargetConfig]:
    """The settings model of a target; needs no SDK.

    Raises:
        UnknownNameError: there is no such target.
    """
    raise NotImplementedError


def capabilities_of(name: str) -> Capabilities:
    """What a target can hold; needs no SDK."""
    raise NotImplementedError


def open_target(name: str, config: TargetConfig | None = None) -> Target:
    """The target, ready to be used; `config` None: from the environment. Connects to nothing yet.

    Raises:
        UnknownNameError: there is no such target.
        MissingExtraError: its SDK is not installed.
        MissingSettingError: a setting is missing.
    """
    raise NotImplementedError
