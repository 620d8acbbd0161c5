"""What things are called at Comet, beside attributes: projects, experiments, our own marks."""

from __future__ import annotations

import hashlib
import re

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.terms import ProjectMapping

PROJECT_NAME_MAX_LENGTH = 99
"""comet_ml/exceptions.py PROJECT_NAME_TOO_LONG: the server refuses 100 and more."""
MARK = "neptune/mark/"
"""Begins the names of parameters that are ours."""
MARKS = {
    name: f"{MARK}{name}"
    for name in (
        "project",
        "run",
        "kind",
        "state",
        "digest",
        "fingerprint",
        "step_decimals",
        "step_multiplier",
        "mapping_version",
        "grade",
        "parent",
        "sys_id",
        "verified",
        "prefix",
    )
}
"""What the marks are → the parameters that hold them: Comet gives parameters, and nothing else, of
many experiments in one answer."""
FACTS = "neptune/"
"""Begins the names of others that say what Comet has no place for."""


def project_name(project: str, mapping: ProjectMapping) -> str:
    """`<prefix>_<workspace>_<project>`, in characters that a page's address can hold.

    Two Neptune projects that get the same name share a project at Comet and nothing else: which
    run is whose is told by its marks.
    """
    whole = f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project
    name = re.sub(r"[^A-Za-z0-9_.\-]", "_", whole)
    plain = name == whole.replace("/", "_") and name.strip(".")
    if plain and len(name) <= PROJECT_NAME_MAX_LENGTH:
        return name
    return f"{name[: PROJECT_NAME_MAX_LENGTH - 17]}-{layout.digest(whole)}"


def experiment_key(key: RunKey, mapping: ProjectMapping, workspace: str, attempt: int = 0) -> str:
    """32 hex digits: the same ones for the same run in the same workspace.

    Keys are of the whole service, so the workspace is a part; `attempt` counts up where the key of
    a deleted experiment stays taken.
    """
    parts = [workspace, mapping.name_prefix, key.project, key.kind, key.run]
    parts += [str(attempt)] if attempt else []
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def whole_series(name: str) -> str:
    """The file of the float series that Comet calls so."""
    return f"{sidecar.WHOLE_SERIES}/{layout.digest(name)}.parquet"
