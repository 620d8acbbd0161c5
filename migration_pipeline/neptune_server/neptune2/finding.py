"""Whom a 2.x request means: projects and objects by UUID or qualified name, bodies as JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from migration_pipeline.neptune_server.store import Attribute, Project, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from .creation import metadata


def find_project(store: Store, identifier: str) -> Project:
    """A project by `workspace/name` or UUID. ApiError 404 when there is none."""
    found = store.projects.get(identifier) or next(
        (project for project in store.projects.values() if project.uuid == identifier), None
    )
    if found is None:
        raise ApiError(404, "PROJECT_NOT_FOUND", f"Project {identifier} not found")
    return found


def find_object(store: Store, identifier: str) -> Run:
    """A run, model, model version or project's metadata by UUID or `workspace/project/SYS-ID`.

    ApiError 404 with the errorType that lets the clients say which object is missing.
    """
    found = store.by_uuid.get(identifier) or _named(store, identifier) or _itself(store, identifier)
    if found is None:
        raise ApiError(404, "EXPERIMENT_NOT_FOUND", f"Object {identifier} not found")
    return found


def find_attribute(store: Store, request: Request, *types: str) -> tuple[Run, str, Attribute]:
    """The object, path and attribute that `experimentId` and `attribute` name.

    ApiError 404 when there is none of these types (the archive's names).
    """
    run = find_object(store, request.query_params.get("experimentId", ""))
    path = request.query_params.get("attribute", "")
    found = run.attributes.get(path)
    if found is None or found.type not in types:
        wanted = " or ".join(types)
        raise ApiError(404, "ATTRIBUTE_NOT_FOUND", f"{run.sys_id} has no {wanted} {path!r}")
    return run, path, found


def number(request: Request, name: str, default: int) -> int:
    """A whole number, not negative, in the query. ApiError 400 for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise bad_request(f"{name} is not a whole number: {text}")
    return int(text)


def parsed(body: bytes, kind: type) -> Any:
    """The body, which is JSON of this kind (dict or list). ApiError 400 when it is not."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise bad_request(f"The request's body is not JSON: {error}") from error
    if not isinstance(content, kind):
        raise bad_request(f"The request's body is not a JSON {kind.__name__}")
    return content


def _named(store: Store, identifier: str) -> Run | None:
    """An object by its qualified name; sys ids hold no slash."""
    project, _, sys_id = identifier.rpartition("/")
    found = store.projects.get(project)
    return found.runs.get(sys_id) if found is not None else None


def _itself(store: Store, identifier: str) -> Run | None:
    """A project as an object, which is made when somebody asks for it."""
    for project in store.projects.values():
        if identifier in (project.uuid, f"{project.identifier}/{project.key}"):
            return metadata(project)
    return None
