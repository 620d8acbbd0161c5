"""Loading into Pluto against `op._log_metrics_batch`, at its stand-in in a process of its own.

    python -m migration_pipeline_tests.benchmarks.pluto_load [--rounds 5] [--untuned]

Both send 20 series of 5,000 points and 200 parameters, in turns. `_log_metrics_batch` is what
Pluto's own loader of foreign runs (`pluto.migrate`) sends points by: fed from memory here, all
series of a step in one group, 500 groups a call as there, with its queue tuned (5,000 records a
request, no rests); `--untuned` leaves the queue as it is. Ours reads the archive, writes all that
it keeps beside, and waits until the last point can be read. Reading back is not part of it. Beside
the seconds stand those of the processor, of this process and its children without the stand-in:
they depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_pipeline.archive.archive import Archive
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs
from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    PROJECT,
    SERIES,
    START,
    points_of,
    write_run,
)
from migration_pipeline_tests.servers.standin import account_key, spawned

SERVICE = "migration_pipeline_tests.servers.pluto:PlutoStandIn"
KEY = account_key("benchmark")
_GROUPS = 500
"""pluto/migrate/loader.py, flush_every"""
_TUNED = {
    "sync_process_batch_size": 5000,
    "sync_process_flush_interval": 0.05,
    "sync_process_shutdown_timeout": 600.0,
}


def documented(folder: str, name: str, tuned: bool) -> float:
    """Seconds of `op._log_metrics_batch` for the same data, from memory, from init to finish."""
    import pluto

    data = [points_of(number, 0, POINTS) for number in range(SERIES)]
    values = [of_series.tolist() for _, _, of_series in data]
    groups = [
        ({f"metrics/{n}": values[n][i] for n in range(SERIES)}, i, (START + i * 10) / 1000)
        for i in range(POINTS)
    ]
    settings: dict[str, Any] = {
        "compat": {"createdAt": START, "updatedAt": START},
        "disable_console": True,
        "disable_system_metrics": True,
        "sync_process_enabled": True,
        **(_TUNED if tuned else {}),
    }
    started = time.perf_counter()
    config = {f"p/{i}": i / 7 for i in range(PARAMETERS)}
    op = pluto.init(dir=folder, project="plain", name=name, config=config, settings=settings)
    for first in range(0, POINTS, _GROUPS):
        op._log_metrics_batch(groups[first : first + _GROUPS])
    op.finish(code=0)
    return time.perf_counter() - started


def ours(target: PlutoTarget, archive: Archive, prefix: str) -> float:
    """Seconds of a load."""
    started = time.perf_counter()
    keys = list(archive.runs(PROJECT))
    result = load_runs(target, archive, ProjectMapping(name_prefix=prefix), keys, verify="off")
    assert not result.failures, result.failures
    return time.perf_counter() - started


def arrived(url: str, project: str, run: int) -> int:
    """Points that can be read."""
    asked = f"{url}/api/runs/metrics?projectName={project}&runId={run}&limit=10000"
    request = urllib.request.Request(asked, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer)["metrics"])


def processor() -> float:
    """Seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--untuned", action="store_true")
    arguments = parser.parse_args()
    points, rounds = SERIES * POINTS, arguments.rounds
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, spawned(SERVICE) as url:
        os.environ.update(
            PLUTO_API_KEY=KEY,
            PLUTO_DISABLE_TELEMETRY="1",
            HOME=name,  # `pluto.init` writes the key to a keyring there
            XDG_DATA_HOME=name,
            **{f"PLUTO_URL_{service}": url for service in ("APP", "API", "INGEST", "PY")},
        )
        from pluto import auth

        # Else `import wandb` logs to Pluto from then on, in every Python of this user.
        auth.LOGIN_MARKER_PATH = str(Path(name) / "login_ok")
        archive = Archive(Path(name) / "data", Path(name) / "files")
        write_run(archive, "one", SERIES, POINTS, PARAMETERS)
        target = PlutoTarget(
            PlutoConfig(api_key=SecretStr(KEY), url_app=url, url_api=url, url_ingest=url)
        )
        target.check()
        plain, load, used = [], [], [0.0, 0.0]
        for number in range(rounds):
            before = processor()
            plain.append(documented(name, f"round {number}", not arguments.untuned))
            between = processor()
            load.append(ours(target, archive, f"round {number}"))
            used[0] += between - before
            used[1] += processor() - between
            print(f"_log_metrics_batch {plain[-1]:.2f} s, ours {load[-1]:.2f} s", flush=True)
        assert arrived(url, "plain", 2 * rounds - 1) == points
        started = time.perf_counter()
        mapping = ProjectMapping(name_prefix=f"round {rounds - 1}")
        verified = load_runs(target, archive, mapping, list(archive.runs(PROJECT)), verify="all")
        assert verified.verdicts
        assert not verified.different, verified
        back = time.perf_counter() - started
    theirs, own = statistics.median(plain), statistics.median(load)
    print(
        f"medians of {rounds}: _log_metrics_batch {theirs:.2f} s ({points / theirs:,.0f} points/s),"
        f" ours {own:.2f} s ({points / own:,.0f} points/s): {theirs / own:.1f} times; read back and"
        f" compared in {back:.2f} s; of the processor {used[0] / rounds:.2f} s and"
        f" {used[1] / rounds:.2f} s, {used[0] / used[1]:.1f} times; load average"
        f" {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
