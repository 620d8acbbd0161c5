"""Comet for the contract: one stand-in a process, an account a folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migration_pipeline.targets.comet.client import CometTarget
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline.targets.comet.naming import FACTS, MARKS
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.servers import standin
from migration_pipeline_tests.servers.comet import Account, CometServer, Experiment
from migration_pipeline_tests.targets.watching import Seen

WORKSPACE = "team"


@functools.cache
def server() -> CometServer:
    return standin.start(CometServer())


def account(folder: Path) -> Account:
    return server().account(standin.account_key(folder))


def configuration(folder: Path, **settings: Any) -> CometConfig:
    values = {"workspace": WORKSPACE, "url": f"{server().url}/clientlib/"} | settings
    return CometConfig(api_key=standin.account_key(folder), **values)


def make(folder: Path) -> CometTarget:
    return CometTarget(configuration(folder))


def watch(target: Target, before: Seen, after: Seen) -> None:
    """Every request that leaves one of its sessions."""
    assert isinstance(target, CometTarget)
    to = target._to
    make_client = to.make

    def watched_client() -> Any:
        made = make_client()
        send = made.session.send

        def watched(request: Any, **options: Any) -> Any:
            name = f"{request.method} {request.path_url.partition('?')[0]}"
            before(name)
            answer = send(request, **options)
            after(name)
            return answer

        made.session.send = watched
        return made

    to.make = watched_client  # type: ignore[method-assign]
    to.__dict__["_of_thread"] = type(to._of_thread)()


def whole(folder: Path) -> Any:
    """Every experiment by the run that it is of, without ids and the files' order."""
    everyone = account(folder).experiments.values()
    runs = {one.key: one.parameters.get(MARKS["run"], one.key) for one in everyone}
    return sorted((_contents(one, runs) for one in everyone), key=repr)


def _contents(one: Experiment, runs: dict[str, str]) -> Any:
    parent = f"{FACTS}fork/experiment"
    others = {**one.others, parent: runs.get(one.others.get(parent, ""), "")}
    return (
        one.project,
        one.name,
        (one.started, one.ended, one.running, one.crashed, one.archived),
        sorted(one.parameters.items()),
        sorted(others.items()),
        sorted(one.tags),
        sorted((name, sorted(points, key=repr)) for name, points in one.metrics.items()),
        sorted(
            (asset.name, asset.type, asset.step, hashlib.blake2b(asset.content).hexdigest())
            for asset in one.assets.values()
        ),
        one.machine,
    )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The key of a user who may only view."""
    account(folder).read_only = True
    try:
        yield
    finally:
        account(folder).read_only = False
