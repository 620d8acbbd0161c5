"""Workspaces, users and service accounts, and who may see and do what in a project.

Workspace roles are `owner` (the clients say admin) and `member`, project roles `manager` (owner),
`member` (contributor) and `viewer`: the names on the wire. Service accounts are plain members of
their workspace, and are listed apart from users everywhere.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from migration_pipeline.neptune_server.store import Project, Store

ROLES = ("viewer", "member", "manager")
VISIBILITIES = ("priv", "pub", "workspace")


@dataclass(slots=True)
class Workspace:
    """A workspace. Tests turn its rules; `owner` is the user whose server this is.

    `visibilities` are those that a new project may have; `project_limit` None means no limit;
    sizes in bytes.
    """

    name: str
    members: dict[str, str]
    """User → owner or member."""
    service_accounts: dict[str, str] = field(default_factory=dict)
    """Id → display name."""
    invited: set[str] = field(default_factory=set)
    visibilities: tuple[str, ...] = VISIBILITIES
    project_limit: int | None = None
    storage_limit: int = 100 << 30

    @property
    def id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, self.name))

    def add_service_account(self, display_name: str) -> str:
        """A new account, such as `cicd@acme`; returns its id."""
        id_ = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name} {display_name}"))
        self.service_accounts[id_] = display_name
        return id_


class Accounts:
    """All accounts of a server.

    A workspace is there as soon as it has a project. The server's own user administers all of
    them, and manages the projects that are made without saying for whom. Roles decide what lists
    and management calls answer; runs and their attributes are open to all users of the server.
    """

    def __init__(self, store: Store, owner: str) -> None:
        self.store = store
        self.owner = owner
        self.users = {owner}
        self._workspaces: dict[str, Workspace] = {}
        self._members: dict[str, dict[str, str]] = {}
        self._service_accounts: dict[str, dict[str, str]] = {}

    def workspaces(self) -> list[Workspace]:
        """All of them by name."""
        with self.store.lock:
            for project in self.store.projects.values():
                self.add_workspace(project.workspace)
            return [self._workspaces[name] for name in sorted(self._workspaces)]

    def workspace(self, name_or_id: str) -> Workspace | None:
        """One by its name or id."""
        return next((one for one in self.workspaces() if name_or_id in (one.name, one.id)), None)

    def add_workspace(self, name: str, **members: str) -> Workspace:
        """The workspace of that name, made when absent, with users added as owner or member."""
        with self.store.lock:
            found = self._workspaces.setdefault(name, Workspace(name, {self.owner: "owner"}))
            found.members.update(members)
            self.users.update(members)
        return found

    def members(self, project: Project) -> dict[str, str]:
        """User → role, of those that were added; change it to add or remove some."""
        return self._members.setdefault(project.uuid, {self.owner: "manager"})

    def service_accounts(self, project: Project) -> dict[str, str]:
        """Id of a service account → role, likewise."""
        return self._service_accounts.setdefault(project.uuid, {})

    def everybody(self, project: Project) -> dict[str, str]:
        """User → role. In a project of visibility `workspace` all of the workspace manage."""
        if project.visibility == "workspace":
            return dict.fromkeys(self.add_workspace(project.workspace).members, "manager")
        return dict(self.members(project))

    def role(self, user: str, project: Project) -> str | None:
        """What a user is in a project; anybody can view a public one.

        That a workspace's administrators manage all of its projects is assumed.
        """
        if self.add_workspace(project.workspace).members.get(user) == "owner":
            return "manager"
        found = self.everybody(project).get(user)
        return found or ("viewer" if project.visibility == "pub" else None)

    def sees(self, user: str, project: Project, at_least: str = "viewer") -> bool:
        """Whether the user's role in the project is that one or a higher one."""
        role = self.role(user, project)
        return role is not None and ROLES.index(role) >= ROLES.index(at_least)

    def forget(self, project: Project) -> None:
        """Drop what is known of a project that was deleted."""
        self._members.pop(project.uuid, None)
        self._service_accounts.pop(project.uuid, None)
