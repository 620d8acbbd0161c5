"""Routes of the 2.x protocol: the documents, and a route for every operation of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from migration_pipeline.neptune_server.auth import Auth
from migration_pipeline.neptune_server.types3 import ApiError

from .operations import OPERATIONS, Operation
from .swagger import document

Handler = Callable[[Request, bytes], Response]
_SERVED_BY_AUTH = {"getClientConfig", "exchangeApiToken"}
_DOCUMENTS = ("backend", "leaderboard", "artifacts")


def routes(
    auth: Auth, handlers: Mapping[str, Handler], served_elsewhere: Sequence[str] = ()
) -> list[Route]:
    """All routes of the protocol.

    Args:
        handlers: operationId → function; an operation without one answers 501.
        served_elsewhere: operations whose route exists already, because 3.x has the same.
    """
    known = {operation.id for operation in OPERATIONS}
    if unknown := handlers.keys() - known:
        raise ValueError(f"no such operations: {', '.join(sorted(unknown))}")
    without = _SERVED_BY_AUTH.union(served_elsewhere)
    return [
        *(Route(f"/api/{name}/swagger.json", _document(name)) for name in _DOCUMENTS),
        *(
            Route(o.path, _guarded(auth, handlers.get(o.id) or _missing(o)), methods=[o.method])
            for o in OPERATIONS
            if o.id not in without
        ),
    ]


def _document(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(document(name))  # type: ignore[arg-type]

    return endpoint


def _guarded(auth: Auth, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        auth.check(request)
        return await run_in_threadpool(handler, request, await request.body())

    return endpoint


def _missing(operation: Operation) -> Handler:
    def handler(_: Request, __: bytes) -> Response:
        raise ApiError(501, "NOT_IMPLEMENTED", f"{operation.id} is not served here")

    return handler
