"""Lightning AI for the contract: its stand-in, and requests over the SDK's connections."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.servers.standin import account_key, start

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.litlogger import Account, LitloggerService

_IDS = re.compile(r"(str|prj|art|med|upl|put)\d{6}|acc[0-9a-f]{20,}|experiments/.*")


@functools.cache
def service() -> LitloggerService:
    """The stand-in of this process."""
    from migration_pipeline_tests.servers.litlogger import LitloggerService

    return start(LitloggerService())


def account(folder: Path) -> Account:
    return service().account(account_key(folder))


def configuration(folder: Path, **settings: Any) -> LitloggerConfig:
    """Of the account that a folder stands for; without a pace."""
    key = account_key(folder)
    given = {
        "api_key": key,
        "user_id": account(folder).user_id,
        "cloud_url": service().url,
        "requests_per_second": 0,
        "visible_seconds": 5,
        **settings,
    }
    return LitloggerConfig(**given)


def make(folder: Path) -> LitloggerTarget:
    return LitloggerTarget(configuration(folder))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    """Every request, by its method and path without ids."""
    assert isinstance(target, LitloggerTarget)
    to = target._to
    send = to._send

    def watched(method: str, url: str, **what: Any) -> Any:
        path = _IDS.sub("…", "/" + url.split("/", 3)[3])
        before(f"{method} {path}")
        # The body is read where it comes from: a process that is killed after this has sent all.
        answer = send(method, url, **what)
        after(f"{method} {path}")
        return answer

    to._send = watched  # type: ignore[method-assign]


def whole(folder: Path) -> Any:
    """Every experiment of every teamspace, with its files."""
    return {
        space.name: {
            stream.name: {
                "tags": sorted((tag["name"], tag["value"]) for tag in stream.tags),
                "phase": stream.phase,
                "said": {k: v for k, v in stream.said.items() if k != "tags"},
                "points": {n: sorted(of.rows()) for n, of in sorted(stream.metrics().items())},
                "files": sorted(
                    (path, _digest(space.blobs[f"experiments/{stream.name}/{path}"]))
                    for path in stream.artifacts.values()
                ),
                "media": sorted(one["name"] for one in stream.media.values()),
            }
            for stream in sorted(space.streams.values(), key=lambda one: one.name)
        }
        | {"drive": sorted((path, _digest(of)) for path, of in space.blobs.items())}
        for space in account(folder).teamspaces.values()
    }


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The account may only read."""
    account(folder).read_only = True
    try:
        yield
    finally:
        account(folder).read_only = False
