"""Pluto for the contract: a stand-in in this process, an account a folder, requests to it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.servers import standin

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.pluto import PlutoAccount, PlutoStandIn

REFUSAL = ("permission denied",)


@functools.cache
def server() -> PlutoStandIn:
    """The one of this process; forked ones use it too."""
    from migration_pipeline_tests.servers.pluto import PlutoStandIn

    return standin.start(PlutoStandIn())


def configuration(folder: Path, url: str = "", **settings: Any) -> PlutoConfig:
    url = url or server().url
    key = SecretStr(standin.account_key(folder))
    return PlutoConfig(api_key=key, url_app=url, url_api=url, url_ingest=url, **settings)


def make(folder: Path) -> PlutoTarget:
    return PlutoTarget(configuration(folder))


def account(folder: Path) -> PlutoAccount:
    return server().account(standin.account_key(folder))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    """Every request, without ids."""
    assert isinstance(target, PlutoTarget)
    client = target._to.client
    send = client.send

    def watched(request: Any, **options: Any) -> Any:
        path = re.sub(r"/bucket/.*", "/bucket", request.url.path)
        name = f"{request.method} {re.sub(r'/[0-9]+$', '', path)}"
        before(name)
        answer = send(request, **options)
        after(name)
        return answer

    client.send = watched  # type: ignore[method-assign]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The key may only read."""
    account(folder).read_only = True
    try:
        yield
    finally:
        account(folder).read_only = False


def whole(folder: Path) -> Any:
    """Every run that was not discarded: configuration, tags, status, times, points, text,
    histograms, files. A file that is listed twice, because its upload was cut off, is one."""
    found = account(folder)
    known = {run.id: _identity(run) for run in found.runs.values()}
    runs = {}
    for run in found.runs.values():
        marks = (run.config or {}).get("neptune", {})
        if marks.get("state") == "discarded":
            continue
        rows = found.of(run.project, run.id)
        config = {**(run.config or {}), "neptune": {**marks, "attempt": None}}
        begin = f"{run.project}/{run.id}/"
        runs[known[run.id]] = {
            "name": run.name,
            "tags": run.tags,
            "status": (run.status, run.created, run.status_updated),
            "config": config,
            "fork": run.fork and (known[run.fork[0]], run.fork[1]),
            "log names": run.log_names,
            "points": {name: repr(sorted(p.items())) for name, p in rows.points.items()},
            "data": rows.data,
            "files": {(f["logName"], f["fileName"], f["step"], f["time"]) for f in rows.files},
            "bytes": {
                key.removeprefix(begin): content
                for key, content in found.objects.items()
                if key.startswith(begin)
            },
        }
    return runs


def _identity(run: Any) -> str:
    return f"{run.project} {re.sub('^neptune(~[0-9]+)?', '', run.external_id or '')}"
