"""Settings of the GoodSeed target: the variable that GoodSeed itself reads."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from migration_pipeline.targets.registry import TargetConfig


class GoodseedConfig(TargetConfig):
    """Nothing is sent to GoodSeed's cloud; `goodseed upload` does that afterwards."""

    environment: ClassVar[dict[str, str]] = {"home": "GOODSEED_HOME"}

    home: str = Field(
        default="",
        description="The folder that holds GoodSeed's projects. Empty: .goodseed in the home "
        "directory, as GoodSeed itself has it",
    )

    @property
    def folder(self) -> Path:
        # goodseed/config.py DEFAULT_HOME
        return Path(self.home).expanduser() if self.home else Path.home() / ".goodseed"
