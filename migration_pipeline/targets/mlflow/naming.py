"""What things are called at MLflow, beside attributes: experiments, runs, models, folders."""

from __future__ import annotations

import re

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_PLURALS, RunKey
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.mlflow.capabilities import (
    CAPABILITIES,
    EXPERIMENT_NAME_MAX_LENGTH,
    MODEL_NAME_MAX_LENGTH,
    RUN_NAME_MAX_LENGTH,
)


def project_name(project: str, mapping: ProjectMapping) -> str:
    """How the names of all experiments of a project begin."""
    return f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project


def experiment_name(key: RunKey, facts: RunFacts, mapping: ProjectMapping) -> str:
    """`<prefix>/<project>/<sys/name>`, as neptune-exporter names it; without a name the project.

    Models, model versions and a project's metadata are runs of their own, in an experiment a kind.
    """
    name = project_name(key.project, mapping)
    group = facts.experiment if key.kind == "run" else KIND_PLURALS[key.kind]
    if group:
        name = f"{name}/{without_nul(group)}"
    return within(name, EXPERIMENT_NAME_MAX_LENGTH)


def run_name(run: str) -> str:
    return within(without_nul(run), RUN_NAME_MAX_LENGTH)


def model_name(project: str, model: str, mapping: ProjectMapping) -> str:
    """`<prefix>.<workspace>.<project>.<model id>`: MLflow allows no slash there.

    A digest tells apart what would be the same: a part that has a dot itself, or a character that
    must be replaced.
    """
    parts = [*project_name(project, mapping).split("/"), model]
    name = ".".join(re.sub(r"[/:\0]", "_", part) for part in parts)
    plain = project.count("/") == 1 and not any(re.search(r"[./:\0]", p) or not p for p in parts)
    if not plain:
        name = f"{name}-{layout.digest('/'.join(parts))}"
    return within(name, MODEL_NAME_MAX_LENGTH)


def identity(key: RunKey) -> str:
    """The value of `neptune.run_key`: `workspace/project|run id`, or `…|%model|id`.

    `neptune.kind` tells a run from a model if its id should begin with that.
    """
    mark = "" if key.kind == "run" else f"%{key.kind}|"
    text = without_nul(f"{key.project}|{mark}{key.run}")
    return within(text, CAPABILITIES.tag_max_length or len(text))


def within(name: str, limit: int) -> str:
    """A name cut to a length, with a digest of the whole, so that two never become one."""
    return name if len(name) <= limit else f"{name[: limit - 17]}-{layout.digest(name)}"


def artifact_folder(experiment: str) -> str:
    """The folder of an experiment's files: short, because MLflow keeps no address beyond 200."""
    return f"{layout.clean(experiment)[:40]}-{layout.digest(experiment)}"


def like(text: str) -> str:
    """A LIKE pattern that matches the text, and perhaps others: what a filter cannot quote or
    escape is a wildcard. The caller compares exactly."""
    return re.sub(r"[^A-Za-z0-9 ./|:-]", "_", text)
