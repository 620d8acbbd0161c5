"""What the clients' `management` calls: workspaces, projects, members, service accounts.

Rules and errors are those that the vendor's end-to-end tests assert and its client maps;
what is assumed is said at its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.series import ObjectSeries
from migration_pipeline.neptune_server.store import FileSetValue, FileValue, Project, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from .accounts import ROLES, VISIBILITIES, Accounts, Workspace
from .finding import find_project, parsed

_NAME = re.compile(r"[\w.-]+")
_KEY = re.compile(r"(?=.*[A-Z])[A-Z0-9]{1,10}")


class Management:
    """One instance per server. Who asks is in `request.state.user`."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self.store = store
        self.accounts = accounts

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "listOrganizations": self.workspaces,
            "listOrganizationMembers": self.workspace_members,
            "listServiceAccounts": self.workspace_accounts,
            "workspaceStatus": self.status,
            "createOrganizationInvitations": self.invite,
            "deleteProject": self.delete,
            "listProjectMembers": self.members,
            "addProjectMember": self.add_member,
            "deleteProjectMember": self.remove_member,
            "listProjectServiceAccounts": self.service_accounts,
            "addProjectServiceAccount": self.add_account,
            "deleteProjectServiceAccount": self.remove_account,
        }

    def workspaces(self, request: Request, _: bytes) -> Response:
        """Those that the user is in."""
        user = request.state.user
        return JSONResponse(
            [
                {
                    "id": one.id,
                    "name": one.name,
                    "organizationType": "team",
                    "userRole": one.members[user],
                }
                for one in self.accounts.workspaces()
                if user in one.members
            ]
        )

    def workspace_members(self, request: Request, _: bytes) -> Response:
        """Users with their roles; service accounts are not among them."""
        members = self._workspace(request).members
        return JSONResponse([_member(user, role) for user, role in members.items()])

    def workspace_accounts(self, request: Request, _: bytes) -> Response:
        """Service accounts; none is ever deactivated here."""
        workspace = self._workspace(request)
        if request.query_params.get("deactivated", "").lower() == "true":
            return JSONResponse([])
        return JSONResponse([_account(workspace, id_) for id_ in workspace.service_accounts])

    def status(self, request: Request, _: bytes) -> Response:
        """Storage and projects, limit and use."""
        workspace = self._workspace(request)
        projects = [p for p in self.store.projects.values() if p.workspace == workspace.name]
        used = sum(_size(project) for project in projects)
        return JSONResponse(
            {
                "storageBytesLimit": workspace.storage_limit,
                "storageBytesAvailable": max(workspace.storage_limit - used, 0),
                "activeProjectsUsage": len(projects),
                "activeProjectsLimit": workspace.project_limit,
                "membersCount": len(workspace.members),
            }
        )

    def invite(self, request: Request, body: bytes) -> Response:
        """Invitations are kept and never accepted. 409 for somebody in the workspace or invited.

        404 for an unknown workspace or user; an e-mail address needs no user. That only
        administrators invite is assumed.
        """
        asked = parsed(body, dict)
        workspace = self.accounts.workspace(str(asked.get("organizationIdentifier")))
        if workspace is None:
            raise _no_workspace(str(asked.get("organizationIdentifier")))
        if workspace.members.get(request.state.user) != "owner":
            raise ApiError(403, "ACCESS_DENIED", "Only administrators invite to a workspace")
        for entry in asked.get("invitationsEntries") or ():
            invitee = str(entry.get("invitee"))
            if entry.get("invitationType") == "user" and invitee not in self.accounts.users:
                raise ApiError(404, "USER_NOT_FOUND", f"User {invitee} not found")
            if invitee in workspace.members or invitee in workspace.invited:
                raise ApiError(409, "ALREADY_INVITED", f"{invitee} is in {workspace.name} already")
            workspace.invited.add(invitee)
        return JSONResponse({})

    def create(self, request: Request, body: bytes) -> Project:
        """A new project, managed by who made it.

        2.x names the workspace by `organizationId`, 3.x by `organizationIdentifier` and makes
        projects of its own version; there the workspace need not exist (assumed). Without
        a key the server picks one.
        """
        asked = parsed(body, dict)
        workspace = self._asked_workspace(asked)
        if request.state.user not in workspace.members:
            raise ApiError(403, "ACCESS_DENIED", f"Access to workspace {workspace.name} denied.")
        with self.store.lock:
            name, visibility = str(asked.get("name")), asked.get("visibility") or "priv"
            self._check_new(workspace, name, visibility)
            key = self._key(workspace, name, asked.get("projectKey"))
            version = 2 if asked.get("organizationId") else 3
            project = self.store.project(f"{workspace.name}/{name}", key, version)
            project.visibility = visibility
            project.description = asked.get("description") or ""
            members = self.accounts.members(project)
            members.clear()
            members[request.state.user] = "manager"
        return project

    def delete(self, request: Request, _: bytes) -> Response:
        """The project with all that is in it; 403 unless an administrator of the workspace asks."""
        project = self._project(request)
        with self.store.lock:
            workspace = self.accounts.add_workspace(project.workspace)
            if workspace.members.get(request.state.user) != "owner":
                raise ApiError(403, "ACCESS_DENIED", "Only administrators delete projects")
            for run in list(project.runs.values()):
                project.remove(run)
            del self.store.projects[project.identifier]
            self.accounts.forget(project)
        return JSONResponse({})

    def members(self, request: Request, _: bytes) -> Response:
        """Users of a project; all of the workspace where its visibility says so."""
        everybody = self.accounts.everybody(self._project(request))
        return JSONResponse([_member(user, role) for user, role in everybody.items()])

    def add_member(self, request: Request, body: bytes) -> Response:
        """409 for who is a member already, 404 for who is not in the workspace (assumed)."""
        project, asked = self._managed(request), parsed(body, dict)
        user, role = str(asked.get("userId")), _role(asked)
        workspace = self.accounts.add_workspace(project.workspace)
        if user not in workspace.members:
            raise ApiError(404, "USER_NOT_FOUND", f"{workspace.name} has no user {user}")
        if user in self.accounts.everybody(project):
            raise ApiError(409, "ALREADY_MEMBER", f"{user} is in {project.identifier} already")
        self.accounts.members(project)[user] = role
        return JSONResponse(_member(user, role))

    def remove_member(self, request: Request, _: bytes) -> Response:
        """422 for who is no member, or is one only because of the project's visibility."""
        project, user = self._managed(request), request.path_params["userId"]
        members = self.accounts.members(project)
        if project.visibility == "workspace" or user not in members:
            raise _not_a_member(project, user)
        return JSONResponse(_member(user, members.pop(user)))

    def service_accounts(self, request: Request, _: bytes) -> Response:
        """Service accounts of a project; its visibility gives them nothing."""
        project = self._project(request)
        roles = self.accounts.service_accounts(project)
        return JSONResponse([self._with_role(project, id_, role) for id_, role in roles.items()])

    def add_account(self, request: Request, body: bytes) -> Response:
        """409 for one that is in the project already, 404 for one the workspace has not."""
        project, asked = self._managed(request), parsed(body, dict)
        id_, role = str(asked.get("serviceAccountId")), _role(asked)
        workspace = self.accounts.add_workspace(project.workspace)
        if id_ not in workspace.service_accounts:
            raise ApiError(404, "USER_NOT_FOUND", f"{workspace.name} has no account {id_}")
        accounts = self.accounts.service_accounts(project)
        if id_ in accounts:
            raise ApiError(409, "ALREADY_MEMBER", f"{id_} is in {project.identifier} already")
        accounts[id_] = role
        return JSONResponse(self._with_role(project, id_, role))

    def remove_account(self, request: Request, _: bytes) -> Response:
        """422 for one that is not in the project."""
        project, id_ = self._managed(request), request.path_params["serviceAccountId"]
        accounts = self.accounts.service_accounts(project)
        if id_ not in accounts:
            raise _not_a_member(project, id_)
        return JSONResponse(self._with_role(project, id_, accounts.pop(id_)))

    def _workspace(self, request: Request) -> Workspace:
        name = request.path_params["organizationIdentifier"]
        found = self.accounts.workspace(name)
        if found is None or request.state.user not in found.members:
            raise _no_workspace(name)
        return found

    def _asked_workspace(self, asked: dict[str, Any]) -> Workspace:
        id_, name = asked.get("organizationId"), asked.get("organizationIdentifier")
        if id_:
            found = self.accounts.workspace(id_)
            if found is None:
                raise _no_workspace(id_)
            return found
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise bad_request("organizationId or organizationIdentifier is needed")
        return self.accounts.add_workspace(name)

    def _project(self, request: Request) -> Project:
        """The project, 404 when the user may not see it."""
        project = find_project(self.store, request.query_params.get("projectIdentifier", ""))
        if not self.accounts.sees(request.state.user, project):
            raise ApiError(404, "PROJECT_NOT_FOUND", f"Project {project.identifier} not found")
        return project

    def _managed(self, request: Request) -> Project:
        project = self._project(request)
        if not self.accounts.sees(request.state.user, project, "manager"):
            raise ApiError(403, "ACCESS_DENIED", f"Only owners manage {project.identifier}")
        return project

    def _check_new(self, workspace: Workspace, name: str, visibility: str) -> None:
        """Statuses are assumed; the clients look at the errorType and the fields beside it."""
        if not _NAME.fullmatch(name):
            reason = "letters, digits, dots, dashes and underscores only"
            raise ApiError(400, "PROJECT_NAME_INVALID", f"{name!r}: {reason}", name=name)
        if visibility not in VISIBILITIES:
            raise bad_request(f"visibility is one of {', '.join(VISIBILITIES)}")
        if visibility not in workspace.visibilities:
            raise ApiError(
                422,
                "VISIBILITY_RESTRICTED",
                f"{workspace.name} has no projects of visibility {visibility}",
                requestedValue=visibility,
                allowedValues=list(workspace.visibilities),
            )
        if f"{workspace.name}/{name}" in self.store.projects:
            raise ApiError(409, "PROJECT_NAME_COLLISION", f"{name} exists", key=name)
        count = sum(p.workspace == workspace.name for p in self.store.projects.values())
        if workspace.project_limit is not None and count >= workspace.project_limit:
            raise ApiError(
                422, "LIMIT_OF_PROJECTS_REACHED", f"{workspace.name} has {count} projects"
            )

    def _key(self, workspace: Workspace, name: str, wanted: str | None) -> str:
        """The key asked for, or a free one made from the name. Keys differ within a workspace."""
        taken = {p.key for p in self.store.projects.values() if p.workspace == workspace.name}
        if wanted is None:
            stem = re.sub(r"[^A-Z]", "", name.upper())[:5] or "PRO"
            return next(key for n in range(1 << 20) if (key := f"{stem}{n or ''}") not in taken)
        if not _KEY.fullmatch(wanted):
            reason = "1 to 10 capital letters and digits, at least one letter"
            raise ApiError(400, "PROJECT_KEY_INVALID", wanted, key=wanted, reason=reason)
        if wanted in taken:
            raise ApiError(409, "PROJECT_KEY_COLLISION", f"{wanted} is taken", key=wanted)
        return wanted

    def _with_role(self, project: Project, id_: str, role: str) -> dict[str, Any]:
        workspace = self.accounts.add_workspace(project.workspace)
        return {"role": role, "serviceAccountInfo": _account(workspace, id_)}


