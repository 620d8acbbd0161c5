"""A server of Neptune 2.x for targets: this project's own, with what somebody may be refused.

The paths, models and rules of the protocol are those of `migration_pipeline.neptune_server` (its
modules say what is known and what is assumed). Here is added:

- (C, the client's internal/backends/swagger_client_wrapper.py) what is over a limit is 422 or 402
  with a `title` and an `errorType`; who may write to a project is assumed.
- For tests alone: `PUT /workspaces/<name>` makes a workspace, so that forked processes can, too.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from migration_pipeline.neptune_server.app import create_app
from migration_pipeline.neptune_server.auth import Auth
from migration_pipeline.neptune_server.neptune2.accounts import Accounts
from migration_pipeline.neptune_server.object_stores import ObjectStores
from migration_pipeline.neptune_server.store import Project, Store
from migration_pipeline_tests.servers.standin import StandIn, _Recording

API_KEY = "key-of-the-stand-in"
_BOARD = "/api/leaderboard/v1"
_WRITES = re.compile(
    rf"{_BOARD}/(experiments(/trash.*)?|attributes/(operations|storage/.*|uploadFileSetTar))$"
    r"|/api/artifacts/v1/artifact(/files)?$"
)
_LIMITS = {
    "WORKSPACE_IN_READ_ONLY_MODE": (422, "The workspace is in read-only mode."),
    "PROJECT_LIMITS_EXCEEDED": (402, "Project limits are exceeded."),
    "ATTRIBUTES_PER_EXPERIMENT_LIMIT_EXCEEDED": (422, "Too many attributes."),
    "WRITE_ACCESS_DENIED_TO_ARCHIVED_PROJECT": (422, "The project is archived."),
}


class Neptune(StandIn[Project]):
    """The server.

    Attributes:
        store: all projects.
        accounts: workspaces, users, and what they may.
        refusing: workspace → what every write to it is refused with, a key of `_LIMITS` or
            FORBIDDEN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.refusing: dict[str, str] = {}
        self.auth: Auth | None = None
        self.accounts: Accounts | None = None

    @property
    def token(self) -> str:
        return token_of(self.url)

    def new_account(self, key: str) -> Project:
        raise NotImplementedError("projects are made by their workspaces")

    def routes(self) -> Sequence[BaseRoute]:
        return ()

    def app(self) -> ASGIApp:
        self.auth = Auth(self.url)
        self.auth._keys[self.auth.user] = API_KEY
        self.accounts = Accounts(self.store, self.auth.user)
        inner = create_app(
            self.store,
            self.auth,
            ObjectStores(self.store, self.url),
            self.faults,
            self.traffic,
            self.accounts,
            ("2",),
        )
        return _Recording(_Differences(self, inner), self.recorder)

    def answer(self, request: Request) -> Response | None:
        """In place of the server's own; None where it has none."""
        if request.method == "PUT" and request.url.path.startswith("/workspaces/"):
            assert self.accounts
            self.accounts.add_workspace(request.url.path.rpartition("/")[2])
            return PlainTextResponse("made")
        return None


def token_of(url: str) -> str:
    """The API token of the server there; it may run in another process."""
    content = {"api_address": url, "api_url": url, "api_key": API_KEY}
    return base64.b64encode(json.dumps(content).encode()).decode()


def add_workspace(url: str, name: str) -> None:
    """Makes a workspace at the server there; it is no error when it is there already."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/workspaces/{name}", method="PUT")).close()


class _Differences:
    """Answers in place of the server where the service would answer otherwise."""

    def __init__(self, server: Neptune, app: ASGIApp) -> None:
        self._server, self._app = server, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if answer := self._server.answer(request):
            await answer(scope, receive, send)
        elif self._server.refusing and scope["method"] != "GET" and _WRITES.search(scope["path"]):
            body = await request.body()
            if (refusal := self._refusal(request, body)) is None:
                await self._app(scope, _again(body), send)
            else:
                await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, request: Request, body: bytes) -> Response | None:
        """Where writes to the workspace of what the request names are refused."""
        query = request.query_params
        named = query.get("experimentId") or query.get("experimentIdentifier") or ""
        project = query.get("projectIdentifier") or ""
        if request.url.path.endswith("/experiments"):
            project = json.loads(body)["projectIdentifier"]
        run = self._server.store.by_uuid.get(named)
        for found in self._server.store.projects.values():
            if (run is not None and run.project is found) or project in (
                found.uuid,
                found.identifier,
            ):
                kind = self._server.refusing.get(found.workspace)
                return None if kind is None else _refused(kind)
        return None


def _refused(kind: str) -> Response:
    status, title = _LIMITS.get(kind, (403, "Forbidden"))
    return Response(
        json.dumps({"code": status, "errorType": kind, "title": title}),
        status,
        media_type="application/json",
    )


def _again(body: bytes) -> Receive:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
