"""Servers of both Neptune protocols as places for the contract of sources."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import CredentialsRefusedError, SourceUnavailableError
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline.neptune_server.store import Store
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.source import Neptune2Source
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.source import Neptune3Source
from migration_pipeline_tests.sources.contract.place import Lasting, Place, begin, until
from migration_pipeline_tests.sources.protocols import NEPTUNE2, NEPTUNE3, Protocol
from migration_pipeline_tests.sources.serving import NOON, PROJECT, add_points, long_ago, points_of

STEPS = [0.0, 0.5, 1.0]


def make_neptune3(token: str, retry_seconds: float = 20.0) -> Neptune3Source:
    config = Neptune3Config(
        api_token=token, workers=3, retry_seconds=retry_seconds, connect_seconds=retry_seconds
    )
    return Neptune3Source(config)


def make_neptune2(token: str, retry_seconds: float = 20.0) -> Neptune2Source:
    config = Neptune2Config(
        api_token=token, workers=3, retry_seconds=retry_seconds, connect_seconds=retry_seconds
    )
    return Neptune2Source(config)


_MAKE: dict[str, Callable[..., Any]] = {"neptune3": make_neptune3, "neptune2": make_neptune2}


def fill(store: Store, protocol: Protocol, count: int) -> dict[str, int]:
    """Runs of all kinds of content, alike except for their number: run id → number."""
    with long_ago(store):
        project = store.project(PROJECT, version=protocol.version)
        made = {}
        for i in range(count):
            run = protocol.create(project, f"r{i}")
            run.set("n", "int", i)
            add_points(run, "loss", STEPS, [i, i + 0.5, i + 1.0])
            run.extend_series("log", "string_series", [(0.0, NOON, f"{i}")])
            run.set_file("model", b"%d" % i, f"r{i}/model.bin", "")
            made[run.sys_id if protocol.version == 2 else f"r{i}"] = i
    return made


def content_of(number: int) -> dict[str, Any]:
    """What `fill` gave to the run of this number, as an archive has it."""
    return {
        "n": number,
        "model": b"%d" % number,
        "loss": points_of(STEPS, [number, number + 0.5, number + 1.0]),
        "log": [(0, NOON, f"{number}")],
    }


def passing(protocol: Protocol) -> Mapping[str, Fault]:
    """Faults that are no more when a request is repeated."""
    page = {"content": b"<html>Bad gateway</html>", "content_type": "text/html"}
    return {
        "reset": Fault(r"/v1/", reset=True, times=3),
        "slow": Fault("", latency=0.3, times=3),
        "429": Fault("", status=429, retry_after=0.2, times=3),
        "503": Fault(r"/v1/", status=503, retry_after=0.2, times=3),
        "truncated search": Fault("entries/search", truncate=0.5, times=2),
        "truncated values": protocol.fault_of_values(truncate=0.9, times=2),
        "truncated points": Fault(protocol.floats, truncate=0.6, times=2),
        "no point at all": Fault(protocol.floats, truncate=0.0, times=2),
        "truncated strings": Fault(protocol.strings, truncate=0.6, times=2),
        "unreadable points": Fault(
            protocol.floats, status=200, content=protocol.unreadable, times=2
        ),
        "500": Fault("series", status=500, times=2),
        "502 in HTML": Fault("", status=502, times=3, **page),
        "token exchange fails": Fault("oauth-token", status=503, times=1),
    }


def token_with(url: str, key: str) -> str:
    content = {"api_address": url, "api_url": url, "api_key": key}
    return base64.b64encode(json.dumps(content).encode()).decode()


@contextmanager
def _served(
    protocol: Protocol, store: Store, expected: Mapping[str, Mapping[str, Any]], count: int
) -> Iterator[Place]:
    with running_server(store) as server:

        def change(key: RunKey) -> None:
            project = server.store.projects[key.project]
            run = project.find(key.run) or project.runs[key.run]
            run.set("config/added_later", "int", 42)

        yield Place(
            make=_MAKE[protocol.name],
            arguments=(server.token,),
            hasty=(server.token, 1.0),
            count=count,
            project=PROJECT,
            expected=expected,
            change=change,
            refuse=lambda key: until(server, lambda: server.refuse_series(key.project, key.run)),
            passing={name: begin(server, fault) for name, fault in passing(protocol).items()},
            lasting={
                "gone": Lasting(
                    lambda: until(server, lambda: server.faults.unavailable(503)),
                    SourceUnavailableError,
                    "503",
                ),
                "points never come": Lasting(
                    lambda: until(
                        server, lambda: server.faults.unavailable(503, path=protocol.floats)
                    ),
                    SourceUnavailableError,
                    "503",
                ),
                "forbidden": Lasting(
                    lambda: _forgotten(server), CredentialsRefusedError, "does not accept the token"
                ),
            },
        )


@contextmanager
def _forgotten(server: RunningServer) -> Iterator[None]:
    """The server does not know the API token."""
    key = server.auth._keys.pop(server.auth.user)
    try:
        yield
    finally:
        server.auth._keys[server.auth.user] = key


def _few(protocol: Protocol, folder: Path, count: int) -> AbstractContextManager[Place]:
    store = Store()
    expected = {run: content_of(i) for run, i in fill(store, protocol, count).items()}
    return _served(protocol, store, expected, count + (protocol is NEPTUNE2))


def _many(protocol: Protocol, folder: Path) -> AbstractContextManager[Place]:
    """The sample workspace; for 2.x with its project of 2.x alone, which has every kind of object
    and every type."""
    store = Store()
    with zipfile.ZipFile(SAMPLE_ZIP) as archive:
        archive.extractall(folder)
    load_archive(store, folder / "data", folder / "files")
    if protocol is NEPTUNE3:
        return _served(protocol, store, {}, 35)
    for project in ("acme/hostile", "acme/digits"):
        del store.projects[project]
    return _served(protocol, store, {}, 11)


few2, few3 = partial(_few, NEPTUNE2), partial(_few, NEPTUNE3)
many2, many3 = partial(_many, NEPTUNE2), partial(_many, NEPTUNE3)
