"""A served store, the real client pointed at it, and raw calls where it hides details."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import neptune_query
import numpy as np
import pytest
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoFloatSeriesValuesResponseDTO,
    ProtoSeriesValuesResponseDTO,
)
from neptune_query.internal import client as query_client
from neptune_query.internal.context import Context, set_context

from migration_pipeline.neptune_server import RunningServer, Store, running_server

PROJECT = "acme/vision"
NOON = 1_700_000_000_000


class Api:
    """Authenticated calls without a client's paging and retries."""

    def __init__(self, server: RunningServer) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=10)
        exchange = self.http.get(
            "/api/backend/v1/authorization/oauth-token",
            headers={"X-Neptune-Api-Token": server.token},
        )
        self.http.headers["Authorization"] = f"Bearer {exchange.json()['accessToken']}"

    def post(self, path: str, json: Any, **params: Any) -> httpx.Response:
        return self.http.post(f"/api/leaderboard/v1{path}", json=json, params=params)

    def floats(self, holder: str, path: str, **more: Any) -> list[tuple[float, float]]:
        """(step, value) of a page of one float series."""
        request = {"requestId": "0", "series": _series(holder, path, more)}
        request |= {key: more.pop(key) for key in ("afterStep",) if key in more}
        answer = self.post("/proto/attributes/series/float", {"requests": [request], **more})
        assert answer.status_code == 200, answer.text
        parsed = ProtoFloatSeriesValuesResponseDTO.FromString(answer.content)
        return [(p.step, p.value) for one in parsed.series for p in one.series.values]

    def objects(self, requests: list[dict[str, Any]], **more: Any) -> Any:
        """The parsed answer about string, histogram or file series."""
        answer = self.post("/proto/attributes/series", {"requests": requests, **more})
        assert answer.status_code == 200, answer.text
        return ProtoSeriesValuesResponseDTO.FromString(answer.content)


def _series(holder: str, path: str, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "holder": {"identifier": holder, "type": "experiment"},
        "attribute": path,
        "lineage": more.pop("lineage", "NONE"),
        "lineageEntityType": more.pop("entity", "RUN"),
        "includePreview": more.pop("previews", False),
    }


@pytest.fixture
def serve() -> Iterator[Callable[[Store], RunningServer]]:
    """Serves a store until the test ends and points neptune-query at it."""
    with ExitStack() as stack:

        def start(store: Store) -> RunningServer:
            server = stack.enter_context(running_server(store))
            point_query_at(server)
            return server

        yield start
        forget_query()


def point_query_at(server: RunningServer) -> None:
    query_client.clear_cache()
    neptune_query.set_api_token(server.token)


def forget_query() -> None:
    query_client.clear_cache()
    set_context(Context())


def add_points(run: Any, path: str, steps: Any, values: Any = None) -> None:
    """Points a second apart; the values are the steps when none are given."""
    steps = np.asarray(steps, float)
    values = steps if values is None else np.asarray(values, float)
    run.extend_float_series(path, steps, NOON + np.arange(len(steps)) * 1000, values)
