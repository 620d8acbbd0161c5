"""What models, model versions and artifacts are called: deterministic from project and run, and
never the same for two.

`neptune-export-<workspace>-<project>` and the run's id, as neptune-exporter names them. A name that
ZenML refuses (a number, a stage, an id of its own kind), or that another project or run could have
after cleaning, ends in 16 hex digits of its original.
"""

from __future__ import annotations

import re
from uuid import UUID

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.zenml.capabilities import NAME_MAX_LENGTH

STAGES = frozenset({"none", "staging", "production", "archived", "latest"})
"""zenml.enums.ModelStages; the server compares in lower case."""
DATA, FILES = "data", "files"
"""Of the artifacts of a model."""
_ROOM = NAME_MAX_LENGTH - len("-files") - 17
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\- ]*[A-Za-z0-9_.\-])?")
_OTHER = re.compile(r"[^A-Za-z0-9_.\- ]")
_PROJECT = re.compile(r"[A-Za-z0-9_.]+/[A-Za-z0-9_.\-]+")
"""Where the first dash of the name must stand for the slash."""
_DIGEST = re.compile(r"-[0-9a-f]{16}$")


def model_name(project: str, mapping: ProjectMapping) -> str:
    """Of a Neptune project."""
    prefix = mapping.name_prefix
    name = f"{prefix}-neptune-export-{project}" if prefix else f"neptune-export-{project}"
    wanted = name.replace("/", "-")
    if _PROJECT.fullmatch(project) and "/" not in prefix and _is_plain(wanted):
        return wanted
    return _with_digest(wanted, f"{prefix}\0{project}")


def version_name(key: RunKey) -> str:
    """Of a run, within its project's model; other kinds of objects begin with their kind."""
    if key.kind != "run":
        return _with_digest(f"{key.kind}-{key.run}", f"{key.kind}\0{key.run}")
    refused = key.run.isnumeric() or key.run.lower() in STAGES or _is_uuid(key.run)
    return key.run if _is_plain(key.run) and not refused else _with_digest(key.run, key.run)


def artifact_name(model: str, what: str) -> str:
    """Of the data (`DATA`) or the files (`FILES`) of all runs of a project."""
    return f"{model}-{what}"


def _is_plain(name: str) -> bool:
    plain = _PLAIN.fullmatch(name) and len(name) <= _ROOM
    return bool(plain) and not _DIGEST.search(name)


def _with_digest(name: str, original: str) -> str:
    cleaned = _OTHER.sub("_", name)[: _ROOM - 1].strip(" .")
    return f"{cleaned or '_'}-{layout.digest(original)}"


def is_taggable(tag: str, limit: int) -> bool:
    """Whether ZenML takes it for a tag: an id-like one it would look up instead."""
    return bool(tag.strip()) and tag == tag.strip() and len(tag) <= limit and not _is_uuid(tag)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
