"""The real 2.x client writing to a served project, in the foreground and without its extras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import neptune

from migration_pipeline.neptune_server import RunningServer

PROJECT = "acme/tabular"
QUIET: dict[str, Any] = {
    "capture_hardware_metrics": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_traceback": False,
    "source_files": [],
    "git_ref": False,
}
BOARD = "/api/leaderboard/v1/attributes"


@contextmanager
def open_run(server: RunningServer, **more: Any) -> Iterator[Any]:
    """A run that sends each operation at once, and raises what the server refuses."""
    settings = {"project": PROJECT, "api_token": server.token, "mode": "sync", **QUIET, **more}
    with neptune.init_run(**settings) as run:
        yield run


class Raw:
    """Requests that the client would not send, about one run and one attribute."""

    def __init__(self, server: RunningServer, run: Any, attribute: str) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=30)
        exchange = self.http.get(
            "/api/backend/v1/authorization/oauth-token",
            headers={"X-Neptune-Api-Token": server.token},
        )
        self.http.headers["Authorization"] = f"Bearer {exchange.json()['accessToken']}"
        id_ = f"{PROJECT}/{run['sys/id'].fetch()}"
        self.about = {"experimentId": id_, "experimentIdentifier": id_, "attribute": attribute}

    def get(self, call: str, **more: Any) -> httpx.Response:
        return self.http.get(f"{BOARD}{call}", params=self.about | more)

    def post(self, call: str, content: bytes = b"", x_range: str = "", **more: Any) -> Any:
        headers = {"X-Range": x_range} if x_range else {}
        params = self.about | more
        return self.http.post(f"{BOARD}{call}", params=params, content=content, headers=headers)


def tree(folder: Path) -> dict[str, bytes]:
    """Path below the folder → bytes of the file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
