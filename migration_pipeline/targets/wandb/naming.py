"""What things are called at W&B, beside attributes: projects, runs and their ids, tags."""

from __future__ import annotations

import re
from collections.abc import Iterable

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.wandb.capabilities import (
    PROJECT_MAX_LENGTH,
    RUN_NAME_MAX_LENGTH,
    TAG_MAX_LENGTH,
)


def project_name(project: str, mapping: ProjectMapping) -> str:
    """`<prefix>_<workspace>_<project>`, as neptune-exporter names it.

    Two projects may get one name: their runs tell which one they are of.
    """
    name = f"{mapping.name_prefix}_{project}" if mapping.name_prefix else project
    return within(re.sub(r"[^a-zA-Z0-9_.-]", "_", name), PROJECT_MAX_LENGTH)


def run_name(run: str) -> str:
    """The display name: the run's id in Neptune."""
    return within(without_nul(run), RUN_NAME_MAX_LENGTH)


def run_key(key: RunKey, mapping: ProjectMapping) -> str:
    """The id of the first attempt, by which all attempts are found: what W&B takes of the run's id,
    and a digest of project, kind and run."""
    clean = re.sub(r"[^a-zA-Z0-9_-]", "_", key.run)[:40].strip("_") or "run"
    whole = "\0".join((mapping.name_prefix, key.project, key.kind, key.run))
    return f"{clean}-{layout.digest(whole)}"


def attempt_id(base: str, attempt: int) -> str:
    """The id of an attempt, counted from 1: the id of a run that was deleted is gone for ever."""
    return base if attempt == 1 else f"{base}-{attempt}"


def attempt_of(base: str, run_id: str) -> int:
    """The inverse of `attempt_id`; 0 for an id that is none."""
    if run_id == base:
        return 1
    rest = run_id.removeprefix(f"{base}-")
    return int(rest) if rest != run_id and rest.isdecimal() else 0


def tags_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as W&B takes them: 1 to 64 characters, each once; longer ones get a digest."""
    cut = (within(without_nul(tag), TAG_MAX_LENGTH) for tag in tags)
    return tuple(dict.fromkeys(tag for tag in cut if tag))


def within(name: str, limit: int) -> str:
    """A name cut to a length, with a digest of the whole, so that two never become one."""
    return name if len(name) <= limit else f"{name[: limit - 17]}-{layout.digest(name)}"
