"""Minfx: a server of the 2.x protocol, with what the service does differently.

By minfx's source 0.7.4 and the specification in its repository:

- (C, internal/backends/hosted_client.py) `GET /min_client_version` is a version of five characters,
  or anything else, which is none.
- (A) requests with `organizationName` name the project's own workspace.

Projects `<account>/<name>`, the account being a `standin.account_key(…)`, are there as soon as they
are asked for.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from migration_pipeline.neptune_server.store import Project, Store
from migration_pipeline_tests.servers.neptune import Neptune
from migration_pipeline_tests.servers.standin import is_account_key


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


class Minfx(Neptune):
    """The service.

    Attributes:
        minimum: what `/min_client_version` says; None: 404.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store.projects = _Projects(self.store)
        self.minimum: str | None = None

    def new_account(self, key: str) -> Project:
        found: Project = self.store.projects.get(f"{key}/runs")
        return found

    def answer(self, request: Request) -> Response | None:
        if request.url.path != "/min_client_version":
            return super().answer(request)
        if self.minimum is None:
            return PlainTextResponse("Not Found", 404)
        return PlainTextResponse(self.minimum)
