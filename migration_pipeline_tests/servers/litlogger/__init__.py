"""A stand-in for Lightning AI (lightning.ai), as far as litlogger uses it.

Where its rules come from. D: documentation (lightning.ai/docs/litlogger). C: the code of litlogger
2026.8.28 and lightning-sdk 2026.10.13, which says what clients send and expect. A: assumption; no
source of the server and no limits are published.

- C: endpoints, fields and their types (the generated client); steps are int64 carried as text,
  times RFC 3339; phases RUNNING, COMPLETED, FAILED; media image, text, video; an update replaces
  all tags, none leaves them; files lie under experiments/<name of the experiment>/, so a new
  experiment with an old name has the old files; media of known content are not uploaded again;
  an empty file sent in chunks is refused with 501; Basic user:key or Bearer key.
- C, from the vendor's tests against the real service: values are appended, never merged; readers
  see them seconds later (`Account.lag`); "not found" in the text about what was deleted.
- C: the client itself keeps to 1,000 values a request and one request a second "to respect API
  limits"; whoever exceeds it gets 429 with Retry-After, where `Account.pace` asks for that (A).
- D, C: whether a stream keeps steps and times is said when it is made; times are not kept unless
  asked for. Samples are drawn only for those who ask for them.
- A: a name is taken (409) while its experiment is there; numbers beyond JSON's are refused;
  lengths and characters of names and values, 4 MB a body, duplicate names in a request; `minStep`
  and `maxStep` include their ends; deletion of an experiment leaves its files; forms of refusal
  for a read-only role and for limits of teamspaces and experiments.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from migration_pipeline_tests.servers.litlogger import files, streams
from migration_pipeline_tests.servers.litlogger.rules import Refused, parsed
from migration_pipeline_tests.servers.litlogger.state import Account, Teamspace, user_id
from migration_pipeline_tests.servers.standin import StandIn

__all__ = ["Account", "LitloggerService", "user_id"]

Handler = Callable[[Account, Request, dict[str, Any]], Any]


class LitloggerService(StandIn[Account]):
    """See the module's docstring."""

    def new_account(self, key: str) -> Account:
        return Account(key)

    def routes(self) -> Sequence[BaseRoute]:
        project = "/v1/projects/{project}"
        stream = f"{project}/metrics-streams/{{stream}}"
        plain: list[tuple[str, str, Handler]] = [
            ("GET", "/v1/auth/whoami", _user),
            ("GET", "/v1/auth/user", _user),
            ("GET", "/v1/users/search", _search_users),
            ("GET", "/v1/orgs", _organizations),
            ("GET", "/v1/orgs/", _organization),
            ("GET", "/v1/orgs/{id}", _organization),
            ("GET", "/v1/memberships", _memberships),
            ("POST", "/v1/projects", _new_project),
            ("GET", "/v1/projects/{project}", lambda a, r, b: teamspace(a, r).shown()),
            ("POST", "/v1/sdk-command-history", lambda a, r, b: {}),
            ("GET", "/v1/metrics-streams", streams.find),
            ("GET", f"{project}/metrics-stream/list", streams.listed),
            ("POST", f"{project}/metrics-stream/create", streams.create),
            ("POST", f"{project}/metrics-stream/delete", streams.delete),
            ("PUT", f"{project}/metrics-stream/{{stream}}", streams.update),
            ("PUT", f"{project}/logger-metrics/{{stream}}", streams.append),
            ("GET", f"{project}/logger-metrics", streams.points),
            ("GET", f"{project}/logger-metrics-summary", streams.summary),
            ("POST", f"{stream}/logger-artifacts", files.register),
            ("GET", f"{stream}/logger-artifacts", files.registered),
            ("DELETE", f"{stream}/logger-artifacts/{{id}}", files.unregister),
            ("POST", f"{stream}/media", files.new_media),
            ("GET", f"{stream}/media", files.media),
            ("PUT", f"{stream}/media/{{id}}", files.update_media),
            ("POST", f"{project}/artifacts/blobs", self._sign),
            ("POST", f"{project}/artifacts/blobs/complete", files.complete),
            ("GET", f"{project}/artifacts/blobs/{{path:path}}", files.download),
            ("DELETE", f"{project}/artifacts/blobs/{{path:path}}", files.delete_blob),
            ("DELETE", f"{project}/artifacts/trees/{{path:path}}", files.delete_tree),
        ]
        return [
            *(Route(path, self._handled(call), methods=[method]) for method, path, call in plain),
            Route("/storage/{key}/{token}", self._store, methods=["PUT"]),
        ]

    def _handled(self, call: Handler) -> Callable[[Request], Awaitable[Response]]:
        @wraps(call)
        async def handler(request: Request) -> Response:
            try:
                account = self._of(request)
                if account.read_only and request.method != "GET":
                    raise Refused(403, "permission denied: your role may only view this teamspace")
                body = {} if request.method in ("GET", "DELETE") else parsed(await request.body())
                said = call(account, request, body)
            except Refused as refused:
                return refusal(refused)
            return said if isinstance(said, Response) else JSONResponse(said)

        return handler

    def _of(self, request: Request) -> Account:
        """The account whose credentials came with it."""
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        user, key = "", said
        try:
            if scheme == "Basic":
                user, _, key = base64.b64decode(said).decode().partition(":")
            account = self.account(key)
        except (KeyError, ValueError, binascii.Error):
            raise Refused(401, "invalid API key") from None
        if scheme not in ("Basic", "Bearer") or user not in ("", account.user_id):
            raise Refused(401, "invalid API key")
        return account

    def _sign(self, account: Account, request: Request, body: dict[str, Any]) -> Any:
        return files.sign(account, request, body, f"{self.url}/storage/{account.key}")

    async def _store(self, request: Request) -> Response:
        """The object store behind signed addresses: it knows no API key, and wants none."""
        try:
            account = self.account(request.path_params["key"])
            return files.store(account, request, await request.body())
        except (KeyError, Refused) as error:
            return refusal(error if isinstance(error, Refused) else Refused(403, "AccessDenied"))


