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
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline.targets.loading import load_runs
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    PROJECT,
    SERIES,
    points_of,
    write_run,
)
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


def ours(target: LitloggerTarget, archive: Archive, prefix: str) -> float:
    """Seconds of a load."""
    keys = list(archive.runs(PROJECT))
    mapping = ProjectMapping(name_prefix=prefix)
    started = time.perf_counter()
    result = load_runs(target, archive, mapping, keys, verify="off")
    taken = time.perf_counter() - started
    assert not result.failures, result.failures
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds, points = parser.parse_args().rounds, SERIES * POINTS
    key = account_key("benchmark")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, spawned(SERVICE) as url:
        os.environ.update(
            LIGHTNING_CLOUD_URL=url,
            LIGHTNING_API_KEY=key,
            LIGHTNING_USER_ID=user_id(key),
            LIGHTNING_DISABLE_VERSION_CHECK="1",
        )
        archive = Archive(Path(name) / "data", Path(name) / "files")
        write_run(archive, "one", SERIES, POINTS, PARAMETERS)
        target = LitloggerTarget(LitloggerConfig.from_environment().model_copy(update=_NO_PACE))
        target.check()  # the other way has its connection, too
        teamspace = target._records.make_teamspace("plain").id
        plain, load = [], []
        for number in range(rounds):
            plain.append(documented(teamspace, f"round {number}"))
            load.append(ours(target, archive, f"round{number}"))
            print(f"MetricsApi {plain[-1]:.2f} s, ours {load[-1]:.2f} s", flush=True)
        started = time.perf_counter()
        mapping = ProjectMapping(name_prefix=f"round{rounds - 1}")
        verified = load_runs(target, archive, mapping, list(archive.runs(PROJECT)))
        assert all(verdict.equal_to_archive for verdict in verified.verdicts), verified
        back = time.perf_counter() - started
    theirs, own = statistics.median(plain), statistics.median(load)
    print(
        f"medians of {rounds}: MetricsApi {theirs:.2f} s ({points / theirs:,.0f} points/s), ours "
        f"{own:.2f} s ({points / own:,.0f} points/s): {theirs / own:.1f} times; read back and "
        f"compared in {back:.2f} s; load average {os.getloadavg()[0]:.1f}"
    )


_NO_PACE = {"requests_per_second": 0}

if __name__ == "__main__":
    main()
