"""A stand-in for W&B: the endpoints that the SDK 0.29 calls, and the service's own rules.

From documentation (D): a deleted run id can never be used again, forks are a preview that is not
everywhere and share their parent's history and files, limits are told by 429 with RateLimit-Limit,
-Remaining, -Reset; two filestream requests a second and run on dedicated clouds; object stores want
to know the length of a file.
From the SDK and its wandb-core (C): all GraphQL documents, the form of filestream requests and of
config (`{"name": {"value": …}}`, `_wandb`), characters of ids and projects, 10 MiB a line, what
counts as started (`wandbConfig` has `t`), a fork as `_wandb.branch_point` of config.
From W&B's issue tracker (I): lines replace those at their offset, an offset beyond the end is moved
down to it, `historyLineCount` is exact, 400 for tags that are not of 1 to 64 characters and for
display names over 128, 409 for a deleted id, `maxStep` of a page of history is inclusive, system
metrics are capped however many `samples` are asked for (6501).
Assumed (A): the statuses and words for an unknown entity (404), a key that may only read (403) and
the limit of projects (403); that NaN and infinities come back as text; that config is replaced
whole; that a fork's `historyLineCount` counts its own rows; pages of at most 1,000 runs or files;
that a run upserted by its name runs again, and one upserted by its id keeps its state.
What is read by `wandb.Api` has the fields of the SDK's own documents (C), projects, sweeps and
artifacts with their files among them; assumed (A) is that system metrics are sampled only above
`samples`, that their last values are `systemMetrics`, that lists count lines and artifacts as
single runs do, and that no history lies in Parquet files, which the service makes of older rows.
"""

from __future__ import annotations

import base64
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from migration_pipeline_tests.servers.standin import StandIn
from migration_pipeline_tests.servers.wandb.artifacts import Artifact
from migration_pipeline_tests.servers.wandb.runs import RefusedError, Run, connection
from migration_pipeline_tests.servers.wandb.schema import answer
from migration_pipeline_tests.servers.wandb.state import Account, Project


