"""The endpoints of the stand-in for Comet."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from migration_pipeline_tests.servers.comet.account import (
    BAD_KEY,
    NO_WORKSPACE,
    Account,
    Refused,
    project_id,
)
from migration_pipeline_tests.servers.comet.rates import PUBLISHED, Rates
from migration_pipeline_tests.servers.comet.reading import READS
from migration_pipeline_tests.servers.standin import StandIn

VERSION = "5.0.0"
Handler = Callable[[Request], Awaitable[Response]]
_MACHINE = (
    "system-details",
    "output",
    "graph",
    "git/metadata",
    "html",
    "code",
    "dependencies",
    "file-path",
)


class CometServer(StandIn[Account]):
    """One Comet, with as many accounts as are asked for."""

    def new_account(self, key: str) -> Account:
        return Account(key)

    def routes(self) -> Sequence[BaseRoute]:
        client, old, new = "/clientlib", "/clientlib/rest/v2", "/api/rest/v2"
        posts: dict[str, Handler] = {
            f"{client}/logger/add/run": self._add_run,
            f"{client}/logger/get/run": self._get_run,
            f"{client}/asset/3d-limits": self._limits,
            f"{client}/batch/logger/experiment/metric": self._metrics,
            f"{client}/batch/logger/experiment/parameter": self._parameters,
            f"{client}/asset/upload": self._upload,
            f"{client}/visualizations/upload": self._upload,
            f"{client}/git-patch/upload": self._upload,
            f"{client}/status-report/update": self._heartbeat,
            f"{client}/tags/add-tags-to-experiment": self._tags,
            f"{client}/notification/experiment": self._nothing,
            f"{client}/notify/event": self._nothing,
            f"{client}/log/add": self._nothing,
            f"{new}/write/experiment/upload-asset": self._upload,
            f"{new}/write/experiment/set-start-end-time": self._times,
        }
        for base in (old, new):
            posts |= {
                f"{base}/write/experiment/log-other": self._other,
                f"{base}/write/experiment/parameter": self._one_parameter,
                f"{base}/write/experiment/metric": self._one_metric,
                f"{base}/write/experiment/tags": self._tags,
                f"{base}/write/experiment/update-status": self._state,
            }
            posts |= dict.fromkeys(
                (f"{base}/write/experiment/{name}" for name in _MACHINE), self._machine
            )
        gets: dict[str, Handler] = {
            f"{client}/health/ping": self._ping,
            f"{client}/isAlive/ver": self._ping,
            f"{new}/account-details": self._details,
            f"{new}/write/experiment/delete": self._delete,
            f"{new}/write/experiment/archive": self._archive,
            f"{new}/write/experiment/restore": self._archive,
            f"{new}/write/experiment/asset/delete": self._delete_asset,
        }
        routes = [Route(path, _guarded(h), methods=["POST"]) for path, h in posts.items()]
        routes += [Route(path, _guarded(h), methods=["GET"]) for path, h in gets.items()]
        for path, (method, read) in READS.items():
            handler = self._reading(read)
            routes.append(Route(f"{new}/{path}", _guarded(handler), methods=[method]))
        return routes

    # --- who asks -------------------------------------------------------------------------------

    def _account(self, request: Request, asked: Any = None) -> Account:
        """
        Raises:
            Refused: nobody has that key: 401 to those who read, 400 with a code to those who log.
        """
        key = request.headers.get("authorization") or ""
        if not key and isinstance(asked, dict):
            key = str(asked.get("apiKey") or "")
        try:
            return self.account(key)
        except KeyError:
            status = 400 if request.url.path.startswith("/clientlib/") else 401
            raise Refused(status, "API key is not registered", BAD_KEY) from None

    async def _writing(
        self, request: Request, kind: str = "other", values: int = 1
    ) -> tuple[Account, Any]:
        asked = parsed(await request.body())
        account = self._account(request, asked)
        self._pace(account, kind, values if kind == "other" else len(asked.get("values", "x")))
        return account, asked

    def _pace(self, account: Account, kind: str, values: int) -> None:
        if wait := account.count(kind, values):
            raise _TooFast(wait)

    def _reading(self, read: Callable[[Account, Any], Any]) -> Handler:
        async def handler(request: Request) -> Response:
            body = await request.body() if request.method == "POST" else b""
            asked = json.loads(body) if body else dict(request.query_params)
            answer = read(self._account(request), asked)
            if isinstance(answer, bytes):
                return Response(answer, media_type="application/octet-stream")
            return JSONResponse(answer)

        return handler

    # --- experiments ----------------------------------------------------------------------------

    async def _ping(self, request: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def _nothing(self, request: Request) -> Response:
        return JSONResponse({})

    async def _details(self, request: Request) -> Response:
        account = self._account(request)
        return JSONResponse({"userName": "user", "defaultWorkspaceName": account.workspaces[0]})

    async def _add_run(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        return self._handshake(account, account.create(asked).key)

    async def _get_run(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        return self._handshake(account, account.to_write(asked.get("previousExperiment")).key)

    def _handshake(self, account: Account, key: str) -> Response:
        one = account.experiments[key]
        return JSONResponse(
            {
                "runId": f"run-{key}",
                "project_id": project_id(one.workspace, one.project),
                "focusUrl": f"{self.url}/{one.workspace}/{one.project}/",
                "lastOffset": 0,
                "githubEnabled": False,
                "featureToggles": [],
                "name": one.name or None,
                "asset_upload_file_size_limit_in_mb": account.asset_max_bytes // 2**20,
                "assetNameMaxLength": account.asset_name_max_length,
                "imageNameMaxLength": account.asset_name_max_length,
            }
        )

    async def _limits(self, request: Request) -> Response:
        return JSONResponse({"maxPoints": 1_000_000, "maxBoxes": 250_000})

    async def _heartbeat(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        one = account.to_write(asked.get("experimentKey"))
        if not asked.get("is_alive"):
            self._end(one)
        return JSONResponse(
            {
                "is_alive_beat_duration_millis": 10_000,
                "gpu_monitor_interval_millis": 60_000,
                "cpu_monitor_interval_millis": 68_000,
                "pending_rpcs": False,
            }
        )

    @staticmethod
    def _end(one: Any) -> None:
        from migration_pipeline_tests.servers.comet.account import now

        one.running = False
        if one.ended is None:
            one.ended = now()

    async def _state(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        one = account.to_write(asked.get("experimentKey"))
        one.crashed = bool(asked.get("hasCrashed"))
        if asked.get("isAlive"):
            one.running = True
        else:
            self._end(one)
        return JSONResponse({"msg": "saved"})

    async def _times(self, request: Request) -> Response:
        """A start or an end alone sets the other one second away (D, the SDK's)."""
        account, asked = await self._writing(request)
        one = account.to_write(asked.get("experimentKey"))
        start, end = asked.get("startTimeMillis"), asked.get("endTimeMillis")
        for time in (start, end):
            if time is not None and (type(time) is not int or time < 0):
                raise Refused(400, f"not a time in milliseconds: {time!r}")
        if start is not None and end is not None and end < start:
            raise Refused(400, "the end is before the start")
        one.started = start if start is not None else min(one.started, end - 1000)
        one.ended = end if end is not None else one.ended or start + 1000
        return JSONResponse({"msg": "saved"})

    async def _delete(self, request: Request) -> Response:
        account = self._account(request)
        self._pace(account, "other", 1)
        one = account.to_write(request.query_params.get("experimentKey"))
        del account.experiments[one.key]
        account.deleted.add(one.key)
        return JSONResponse({"msg": "Deleted"})

    async def _archive(self, request: Request) -> Response:
        account = self._account(request)
        one = account.to_write(request.query_params.get("experimentKey"))
        one.archived = request.url.path.endswith("/archive")
        return JSONResponse({"msg": "Archived" if one.archived else "Restored"})

    # --- what is logged -------------------------------------------------------------------------

    async def _metrics(self, request: Request) -> Response:
        account, asked = await self._writing(request, "metric")
        account.log_metrics(account.to_write(asked.get("experimentKey")), asked["values"])
        return JSONResponse({"msg": "saved"})

    async def _parameters(self, request: Request) -> Response:
        account, asked = await self._writing(request, "parameter")
        account.log_parameters(account.to_write(asked.get("experimentKey")), asked["values"])
        return JSONResponse({"msg": "saved"})

    async def _one_metric(self, request: Request) -> Response:
        account, asked = await self._writing(request, "metric")
        account.log_metrics(account.to_write(asked.get("experimentKey")), [asked])
        return JSONResponse({"msg": "saved"})

    async def _one_parameter(self, request: Request) -> Response:
        account, asked = await self._writing(request, "parameter")
        account.log_parameters(account.to_write(asked.get("experimentKey")), [asked])
        return JSONResponse({"msg": "saved"})

    async def _other(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        one = account.to_write(asked.get("experimentKey"))
        if not isinstance(asked.get("key"), str) or asked.get("value") is None:
            raise Refused(400, f"not a key and a value: {asked.get('key')!r}")
        one.others[asked["key"]] = str(asked["value"])
        if asked["key"] == "Name":
            one.name = str(asked["value"])
        return JSONResponse({"msg": "saved"})

    async def _tags(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        added = asked.get("addedTags")
        if not isinstance(added, list) or not all(isinstance(t, str) and t for t in added):
            raise Refused(400, "tags are texts")
        account.to_write(asked.get("experimentKey")).tags |= set(added)
        return JSONResponse({"msg": "saved"})

    async def _machine(self, request: Request) -> Response:
        account, asked = await self._writing(request)
        one = account.to_write(asked.get("experimentKey"))
        one.machine.append((request.url.path.rpartition("/")[2], asked))
        return JSONResponse({"msg": "saved"})

    async def _upload(self, request: Request) -> Response:
        account = self._account(request)
        self._pace(account, "other", 1)
        asked = request.query_params
        one = account.to_write(asked.get("experimentKey") or asked.get("experimentId"))
        form = await request.form()
        file, about = form.get("file"), form.get("metadata")
        if file is None or isinstance(file, str):
            raise Refused(400, "no file")
        asset = account.add_asset(one, asked, await file.read(), str(about or ""))
        return JSONResponse({"assetId": asset.id, "msg": "saved"})

    async def _delete_asset(self, request: Request) -> Response:
        account = self._account(request)
        one = account.to_write(request.query_params.get("experimentKey"))
        one.assets.pop(request.query_params.get("assetId") or "", None)
        return JSONResponse({"msg": "Deleted"})


class RatedCometServer(CometServer):
    """With the published limits switched on."""

    def new_account(self, key: str) -> Account:
        return Account(key, rates=Rates(PUBLISHED))


def parsed(body: bytes) -> Any:
    """JSON, and NaN as the SDK's encoder writes it."""
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body)


class _TooFast(Exception):
    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__()


def _guarded(handler: Handler) -> Handler:
    """Answers refusals as Comet does."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            answer: dict[str, Any] = {"msg": str(refused), "code": refused.status}
            if refused.code:
                answer["sdk_error_code"] = refused.code
            return JSONResponse(answer, refused.status)
        except _TooFast as fast:
            return JSONResponse(
                {"msg": "rate limit", "code": 429},
                429,
                headers={"Retry-After-Custom": f"{fast.wait:.3f}"},
            )

    return guarded


__all__ = ["NO_WORKSPACE", "CometServer", "RatedCometServer"]
