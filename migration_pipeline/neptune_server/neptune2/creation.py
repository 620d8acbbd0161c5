"""New objects of 2.x with the attributes under `sys` that a server gives them.

The names of a project's are those that the vendor's end-to-end tests list; a run's, model's and
model version's are the ones that its clients and archives show. Their types and that times and
sizes begin at 0 are assumed.
"""

from __future__ import annotations

import re
from typing import Any

from migration_pipeline.neptune_server.store import Attribute, Project, Run

STAGES = ("none", "staging", "production", "archived")


def create_run(
    project: Project,
    custom_id: str | None = None,
    *,
    owner: str = "owner",
    created: int | None = None,
    git: dict[str, Any] | None = None,
    notebook: dict[str, Any] | None = None,
) -> Run:
    """A run `KEY-n`; ValueError when `custom_id` is taken.

    `created` is in milliseconds; `git` and `notebook` are what the client says of where it runs.
    """
    with project.store.lock:
        if custom_id is not None and find_custom(project, custom_id) is not None:
            raise ValueError(f"{project.identifier} already has a run {custom_id!r}")
        sys_id = project.next_sys_id()
        run = Run(project, custom_id or sys_id, sys_id)
        _common(run, owner, created)
        if custom_id is not None:
            run.attributes["sys/custom_run_id"] = Attribute("string", custom_id)
        if git is not None:
            run.attributes["source_code/git"] = Attribute("git_ref", git)
        if notebook is not None:
            run.attributes["source_code/notebook"] = Attribute("notebook_ref", notebook)
        return project.add(run)


def create_model(project: Project, key: str, *, owner: str = "owner") -> Run:
    """The model `KEY-MODELKEY`. ValueError when the key is taken or no key.

    What a key may hold (capital letters and digits) is assumed.
    """
    if not re.fullmatch(r"[A-Z0-9]+", key):
        raise ValueError(f"a model's key is made of capital letters and digits, not {key!r}")
    with project.store.lock:
        sys_id = f"{project.key}-{key}"
        model = Run(project, sys_id, sys_id, kind="model")
        _common(model, owner)
        return project.add(model)


def create_model_version(model: Run, *, owner: str = "owner") -> Run:
    """The model's next version, `KEY-MODELKEY-n`, at stage none."""
    project = model.project
    with project.store.lock:
        sys_id = project.next_version_id(model)
        version = Run(project, sys_id, sys_id, kind="model_version")
        _common(version, owner)
        version.attributes["sys/model_id"] = Attribute("string", model.sys_id)
        version.attributes["sys/stage"] = Attribute("string", STAGES[0])
        return project.add(version)


def metadata(project: Project) -> Run:
    """The project itself as an object with attributes: made when first asked for."""
    with project.store.lock:
        if project.metadata is not None:
            return project.metadata
        made = Run(project, project.key, project.key, kind="project", uuid=project.uuid)
        _common(made, None, project.created)
        for name in ("modification_time", "ping_time"):
            made.attributes[f"sys/{name}"] = Attribute("datetime", project.created)
        made.attributes["sys/name"] = Attribute("string", project.name)
        made.attributes["sys/visibility"] = Attribute("string", project.visibility)
        return project.add(made)


def find_custom(project: Project, custom_id: str) -> Run | None:
    """The run that was created with this custom id."""
    found = project.find(custom_id)
    if found is None or _custom_id(found) == custom_id:
        return found
    return next((run for run in project if _custom_id(run) == custom_id), None)


def model_of(version: Run) -> Run | None:
    """The model that a version belongs to."""
    named = version.attributes.get("sys/model_id")
    return version.project.runs.get(named.value) if named is not None else None


def _custom_id(run: Run) -> str | None:
    found = run.attributes.get("sys/custom_run_id")
    return found.value if found is not None else None


def _common(run: Run, owner: str | None, created: int | None = None) -> None:
    """What all kinds have; without an owner also nothing that an owner decides."""
    now = run.project.store.clock()
    system: dict[str, tuple[str, Any]] = {
        "id": ("string", run.sys_id),
        "creation_time": ("datetime", now if created is None else created),
        "modification_time": ("datetime", now),
        "ping_time": ("datetime", now),
        "running_time": ("float", 0.0),
        "monitoring_time": ("int", 0),
        "size": ("float", 0.0),
        "state": ("run_state", "idle"),
        "tags": ("string_set", ()),
        "group_tags": ("string_set", ()),
    }
    if owner is not None:
        system |= {
            "owner": ("string", owner),
            "failed": ("bool", False),
            "trashed": ("bool", False),
        }
    for name, (type_, value) in system.items():
        run.attributes[f"sys/{name}"] = Attribute(type_, value)