def _member(user: str, role: str) -> dict[str, Any]:
    return {"role": role, "registeredMemberInfo": {"username": user}}


def _account(workspace: Workspace, id_: str) -> dict[str, Any]:
    name = workspace.service_accounts[id_]
    return {"id": id_, "name": name, "displayName": name, "organizationId": workspace.id}


def _role(asked: dict[str, Any]) -> str:
    role = asked.get("role")
    if role not in ROLES:
        raise bad_request(f"A role is one of {', '.join(ROLES)}")
    return str(role)


def _no_workspace(name: str) -> ApiError:
    return ApiError(404, "ORGANIZATION_NOT_FOUND", f"Organization {name} not found")


def _not_a_member(project: Project, who: str) -> ApiError:
    return ApiError(
        422, "USER_NOT_EXISTS_OR_WITHOUT_ACCESS", f"{who} was not added to {project.identifier}"
    )


def _size(project: Project) -> int:
    """Bytes of all files of a project."""
    values = [a.value for run in list(project.runs.values()) for a in run.attributes.values()]
    return sum(file.size for value in values for file in _files(value))


def _files(value: Any) -> list[FileValue]:
    if isinstance(value, FileSetValue):
        return list(value.files.values())
    found = value.values if isinstance(value, ObjectSeries) else [value]
    return [one for one in found if isinstance(one, FileValue)]
