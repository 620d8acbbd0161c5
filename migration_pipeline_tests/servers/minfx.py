"""Minfx: this project's own Neptune server, with what the service does differently.

The paths, models and rules of the protocol are those of `migration_pipeline.neptune_server` (its
modules say what is known and what is assumed). Here is added, by minfx's source 0.7.4 and the
specification in its repository:

- (C, internal/backends/hosted_client.py) `GET /min_client_version` is a version of five characters,
  or anything else, which is none.
- (C, internal/backends/swagger_client_wrapper.py; S) what is over a limit is 422 or 402 with a
  `title` and an `errorType`.
- (A) who may write to a project, and that requests with `organizationName` name the project's own
  workspace.

Projects `<account>/<name>`, the account being a `standin.account_key(…)`, are there as soon as they
are asked for.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from migration_pipeline.neptune_server.app import create_app
from migration_pipeline.neptune_server.auth import Auth
from migration_pipeline.neptune_server.neptune2.accounts import Accounts
from migration_pipeline.neptune_server.object_stores import ObjectStores
from migration_pipeline.neptune_server.store import Project, Store
from migration_pipeline_tests.servers.standin import StandIn, _Recording, is_account_key

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


class _Projects(dict[str, Project]):
    """Makes projects of accounts as they are asked for."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def get(self, identifier: str, default: Any = None) -> Any:
        workspace, _, name = str(identifier).partition("/")
        if identifier not in self and is_account_key(workspace) and name and "/" not in name:
            self[identifier] = Project(self._store, identifier, "RUN", version=2)
        return super().get(identifier, default)


class Minfx(StandIn[Project]):
    """The service.

    Attributes:
        store: all projects.
        refusing: workspace → what every write to it is refused with, a key of `_LIMITS` or
            FORBIDDEN.
        minimum: what `/min_client_version` says; None: 404.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.store.projects = _Projects(self.store)
        self.refusing: dict[str, str] = {}
        self.minimum: str | None = None
        self.auth: Auth | None = None

    @property
    def token(self) -> str:
        return token_of(self.url)

    def new_account(self, key: str) -> Project:
        found: Project = self.store.projects.get(f"{key}/runs")
        return found

    def routes(self) -> Sequence[BaseRoute]:
        return ()

    def app(self) -> ASGIApp:
        self.auth = Auth(self.url)
        self.auth._keys[self.auth.user] = API_KEY
        inner = create_app(
            self.store,
            self.auth,
            ObjectStores(self.store, self.url),
            self.faults,
            self.traffic,
            Accounts(self.store, self.auth.user),
            ("2",),
        )
        return _Recording(_Differences(self, inner), self.recorder)


def token_of(url: str) -> str:
    """The API token of the server there; it may run in another process."""
    content = {"api_address": url, "api_url": url, "api_key": API_KEY}
    return base64.b64encode(json.dumps(content).encode()).decode()


class _Differences:
    """Answers in place of the server where the service would answer otherwise."""

    def __init__(self, server: Minfx, app: ASGIApp) -> None:
        self._server, self._app = server, app
        self._minimum = Route("/min_client_version", self._told_minimum)

    async def _told_minimum(self, _: Request) -> Response:
        if self._server.minimum is None:
            return PlainTextResponse("Not Found", 404)
        return PlainTextResponse(self._server.minimum)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == "/min_client_version":
            await self._minimum.handle(scope, receive, send)
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
