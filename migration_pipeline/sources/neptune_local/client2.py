"""What is used of the 2.x client's own classes, imported here alone and without its greetings."""

from __future__ import annotations

import logging
import warnings
from typing import Any

logging.getLogger("neptune").setLevel(logging.ERROR)  # else it greets on standard output
with warnings.catch_warnings(record=True):  # it announces its own end, and its libraries theirs
    from neptune.cli.utils import detect_async_dir, detect_offline_dir
    from neptune.common.storage.storage_utils import (
        UploadEntry,
        normalize_file_name,
        scan_unique_upload_entries,
    )
    from neptune.core.components.queue.disk_queue import extract_version_from_file_name
    from neptune.internal.artifacts.drivers.local import LocalArtifactDriver
    from neptune.internal.artifacts.file_hasher import FileHasher
    from neptune.internal.artifacts.types import ArtifactFileData
    from neptune.internal.artifacts.utils import sha1
    from neptune.internal.operation import Operation, all_subclasses
    from neptune.internal.utils import get_absolute_paths

OPERATIONS: dict[str, Any] = {one.__name__: one for one in all_subclasses(Operation)}
"""Name in a log → class."""

__all__ = [
    "OPERATIONS",
    "ArtifactFileData",
    "FileHasher",
    "LocalArtifactDriver",
    "UploadEntry",
    "detect_async_dir",
    "detect_offline_dir",
    "extract_version_from_file_name",
    "get_absolute_paths",
    "normalize_file_name",
    "scan_unique_upload_entries",
    "sha1",
]