def refusal(refused: Refused) -> Response:
    wait = refused.retry_after
    headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
    return JSONResponse(refused.body, refused.status, headers)


def teamspace(account: Account, request: Request) -> Teamspace:
    return streams.teamspace(account, request)


def _user(account: Account, request: Request, body: dict[str, Any]) -> Any:
    said = {"id": account.user_id, "userId": account.user_id, "username": account.username}
    return {**said, "authType": "api_key"}


def _search_users(account: Account, request: Request, body: dict[str, Any]) -> Any:
    me = _user(account, request, body)
    asked = request.query_params.get("query", "")
    return {"users": [me] if asked in (account.user_id, account.username) else []}


def _organizations(account: Account, request: Request, body: dict[str, Any]) -> Any:
    found = account.organizations
    return {"organizations": [{"id": found[name], "name": name} for name in found]}


def _organization(account: Account, request: Request, body: dict[str, Any]) -> Any:
    wanted = request.path_params.get("id") or request.query_params.get("name", "")
    for name, number in account.organizations.items():
        if wanted in (name, number):
            return {"id": number, "name": name, "displayName": name}
    raise Refused(404, "organization not found")


def _memberships(account: Account, request: Request, body: dict[str, Any]) -> Any:
    return {"memberships": [one.shown() for one in account.teamspaces.values()]}


def _new_project(account: Account, request: Request, body: dict[str, Any]) -> Any:
    name, organization = body.get("name", ""), body.get("organizationId", "")
    if not name or len(name) > 64 or not all(c.isalnum() or c in "-_" for c in name):
        raise Refused(400, f"invalid teamspace name {name!r}")
    if organization and organization not in account.organizations.values():
        raise Refused(404, "organization not found")
    owner = organization or account.user_id
    if any((t.name, t.owner_id) == (name, owner) for t in account.teamspaces.values()):
        raise Refused(409, f"teamspace {name} already exists")
    if account.max_teamspaces is not None and len(account.teamspaces) >= account.max_teamspaces:
        raise Refused(403, "maximum number of teamspaces reached, upgrade your plan")
    made = Teamspace(
        account.new_id("prj"),
        name,
        body.get("displayName") or name,
        owner,
        "organization" if organization else "user",
    )
    account.teamspaces[made.id] = made
    return made.shown()
