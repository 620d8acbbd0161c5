"""Tokens: exchanged, refreshed, refused, expired."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import httpx
import neptune_query
import pytest
from neptune_query import runs
from neptune_query.exceptions import (
    NeptuneInvalidCredentialsError,
    NeptuneUnexpectedResponseError,
)
from neptune_query.internal import client as query_client

from migration_pipeline.neptune_server import RunningServer, Store

from .conftest import PROJECT, Api

Serve = Callable[[Store], RunningServer]


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    store = Store()
    store.project(PROJECT).create_run("run")
    return serve(store)


def test_one_exchange_serves_many_calls(server: RunningServer) -> None:
    for _ in range(3):
        assert runs.list_runs(project=PROJECT) == ["run"]
    assert (server.auth.exchanges, server.auth.refreshes) == (1, 0)


def test_a_token_near_its_end_is_refreshed(server: RunningServer) -> None:
    server.auth.lifetime = 29
    for _ in range(3):
        assert runs.list_runs(project=PROJECT) == ["run"]
    assert (server.auth.exchanges, server.auth.refreshes) == (1, 2)


def test_an_unknown_key_is_refused(server: RunningServer) -> None:
    content = json.loads(base64.b64decode(server.token)) | {"api_key": "wrong"}
    query_client.clear_cache()
    neptune_query.set_api_token(base64.b64encode(json.dumps(content).encode()).decode())
    with pytest.raises(NeptuneInvalidCredentialsError):
        runs.list_runs(project=PROJECT)


def test_an_expired_token_on_a_data_call_is_a_401(server: RunningServer) -> None:
    assert runs.list_runs(project=PROJECT) == ["run"]
    server.auth.expire_tokens()
    with pytest.raises(NeptuneUnexpectedResponseError, match="401"):
        runs.list_runs(project=PROJECT)
    query_client.clear_cache()
    assert runs.list_runs(project=PROJECT) == ["run"]


def test_every_endpoint_wants_a_token(server: RunningServer) -> None:
    api = Api(server).http
    api.headers.pop("Authorization")
    for method, path in (
        ("POST", "/api/leaderboard/v1/proto/attributes/series/float"),
        ("POST", "/api/storagebridge/v1/signedUrl"),
        ("POST", "/api/client/v1/ingest"),
        ("GET", "/api/backend/v1/projects"),
    ):
        assert api.request(method, path).status_code == 401
    assert httpx.get(f"{server.url}/api/backend/v1/clients/config").status_code == 200
