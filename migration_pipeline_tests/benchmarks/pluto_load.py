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
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    SERIES,
    START,
    points_of,
)
from migration_pipeline_tests.benchmarks.service_loads import OURS, archive_of_one, in_turns
from migration_pipeline_tests.servers.standin import account_key, spawned

SERVICE = "migration_pipeline_tests.servers.pluto:PlutoStandIn"
KEY = account_key("benchmark")
_PLAIN = "_log_metrics_batch"
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


def arrived(url: str, project: str, run: int) -> int:
    """Points that can be read."""
    asked = f"{url}/api/runs/metrics?projectName={project}&runId={run}&limit=10000"
    request = urllib.request.Request(asked, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer)["metrics"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--untuned", action="store_true")
    arguments = parser.parse_args()
    rounds = arguments.rounds
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
        archive = archive_of_one(Path(name))
        target = PlutoTarget(
            PlutoConfig(api_key=SecretStr(KEY), url_app=url, url_api=url, url_ingest=url)
        )
        target.check()
        tuned = not arguments.untuned
        plain = {_PLAIN: lambda number: documented(name, f"round {number}", tuned)}
        taken = in_turns(target, archive, plain, rounds)
        assert arrived(url, "plain", 2 * rounds - 1) == SERIES * POINTS
    theirs, own = (sum(one.processor for one in taken[how]) / rounds for how in (_PLAIN, OURS))
    print(f"of the processor {theirs:.2f} s and {own:.2f} s: {theirs / own:.1f} times")


if __name__ == "__main__":
    main()
