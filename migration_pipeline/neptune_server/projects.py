"""Projects: listing, existence, creation. The clients of 3.x and 2.x ask the same addresses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .neptune2.finding import find_project, number
from .neptune2.management import Management
from .store import Project, Store
from .types3 import ApiError

_RELATIONS = {"viewerOrHigher": "viewer", "memberOrHigher": "member"}
"""Those that the clients ask for."""


class Projects:
    """One instance per server."""

    def __init__(self, store: Store, management: Management) -> None:
        self.store = store
        self.management = management

    def list(self, request: Request, _: bytes) -> Response:
        """Those that the user sees, in the order of their creation, from `offset` at most `limit`.

        `searchTerm` is part of a name. No other order is made: what the clients ask for (last
        viewed first) depends on looking.
        """
        query = request.query_params
        workspace, term = query.get("organizationIdentifier"), query.get("searchTerm", "").lower()
        at_least = _RELATIONS.get(query.get("userRelation", ""), "viewer")
        found = [
            project
            for project in list(self.store.projects.values())
            if self.management.accounts.sees(request.state.user, project, at_least)
            and workspace in (None, project.workspace, self._workspace_id(project))
            and term in project.name.lower()
        ]
        offset = number(request, "offset", 0)
        page = found[offset : offset + number(request, "limit", len(found))]
        return JSONResponse(
            {
                "entries": [self._described(project) for project in page],
                "matchingItemCount": len(found),
                "totalItemCount": len(found),
            }
        )

    def get(self, request: Request, _: bytes) -> Response:
        """One project by name or UUID; 404 when there is none that the user sees.

        The vendor's tests of 3.x assert an error status, not which; the 2.x client maps 404.
        """
        identifier = request.query_params.get("projectIdentifier", "")
        project = find_project(self.store, identifier)
        if not self.management.accounts.sees(request.state.user, project):
            raise ApiError(404, "PROJECT_NOT_FOUND", f"Project {identifier} not found")
        return JSONResponse(self._described(project))

    def create(self, request: Request, body: bytes) -> Response:
        """409 when it exists: neptune-scale counts on it."""
        return JSONResponse(self._described(self.management.create(request, body)))

    def _workspace_id(self, project: Project) -> str:
        return self.management.accounts.add_workspace(project.workspace).id

    def _described(self, project: Project) -> dict[str, Any]:
        created = datetime.fromtimestamp(project.created / 1000, UTC).isoformat()
        return {
            "id": project.uuid,
            "name": project.name,
            "projectKey": project.key,
            "organizationName": project.workspace,
            "organizationId": self._workspace_id(project),
            "version": project.version,
            "visibility": project.visibility,
            "description": project.description,
            "archived": False,
            "timeOfCreation": created,
            "lastActivity": created,
        }
