"""W&B for the contract: a stand-in of its service, an account a folder, and the requests to it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migration_pipeline.targets.target import Target
from migration_pipeline_tests.servers.standin import account_key, start

if TYPE_CHECKING:
    from migration_pipeline.targets.wandb.client import WandbTarget
    from migration_pipeline_tests.servers.wandb import Wandb
    from migration_pipeline_tests.servers.wandb.state import Account


@functools.cache
def server() -> Wandb:
    """One for this process, and for those that it forks."""
    from migration_pipeline_tests.servers.wandb import Wandb

    return start(Wandb())


def account(folder: Path) -> Account:
    return server().account(account_key(folder))


def make(folder: Path, **settings: Any) -> WandbTarget:
    from migration_pipeline.targets.wandb.client import WandbTarget
    from migration_pipeline.targets.wandb.config import WandbConfig

    given = {"api_key": account_key(folder), "base_url": server().url} | settings
    return WandbTarget(WandbConfig.model_validate(given))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    """Every request that leaves."""
    connection = target._place.to  # type: ignore[attr-defined]
    deliver = connection.deliver

    def watched(request: Any, stream: bool) -> Any:
        name = _name(request)
        before(name)
        answer = deliver(request, stream)
        after(name)
        return answer

    connection.deliver = watched


def _name(request: Any) -> str:
    path = re.sub(r"https?://[^/]*", "", request.url)
    if path == "/graphql":
        return (
            "POST " + re.findall(r"(?:query|mutation) (\w+)", json.loads(request.body)["query"])[0]
        )
    return f"{request.method} {path.split('/')[1]}"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    rules = account(folder).rules
    rules.read_only = True
    try:
        yield
    finally:
        rules.read_only = False


def whole(folder: Path) -> Any:
    """All runs that are not deleted; which attempt a run is does not count."""
    found = {}
    for project in account(folder).projects.values():
        for run in project.of.values():
            config = re.sub(r'("parent_run": "[^"]*-[0-9a-f]{16})-\d+"', r'\1"', run.config)
            key = re.sub(r"(-[0-9a-f]{16})-\d+$", r"\1", run.name)
            found[f"{project.name}/{key}"] = {
                "name": run.displayName,
                "state": run.state,
                "tags": run.tags,
                "group": (run.group, run.jobType, run.notes),
                "config": json.loads(config),
                "summary": json.loads(run.summaryMetrics),
                "lines": run.lines,
                "files": {
                    file.name: hashlib.blake2b(file.content or b"").hexdigest()
                    for file in run.shown_files
                },
            }
    # NaN does not equal itself.
    return json.dumps(found, sort_keys=True)
