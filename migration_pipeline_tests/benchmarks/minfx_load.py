"""Loading into Minfx against minfx's `execute_operations` and `extend`, at a server in a process of
its own.

    python -m migration_pipeline_tests.benchmarks.minfx_load [--rounds 5]

All send 20 series of 5,000 points and 200 parameters, in turns. The others are fed from memory:
`execute_operations` of the run's backend with 5,000 points an operation (without the queue on disk
that lies before it), and `extend` as minfx's documentation has it, in a run of its own. Ours reads
the archive and writes all that it keeps beside. Reading back is not part of it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    SERIES,
    points_of,
)
from migration_pipeline_tests.benchmarks.service_loads import archive_of_one, in_turns
from migration_pipeline_tests.neptune_server.neptune2.clients import QUIET
from migration_pipeline_tests.servers.neptune import token_of
from migration_pipeline_tests.servers.standin import account_key, spawned


def opened(token: str, project: str, mode: str) -> Any:
    from minfx import neptune_v2

    return neptune_v2.init_run(api_token=token, project=project, mode=mode, **QUIET)


def executed(token: str, project: str) -> float:
    """Seconds of `execute_operations`."""
    from minfx.neptune_v2.internal.container_type import ContainerType
    from minfx.neptune_v2.internal.operation import AssignFloat, LogFloats

    data = [points_of(number, 0, POINTS) for number in range(SERIES)]
    with opened(token, project, "sync") as run:
        backend = run._backend
        if hasattr(backend, "_backend_states"):
            backend = backend._backend_states[0].backend
        run_id = run._id
        started = time.perf_counter()
        assigned = [AssignFloat(["p", str(i)], i / 7) for i in range(PARAMETERS)]
        backend.execute_operations(run_id, ContainerType.RUN, assigned, None)
        for number, (steps, times, values) in enumerate(data):
            points = [
                LogFloats.ValueType(value, step=step, ts=ms / 1000)
                for value, step, ms in zip(
                    values.tolist(), steps.tolist(), times.tolist(), strict=True
                )
            ]
            operation = LogFloats(["metrics", str(number)], points)
            _, errors = backend.execute_operations(run_id, ContainerType.RUN, [operation], None)
            assert not errors, errors
        return time.perf_counter() - started


def extended(token: str, project: str) -> float:
    """Seconds of `extend`, until the run is closed."""
    data = [points_of(number, 0, POINTS) for number in range(SERIES)]
    run = opened(token, project, "async")
    started = time.perf_counter()
    run["p"] = {str(i): i / 7 for i in range(PARAMETERS)}
    for number, (steps, times, values) in enumerate(data):
        run[f"metrics/{number}"].extend(
            values.tolist(), steps=steps.tolist(), timestamps=(times / 1000).tolist()
        )
    run.wait()
    taken = time.perf_counter() - started
    run.stop()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    reference = "migration_pipeline_tests.servers.minfx:Minfx"
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, spawned(reference) as url:
        os.chdir(name)  # minfx keeps a folder of its own where it is started
        archive = archive_of_one(Path(name))
        project, token = f"{account_key('benchmark')}/runs", token_of(url)
        target = MinfxTarget(MinfxConfig(api_token=SecretStr(token), project=project))
        target.check()  # the others have their connection, too
        others = {
            "execute_operations": lambda _: executed(token, project),
            "extend": lambda _: extended(token, project),
        }
        in_turns(target, archive, others, rounds)


if __name__ == "__main__":
    main()
