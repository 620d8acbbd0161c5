"""3.x endpoints about projects: listing, existence, creation."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .store import Project, Store
from .types3 import ApiError, bad_request


class Projects:
    """One instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def list(self, _: Request, __: bytes) -> Response:
        """All projects, as `neptune_scale.projects.list_projects` reads them."""
        entries = [_described(project) for project in self.store.projects.values()]
        return JSONResponse({"entries": entries, "matchingItemCount": len(entries)})

    def get(self, request: Request, _: bytes) -> Response:
        """One project; 404 when there is none (the tests assert an error status, not which)."""
        identifier = request.query_params.get("projectIdentifier", "")
        project = self.store.projects.get(identifier)
        if project is None:
            raise ApiError(404, "PROJECT_NOT_FOUND", f"Project {identifier} not found")
        return JSONResponse(_described(project))

    def create(self, _: Request, body: bytes) -> Response:
        """409 when it exists: neptune-scale counts on it."""
        try:
            asked = json.loads(body)
            identifier = f"{asked['organizationIdentifier']}/{asked['name']}"
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request("organizationIdentifier and name are needed") from error
        with self.store.lock:
            if identifier in self.store.projects:
                raise ApiError(409, "PROJECT_ALREADY_EXISTS", f"Project {identifier} exists")
            try:
                project = self.store.project(identifier, asked.get("projectKey"))
            except ValueError as error:
                raise bad_request(str(error)) from error
        return JSONResponse(_described(project))


def _described(project: Project) -> dict[str, Any]:
    return {
        "id": project.uuid,
        "name": project.name,
        "projectKey": project.key,
        "organizationName": project.workspace,
        "organizationId": project.workspace,
        "version": 3,
        "visibility": "priv",
    }
