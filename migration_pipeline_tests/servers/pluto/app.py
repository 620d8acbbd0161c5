"""The routes of all four services at one address, and who may use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from migration_pipeline_tests.servers.pluto import ingest, reads, runs
from migration_pipeline_tests.servers.pluto.refusals import Refusal
from migration_pipeline_tests.servers.pluto.state import PlutoAccount, now_ms
from migration_pipeline_tests.servers.standin import StandIn

Handler = Callable[["PlutoStandIn", PlutoAccount, Request], Awaitable[Response]]


class PlutoStandIn(StandIn[PlutoAccount]):
    """Application, API, ingestion, monitor and object store, all at `url`."""

    slow: float = 0.0
    """Seconds after which what was ingested can be read; the server's are 1 to 7."""
    page_of_html: bool = False
    """Answers everything with a page, as a proxy's log-in does."""

    def new_account(self, key: str) -> PlutoAccount:
        return PlutoAccount(key)

    def reap(self, now: int | None = None) -> None:
        """One pass of the monitor of stale runs; `now` in ms."""
        for account in self._accounts.values():
            account.reap(now_ms() if now is None else now)

    def routes(self) -> Sequence[BaseRoute]:
        def route(path: str, method: str, handler: Handler) -> Route:
            async def endpoint(request: Request) -> Response:
                return await self._answer(request, handler)

            return Route(path, endpoint, methods=[method])

        return [
            *(route(path, "POST", handler) for path, handler in runs.ROUTES.items()),
            *(route(path, "GET", handler) for path, handler in reads.ROUTES.items()),
            *(route(path, "POST", handler) for path, handler in ingest.ROUTES.items()),
            route("/bucket/{account}/{key:path}", "PUT", ingest.upload),
            route("/bucket/{account}/{key:path}", "GET", ingest.download),
        ]

    async def _answer(self, request: Request, handler: Handler) -> Response:
        if self.page_of_html:
            return HTMLResponse("<!DOCTYPE html><html><body>Sign in</body></html>")
        ingesting = request.url.path.startswith("/ingest/")
        try:
            account = self._account(request)
            account.settle()
            if account.read_only and request.url.path in _WRITES:
                raise Refusal(403, "Forbidden", "This API key may only read")
            return await handler(self, account, request)
        except Refusal as refusal:
            return refusal.answer(ingesting)

    def _account(self, request: Request) -> PlutoAccount:
        """Presigned addresses hold the account; all else comes with a key."""
        if found := request.path_params.get("account"):
            return next(one for one in self._accounts.values() if one.slug == found)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise Refusal(401, "Unauthorized")
        try:
            return self.account(key)
        except KeyError:
            raise Refusal(401, "Unauthorized", "Key not found") from None


_WRITES = {*runs.ROUTES, *ingest.ROUTES} - {"/api/slug"}
