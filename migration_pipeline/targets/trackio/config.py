"""Settings of the Trackio target: the variables that Trackio itself reads."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from migration_pipeline.targets.registry import TargetConfig


class TrackioConfig(TargetConfig):
    """Local storage only: nothing is sent to a Space; `trackio sync` does that afterwards."""

    environment: ClassVar[dict[str, str]] = {
        "directory": "TRACKIO_DIR",
        "hugging_face_home": "HF_HOME",
    }

    directory: str = Field(
        default="",
        description="The folder that holds Trackio's databases. Empty: `trackio` below Hugging "
        "Face's own folder, as Trackio itself has it",
    )
    hugging_face_home: str = Field(
        default="",
        description="Hugging Face's own folder. Empty: .cache/huggingface in the home directory",
    )

    @property
    def folder(self) -> Path:
        if self.directory:
            return Path(self.directory).expanduser()
        # trackio/utils.py _get_trackio_dir, huggingface_hub/constants.py HF_HOME
        home = self.hugging_face_home or "~/.cache/huggingface"
        return Path(home).expanduser() / "trackio"