class Wandb(StandIn[Account]):
    """`WANDB_BASE_URL` is its `url`; the entity of every account is `team`."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, Account] = {}
        self._last_stream: dict[str, float] = defaultdict(float)

    def new_account(self, key: str) -> Account:
        account = Account(key, lambda: self.url)
        self._places[account.place] = account
        return account

    def forget(self, key: str) -> None:
        account = self._accounts.get(key)
        if account:
            self._places.pop(account.place, None)
        super().forget(key)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/graphql", self._graphql, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", self._stream, methods=["POST"]),
            Route("/storage/{place}/{run}/{name:path}", self._put, methods=["PUT"]),
            Route("/storage/{place}/{run}/{name:path}", self._get, methods=["GET"]),
            Route("/artifacts/{place}/{key:path}", self._artifact, methods=["PUT", "GET"]),
        ]

    def _account_of(self, request: Request) -> Account:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        key = secret
        if kind.lower() == "basic":
            key = base64.b64decode(secret).decode().partition(":")[2]
        try:
            return self.account(key)
        except KeyError:
            raise RefusedError(401, "user is not logged in") from None

    async def _graphql(self, request: Request) -> Response:
        try:
            account = self._account_of(request)
        except RefusedError as error:
            return _refused(error)
        passes, headers = account.rules.graphql.take() if account.rules.graphql else (True, {})
        if not passes:
            return JSONResponse({"error": "rate limit exceeded"}, 429, headers)
        asked = await request.json()
        data, errors = answer(asked["query"], asked.get("variables"), _Root(account))
        if not errors:
            return JSONResponse({"data": data}, headers=headers)
        first = errors[0]
        if isinstance(first, RefusedError):
            return _refused(first)
        return JSONResponse({"errors": [{"message": str(e)} for e in errors]}, 400)

    async def _stream(self, request: Request) -> Response:
        where = request.path_params
        try:
            account = self._account_of(request)
            project = account.at(where["entity"], where["project"])
            run = project.of.get(where["run"]) if project else None
            if run is None:
                raise RefusedError(404, f"run {where['run']} not found")
            if limited := self._limited(account, run):
                return limited
            account.stream(run, await request.json())
        except RefusedError as error:
            return _refused(error)
        return JSONResponse({"exitcode": None, "limits": {}})

    def _limited(self, account: Account, run: Run) -> Response | None:
        rate = account.rules.filestream_a_second
        if rate is None:
            return None
        now, key = time.monotonic(), f"{account.place}/{run.id}"
        wait = self._last_stream[key] + 1 / rate - now
        if wait <= 0:
            self._last_stream[key] = now
            return None
        headers = {"RateLimit-Limit": "1000", "RateLimit-Remaining": "0"}
        headers["RateLimit-Reset"] = f"{wait:.3f}"
        return JSONResponse({"error": "rate limit exceeded"}, 429, headers)

    async def _put(self, request: Request) -> Response:
        try:
            account, run = self._run_at(request)
            account.check_write()
            if "content-length" not in request.headers:
                raise RefusedError(411, "MissingContentLength")
        except RefusedError as error:
            return _refused(error)
        account.file_of(run, request.path_params["name"]).content = await request.body()
        return Response()

    async def _get(self, request: Request) -> Response:
        try:
            _, run = self._run_at(request)
        except RefusedError as error:
            return _refused(error)
        file = run.held.get(request.path_params["name"])
        if file is None or file.content is None:
            return _refused(RefusedError(404, "file not found"))
        return Response(file.content, media_type="application/octet-stream")

    async def _artifact(self, request: Request) -> Response:
        account = self._places.get(request.path_params["place"])
        file = account.registry.stored_at(request.path_params["key"]) if account else None
        if file is None:
            return _refused(RefusedError(404, "file not found"))
        if request.method == "PUT":
            file.content = await request.body()
            return Response()
        if file.content is None:
            return _refused(RefusedError(404, "file not found"))
        return Response(file.content, media_type="application/octet-stream")

    def _run_at(self, request: Request) -> tuple[Account, Run]:
        account = self._places.get(request.path_params["place"])
        if account is None:
            raise RefusedError(403, "signature does not match")
        return account, account.by_id(request.path_params["run"])


def _refused(error: RefusedError) -> Response:
    return JSONResponse({"errors": [{"message": str(error)}], "data": None}, error.status)


@dataclass
class _Root:
    """Queries and mutations of the schema."""

    account: Account

    @property
    def viewer(self) -> dict[str, Any]:
        return self.account.viewer

    def entity(self, info: Any, name: str | None = None) -> dict[str, Any]:
        self.account.check_entity(name)
        return {"id": f"entity-{name}", "name": self.account.entity}

    def project(
        self,
        info: Any,
        name: str | None = None,
        entityName: str | None = None,  # noqa: N803
    ) -> Project | None:
        return self.account.at(entityName, name)

    model = project

    @property
    def serverInfo(self) -> dict[str, Any]:  # noqa: N802
        names = self.account.rules.features
        return {
            "features": [{"name": name, "isEnabled": True} for name in names],
            "cliVersionInfo": {"max_cli_version": "0.29.0"},
        }

    def models(
        self,
        info: Any,
        entityName: str | None = None,  # noqa: N803
        after: str | None = None,
        first: int | None = None,
    ) -> dict[str, Any]:
        self.account.check_entity(entityName)
        return connection(list(self.account.projects.values()), after, min(first or 50, 1000))

    def artifact(self, info: Any, id: str) -> Artifact:
        return self.account.registry.by_id(id)

    def clientIDMapping(self, info: Any, clientID: str) -> dict[str, str] | None:  # noqa: N802, N803
        return self.account.registry.server_id(clientID)

    def upsertSweep(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"sweep": self.account.upsert_sweep(input), "configValidationWarnings": []}

    def createArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        project = self.account.made(input["entityName"], input["projectName"])
        return {"artifact": self.account.registry.create(project, input)}

    def createArtifactManifest(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        return self.account.registry.new_manifest(input)

    def createArtifactFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        registry = self.account.registry
        files = [
            registry.by_id(one["artifactID"]).to_upload(one["name"])
            for one in input["artifactFiles"]
        ]
        return {"files": connection(files, None, len(files))}

    def commitArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        artifact = self.account.registry.by_id(input["artifactID"])
        artifact.state = "COMMITTED"
        return {"artifact": artifact}

    def organization(self, info: Any, name: str | None = None) -> dict[str, Any]:
        return {"featureFlags": []}

    def upsertBucket(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self.account.upsert(input)

    def upsertModel(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        there = input["name"] in self.account.projects
        project = self.account.made(input.get("entityName"), input["name"])
        return {"model": project, "project": project, "inserted": not there}

    def deleteRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.delete(input["id"])
        return {}

    def createRunFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        run = self._run(input)
        files = [self.account.file_of(run, name) for name in input["files"]]
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    def markRunFilesUploaded(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.account.check_write()
        self._run(input)
        return {"success": True}

    def _run(self, given: dict[str, Any]) -> Run:
        project = self.account.at(given["entityName"], given["projectName"])
        run = project.of.get(given["runName"]) if project else None
        if run is None:
            raise RefusedError(404, f"run {given['runName']} not found")
        return run


def lines_of(run: Run) -> list[dict[str, Any]]:
    """Rows of history as they came, NaN and infinities included."""
    return [json.loads(line) for line in run.lines]
