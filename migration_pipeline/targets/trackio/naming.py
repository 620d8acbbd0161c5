"""What projects and runs are called in Trackio's folder.

Trackio drops characters from a project's name until it is a file's, so that two projects may become
one; here two never do.
"""

from __future__ import annotations

import re

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping

_PLAIN = re.compile(r"[A-Za-z0-9-]+")
_DIGESTED = re.compile(r".*-[0-9a-f]{16}")
_RESERVED = (
    *("system", "configs", "traces", "artifacts", "artifact_versions", "artifact_aliases"),
    *("run_artifact_links", "external_run_artifact_links"),
)
"""sqlite_storage.py validate_project_name: ends of names that files of its own have."""


def project_name(project: str, mapping: ProjectMapping) -> str:
    """Trackio's name of a project: `[<prefix>_]<workspace>_<project>`, with a digest where another
    project could have the same, or where Trackio would refuse it."""
    name = f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project
    segments = name.split("/")
    plain = "_".join(segments)
    if (
        all(_PLAIN.fullmatch(s) for s in segments)
        and len(plain) <= 100
        and not _DIGESTED.fullmatch(plain)
        and not plain.startswith("registry-")
        and not plain.endswith(tuple(f"_{end}" for end in _RESERVED))
    ):
        return plain
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", plain)[:60].strip("-_") or "project"
    clean = clean.replace("registry-", "registry_", 1)
    return f"{clean}-{layout.digest(name)}"


def run_id(key: RunKey) -> str:
    """Trackio's id of a run: 16 hex digits, always the same for the same run. Each of its rows has
    it several times, so it is no longer than it must be."""
    text = f"{key.project}\0{key.kind}\0{key.run}"
    return layout.digest(text)


def run_name(key: RunKey) -> str:
    return key.run if key.kind == "run" else f"{key.run} ({key.kind.replace('_', ' ')})"


def artifact_name(key: RunKey) -> str:
    """Of a run's files; cas.py takes letters, digits, `.`, `_`, `-`."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "_", key.run)[:60]
    return f"{clean}-{run_id(key)}"
