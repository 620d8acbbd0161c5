"""What the server says without a client in between, and operations that no client would send."""

from __future__ import annotations

from typing import Any

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline_tests.neptune_server.conftest import Api

from .clients import PROJECT


def options(server: RunningServer, **more: Any) -> dict[str, Any]:
    """For the client's init functions: each operation is sent at once."""
    return {"project": PROJECT, "api_token": server.token, "mode": "sync"} | more


def attributes(server: RunningServer, sys_id: str) -> dict[str, Any]:
    """path → properties, of all attributes that an object of the project has."""
    answer = Api(server).http.get(
        "/api/leaderboard/v1/attributes", params={"experimentId": f"{PROJECT}/{sys_id}"}
    )
    assert answer.status_code == 200, answer.text
    return {one["name"]: one[f"{one['type']}Properties"] for one in answer.json()["attributes"]}


def execute(server: RunningServer, sys_id: str, *operations: tuple[str, str, Any]) -> list[str]:
    """Send operations (path, name, content) at once; descriptions of those that were refused."""
    body = [{"path": path, name: content} for path, name, content in operations]
    answer = Api(server).post("/attributes/operations", body, experimentId=f"{PROJECT}/{sys_id}")
    assert answer.status_code == 200, answer.text
    assert {one["errorType"] for one in answer.json()} <= {"metadata_inconsistency"}
    return [one["errorDescription"] for one in answer.json()]


def get(server: RunningServer, endpoint: str, sys_id: str, attribute: str, **more: Any) -> Any:
    """The answer about one attribute of an object of the project."""
    about = {"experimentId": f"{PROJECT}/{sys_id}", "attribute": attribute}
    return Api(server).http.get(f"/api/leaderboard/v1/attributes/{endpoint}", params=about | more)


def search(server: RunningServer, *, kind: str = "run", **params: Any) -> Any:
    """A page of the project's table."""
    where = {"projectIdentifier": PROJECT, "type": kind}
    return Api(server).post("/leaderboard/entries/search", params, **where)
