"""Loading into Lightning AI against `MetricsApi`, at its stand-in in a process of its own.

    python -m migration_pipeline_tests.benchmarks.litlogger_load [--rounds 5]

Both send 20 series of 5,000 points and 200 parameters, in turns, and neither keeps a pace. The
documented way is fed from memory, a thousand values a call as litlogger itself does, with steps and
times; ours reads the archive, writes all that it keeps beside and waits until every point can be
read. Reading back is not part of it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    SERIES,
    points_of,
)
from migration_pipeline_tests.benchmarks.service_loads import archive_of_one, in_turns
from migration_pipeline_tests.servers.litlogger.state import user_id
from migration_pipeline_tests.servers.standin import account_key, spawned

SERVICE = "migration_pipeline_tests.servers.litlogger:LitloggerService"
_AT_A_TIME = 1000


def documented(teamspace: str, name: str) -> float:
    """Seconds of `MetricsApi` for the same data, from memory."""
    from litlogger.api.metrics_api import MetricsApi
    from litlogger.types import Metrics, MetricValue, PhaseType

    api = MetricsApi()
    data = [points_of(number, 0, POINTS) for number in range(SERIES)]
    parameters = {f"p/{i}": str(i / 7) for i in range(PARAMETERS)}
    started = time.perf_counter()
    made, _ = api.get_or_create_experiment_metrics(
        teamspace, name, parameters, store_step=True, store_created_at=True
    )
    for number, (steps, times, values) in enumerate(data):
        for first in range(0, POINTS, _AT_A_TIME):
            part = slice(first, first + _AT_A_TIME)
            points = [
                MetricValue(
                    value=value, step=step, created_at=datetime.fromtimestamp(ms / 1000, UTC)
                )
                for value, step, ms in zip(
                    values[part].tolist(), steps[part].tolist(), times[part].tolist(), strict=True
                )
            ]
            metrics = [Metrics(name=f"metrics/{number}", values=points)]
            api.append_experiment_metrics(teamspace, made.id, metrics)
    api.update_experiment_metrics(teamspace, made.id, phase=PhaseType.COMPLETED)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    key = account_key("benchmark")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, spawned(SERVICE) as url:
        os.environ.update(
            LIGHTNING_CLOUD_URL=url,
            LIGHTNING_API_KEY=key,
            LIGHTNING_USER_ID=user_id(key),
            LIGHTNING_DISABLE_VERSION_CHECK="1",
        )
        archive = archive_of_one(Path(name))
        target = LitloggerTarget(LitloggerConfig.from_environment().model_copy(update=_NO_PACE))
        target.check()  # the other way has its connection, too
        teamspace = target._records.make_teamspace("plain").id
        plain = {"MetricsApi": lambda number: documented(teamspace, f"round {number}")}
        in_turns(target, archive, plain, rounds)


_NO_PACE = {"requests_per_second": 0}

if __name__ == "__main__":
    main()
