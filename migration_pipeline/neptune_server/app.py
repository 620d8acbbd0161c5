"""The ASGI application: routes, authentication, errors as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .auth import Auth
from .faults import Faults, Traffic
from .gate import Gate
from .ingest3 import Ingestion
from .neptune2 import serving, signals
from .neptune2.accounts import Accounts
from .neptune2.artifacts import Artifacts
from .neptune2.attributes import Attributes
from .neptune2.downloads import Downloads
from .neptune2.file_sets import FileSets
from .neptune2.images import Images
from .neptune2.management import Management
from .neptune2.objects import Objects
from .neptune2.series import SeriesPoints
from .neptune2.states import Liveness
from .neptune2.tables import Tables
from .neptune2.trash import Trash
from .neptune2.uploads import Uploads
from .neptune2.writing import Writing
from .neptune2.zips import Zips
from .object_stores import ObjectStores
from .projects import Projects
from .retrieval3 import Retrieval
from .series3 import Series
from .store import Store
from .types3 import ApiError

Handler = Callable[[Request, bytes], Response]
_LEADERBOARD = "/api/leaderboard/v1"


def create_app(
    store: Store,
    auth: Auth,
    stores: ObjectStores,
    faults: Faults,
    traffic: Traffic,
    accounts: Accounts,
    protocols: Collection[str] = ("2", "3"),
) -> ASGIApp:
    """Everything a client asks for. Handlers run in threads: they compute, they do not wait.

    `protocols` says which clients are served; both ask the same addresses about projects.
    """
    management = Management(store, accounts)
    projects = Projects(store, management)
    shared: list[tuple[str, str, Handler]] = [
        ("GET", "/api/backend/v1/projects", projects.list),
        ("POST", "/api/backend/v1/projects", projects.create),
        ("GET", "/api/backend/v1/projects/get", projects.get),
    ]
    handlers = shared + (_of_3(store, auth, stores, faults) if "3" in protocols else [])
    routes: list[BaseRoute] = [
        Route(path, _guarded(auth, handler), methods=[method]) for method, path, handler in handlers
    ]
    if "2" in protocols:
        zips = Zips(store)
        file_sets = FileSets(store, zips, faults, auth.base_url)
        handlers_2 = {
            **_objects_of_2(store, faults),
            **_of_2(store, management, zips),
            **file_sets.handlers(),
        }
        routes += serving.routes(auth, handlers_2, ("listProjects", "createProject", "getProject"))
        routes.append(Route("/dl/{id}", _guarded(auth, file_sets.download)))
        routes.append(signals.route)
    app = Starlette(
        routes=[*routes, *auth.routes(), *stores.routes(), _record(faults, traffic)],
        exception_handlers={ApiError: _as_json},
    )
    return Gate(app, faults, traffic)


def _objects_of_2(store: Store, faults: Faults) -> dict[str, Handler]:
    """operationId → what answers it: objects, their attributes and tables of them."""
    liveness = Liveness(store)
    return {
        **Objects(store, liveness).handlers(),
        **Attributes(store, liveness).handlers(),
        **SeriesPoints(store, faults).handlers(),
        **Tables(store, liveness, faults).handlers(),
        **Writing(store, liveness).handlers(),
        **Trash(store).handlers(),
    }


def _of_2(store: Store, management: Management, zips: Zips) -> dict[str, Handler]:
    """operationId → what answers it: bytes, artifacts and accounts."""
    return {
        **Uploads(store).handlers(),
        **Downloads(store).handlers(),
        **Images(store, zips).handlers(),
        **Artifacts(store).handlers(),
        **management.handlers(),
    }


def _of_3(
    store: Store, auth: Auth, stores: ObjectStores, faults: Faults
) -> list[tuple[str, str, Handler]]:
    retrieval = Retrieval(store, faults)
    series = Series(store, faults)
    ingestion = Ingestion(store, auth.user)
    board, proto = _LEADERBOARD, f"{_LEADERBOARD}/proto"
    return [
        ("POST", f"{proto}/leaderboard/entries/search/", retrieval.search),
        ("POST", f"{proto}/leaderboard/entries/global/search/", retrieval.search_everywhere),
        ("POST", f"{board}/leaderboard/attributes/definitions/query", retrieval.definitions),
        ("POST", f"{proto}/leaderboard/attributes/query", retrieval.values),
        ("POST", f"{proto}/attributes/series/float", series.floats),
        ("POST", f"{proto}/attributes/series", series.objects),
        ("POST", f"{proto}/attributes/timeseries/buckets", series.buckets),
        ("POST", "/api/storagebridge/v1/signedUrl", stores.sign),
        ("POST", "/api/storagebridge/v1/s3/completeMultipartUpload", stores.complete_multipart),
        ("POST", "/api/client/v1/ingest", ingestion.submit),
        ("POST", "/api/client/v1/ingest/check", ingestion.check),
    ]


def _record(faults: Faults, traffic: Traffic) -> Route:
    """What a test in another process wants to know of the server."""

    async def record(_: Request) -> Response:
        return JSONResponse(
            {
                "requests": traffic.requests,
                "statuses": traffic.statuses,
                "bytes_sent": traffic.bytes_sent,
                "violations": [asdict(one) for one in faults.violations],
            }
        )

    return Route("/server/traffic", record)


def _guarded(auth: Auth, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        auth.check(request)
        return await run_in_threadpool(handler, request, await request.body())

    return endpoint


def _as_json(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(
        {
            "code": error.status,
            "errorType": error.error_type,
            "message": error.message,
            **error.details,
        },
        status_code=error.status,
    )
