"""What back ends of the 2.x protocol have in common in tests: watching, and what a server holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.neptune_server.series import FloatSeries, ObjectSeries
from migration_pipeline.neptune_server.store import Attribute, FileSetValue, FileValue, Run
from migration_pipeline.targets.neptune2.client import Neptune2Target
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.servers.neptune import Neptune
from migration_pipeline_tests.servers.standin import account_key

REFUSAL = ("read-only",)
_opened: dict[tuple[int, str], Any] = {}


def keep_open(target: Neptune2Target, url: str) -> None:
    """Sessions are kept between targets of one server, as their handshake takes longer than a load
    of little; what targets have learnt of runs is not."""
    place = (os.getpid(), url)
    if place not in _opened:
        _opened[place] = target._session.opened
    target._session.__dict__["_open"] = _opened[place]


@contextlib.contextmanager
def read_only(server: Neptune, folder: Path) -> Iterator[None]:
    """The folder's workspace can be read and not written."""
    server.refusing[account_key(folder)] = "WORKSPACE_IN_READ_ONLY_MODE"
    try:
        yield
    finally:
        del server.refusing[account_key(folder)]


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    assert isinstance(target, Neptune2Target)
    exchange = target._session.exchange

    def watched(session: Any, prepared: Any, stream: bool) -> Any:
        name = f"{prepared.method} {prepared.path_url.partition('?')[0]}"
        before(name)
        answer = exchange(session, prepared, stream)
        after(name)
        return answer

    target._session.exchange = watched  # type: ignore[method-assign]


_MADE_UP = re.compile(
    r"sys/(id|creation_time|modification_time|ping_time|running_time|monitoring_time|size|state)$"
)


def held(runs: Iterable[Run]) -> dict[str, Any]:
    """Each run by its custom id: its attributes with their values. What the server makes up is
    left out, and its ids of runs are replaced by the custom ones."""
    runs = list(runs)
    names = {run.sys_id: run.run_id for run in runs}
    return {
        run.run_id: {
            path: _value(run, attribute, names)
            for path, attribute in sorted(run.attributes.items())
            if not _MADE_UP.match(path)
        }
        for run in runs
    }


def _value(run: Run, attribute: Attribute, names: dict[str, str]) -> Any:
    value = attribute.value
    if isinstance(value, FloatSeries):
        arrays = (value.steps, value.timestamps, value.values)
        return [np.asarray(array).tobytes() for array in arrays]
    if isinstance(value, ObjectSeries):
        points = [_value(run, Attribute("", one), names) for one in value.values]
        return [value.steps, value.timestamps, points]
    if isinstance(value, FileValue):
        found = run.project.store.blobs.find(run.project.identifier, value.path)
        assert found is not None
        digest = hashlib.blake2b(found.read_bytes()).hexdigest()
        return [digest, value.name, value.extension]
    if isinstance(value, FileSetValue):
        files = sorted(value.files.items())
        return {name: _value(run, Attribute("", file), names) for name, file in files}
    return names.get(value, value) if isinstance(value, str) else repr(value)
