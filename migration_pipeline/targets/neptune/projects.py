"""Projects of a server of Neptune 2.x: found by their names, made where they are missing.

Requests, and what they are refused with, are those of the client's `management` (its module
`internal/api.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.neptune.config import VISIBILITY, WORKSPACE, NeptuneConfig
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.connection import Connection
from migration_pipeline.targets.neptune2.dialect import Place
from migration_pipeline.targets.neptune2.refusals import AnswerError, NotThereError
from migration_pipeline.targets.neptune2.session import Session

_TAKEN = ("PROJECT_NAME_COLLISION", "ERR_NOT_UNIQUE")
_FULL = ("LIMIT_OF_PROJECTS_REACHED", "LIMIT_OF_ACTIVE_PROJECTS_REACHED")


class Projects:
    """Of one workspace. Threads share it."""

    def __init__(self, session: Session, config: NeptuneConfig) -> None:
        self._session, self._config = session, config
        self._server = self._connection("")
        self._known: dict[str, Api] = {}
        self._lock = threading.Lock()
        self._workspace: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Server and workspace."""
        name = self._config.workspace or self._workspace.get("name", "")
        return f"{self._server.address}/{name}".rstrip("/")

    def workspace(self) -> Mapping[str, Any]:
        """`id` and `name` of the workspace that projects are made in, as the server has them now.

        Raises:
            TargetRefusedError: the token's user is not in it, or it is not said which one is meant.
            TargetUnavailableError
        """
        listed = self._server.json("backend", "listOrganizations", {})
        names = sorted(str(one["name"]) for one in listed)
        wanted = self._config.workspace or (names[0] if len(names) == 1 else "")
        found = next((one for one in listed if one["name"] == wanted), None)
        if found is None:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
            where = self._server.address
            what = f"{where} has no workspace {wanted!r} for the token's user"
            if not wanted:
                what = f"the token's user has {len(names)} workspaces at {where}"
            raise TargetRefusedError(what, f"Set {WORKSPACE} to one of: {shown or 'none there'}.")
        self._workspace = found
        return dict(found)

    def find(self, name: str) -> Api | None:
        """A project; None where there is none.

        Raises:
            TargetRefusedError: it is of the other protocol.
            TargetUnavailableError
        """
        if name in self._known:
            return self._known[name]
        workspace = self._workspace or self.workspace()
        to = self._connection(f"{workspace['name']}/{name}")
        try:
            to.project  # noqa: B018  asked for once
        except NotThereError:
            return None
        return self._known.setdefault(name, Api(to))

    def make(self, name: str, source: str) -> Api:
        """A project, made for the runs of `source` where there is none.

        Raises:
            TargetRefusedError: it may not be made.
            TargetUnavailableError
        """
        with self._lock:
            found = self.find(name)
            if found is None:
                error = self._create(name, source)
                found = self.find(name)
            if found is None:
                assert error is not None
                raise error
            return found

    def _create(self, name: str, source: str) -> TargetRefusedError | None:
        """Makes it; the error where it is there already, made by somebody else or by a request
        whose answer was lost, and only counts where it cannot be seen."""
        workspace = self.workspace()
        body = {
            "name": name,
            "description": f"Runs of {source}, put here by migration_pipeline",
            "projectKey": None,  # the server finds one
            "organizationId": workspace["id"],
            "visibility": self._config.visibility,
        }
        place = f"project {workspace['name']}/{name} at {self._server.address}"
        by_hand = f"create {workspace['name']}/{name} by hand"
        try:
            self._server.json("backend", "createProject", {}, body)
        except AnswerError as error:
            if error.kind in _TAKEN or error.status == 409 or "ERR_NOT_UNIQUE" in str(error):
                return TargetRefusedError(
                    f"{place} is there, and the token's user may not see it",
                    "Give the user the right to write to it, or another prefix "
                    "(MIGRATION_NAME_PREFIX) to the projects.",
                )
            if error.status == 403:
                what, remedy = "its user has no right to", f"Give the right, or {by_hand} with it."
            elif error.kind in _FULL:
                what, remedy = (
                    "the limit of projects is reached, and so nobody may",
                    f"Raise the limit, archive other projects, or set {WORKSPACE} to another one.",
                )
            elif error.kind == "VISIBILITY_RESTRICTED":
                what, remedy = (
                    f"the workspace has no projects of visibility {self._config.visibility!r}:",
                    f"Set {VISIBILITY} to another one (priv, workspace, pub), or {by_hand}.",
                )
            else:
                raise
            raise TargetRefusedError(f"{place}: {what} create it ({error.what})", remedy) from error
        return None

    def _connection(self, project: str) -> Connection:
        place = Place(self._config.server, project)
        return Connection(self._session, place, self._config.retry_seconds)
