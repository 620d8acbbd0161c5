"""Neptune 2.x artifacts as MLflow's datasets: inputs of their run, beside their files.

Two runs with the same artifact have the same dataset then, as they had the same hash in Neptune.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

from migration_pipeline.archive.location import Location
from migration_pipeline.mapping.scan import FileRow, RunScan
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.mlflow.capabilities import (
    DATASET_DIGEST_MAX_LENGTH,
    DATASET_NAME_MAX_LENGTH,
    DATASETS_PER_REQUEST,
)
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.naming import within

_HASH = re.compile(rb'^\s*\{\s*"hash"\s*:\s*"([^"]*)"')
_HEAD, _WHOLE = 4096, 16 * 1024 * 1024
"""Bytes in which a list says its hash; of a list up to this size its files are summed up too."""


def log_datasets(
    to: Connection,
    scan: RunScan,
    run_id: str,
    root: str,
    uploads: list[tuple[FileRow, dict[str, str]]],
) -> None:
    """Sends the artifacts of a run; what MLflow has already it leaves alone.

    Args:
        root: where the run's files are.
        uploads: file rows and what they are called there (`mapping.uploads.name_files`).
    """
    make, found = to.entities, []
    for row, inside in uploads:
        if row.type == "artifact" and row.path and row.path.endswith(".json") and "" in inside:
            digest, profile = _of_list(scan.run.file(row.path))
            address = f"{root}/{inside['']}"
            scheme = urlsplit(address).scheme
            dataset = make.Dataset(
                name=within(without_nul(row.attribute), DATASET_NAME_MAX_LENGTH),
                digest=digest[:DATASET_DIGEST_MAX_LENGTH],
                # The names by which mlflow.data finds what reads it.
                source_type="local" if scheme in ("", "file") else scheme,
                source=json.dumps({"uri": address}),
                profile=profile,
            )
            tag = make.InputTag("mlflow.data.context", "neptune artifact")
            found.append(make.DatasetInput(dataset, [tag]))
    for start in range(0, len(found), DATASETS_PER_REQUEST):
        with to.calls("sending datasets"):
            to.client.log_inputs(run_id, found[start : start + DATASETS_PER_REQUEST])


def _of_list(file: Location) -> tuple[str, str | None]:
    """The artifact's hash, or of a list without one a digest of the list; and what it lists."""
    with file.open("rb") as stream:
        said = _HASH.match(stream.read(_HEAD))
        stream.seek(0)
        digest = said[1].decode() if said else hashlib.file_digest(stream, "sha256").hexdigest()
    if file.stat().st_size > _WHOLE:
        return digest, None
    try:
        listed: Any = json.loads(file.read_bytes())
        files = listed["files"] if isinstance(listed, dict) else listed
        sizes = [int(one.get("size") or 0) for one in files]
    except (ValueError, KeyError, TypeError, AttributeError):
        return digest, None
    return digest, json.dumps({"num_files": len(sizes), "total_size": sum(sizes)})
