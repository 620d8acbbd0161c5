"""Loading into W&B against `run.log`, at its stand-in in a process of its own.

    python -m migration_pipeline_tests.benchmarks.wandb_load [--rounds 5]

Both send 20 series of 5,000 points and 200 parameters, in turns: once with all series at every
step, once with one series at each. The documented way is fed from memory and logs a row a step,
with the time of its points, from `wandb.init` to `finish`, after the SDK's process was started;
figures of the machine and its console are switched off. Ours reads the archive and writes all that
it keeps beside. Reading back is not part of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import Archive
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs
from migration_pipeline.targets.wandb.client import WandbTarget
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline_tests.benchmarks.local_loads import PROJECT, START, Wide, wide_archive
from migration_pipeline_tests.servers.standin import account_key, spawned

SERVICE = "migration_pipeline_tests.servers.wandb:Wandb"
_QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def documented(name: str, data: Wide) -> float:
    """Seconds of `run.log`, a row a step, from memory; not to Pluto as well, should this machine
    have credentials for that."""
    sys.meta_path[:] = [f for f in sys.meta_path if "pluto" not in type(f).__module__]
    import wandb

    settings: Any = wandb.Settings(x_disable_stats=True, console="off")
    started = time.perf_counter()
    run = wandb.init(project="documented", id=name, config=data.parameters, settings=settings)
    for step, row in enumerate(data.rows):
        run.log({**row, "_timestamp": START / 1000 + step}, step=step)
    run.finish()
    return time.perf_counter() - started


def ours(target: WandbTarget, archive: Archive, prefix: str) -> float:
    """Seconds of a load."""
    keys = list(archive.runs(PROJECT))
    mapping = ProjectMapping(name_prefix=prefix)
    started = time.perf_counter()
    result = load_runs(target, archive, mapping, keys, verify="off")
    taken = time.perf_counter() - started
    assert not result.failures, result.failures
    return taken


def compared(target: WandbTarget, apart: bool, rounds: int) -> None:
    data, what = Wide(apart), "series apart" if apart else "all series at a step"
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        archive = wide_archive(Path(name), 1, data)
        theirs, own = [], []
        for number in range(rounds):
            own.append(ours(target, archive, f"{what[0]}{number}"))
            theirs.append(documented(f"{what[0]}{number}", data))
        plain, fast = statistics.median(theirs), statistics.median(own)
        print(
            f"{what}: run.log {plain:.2f} s, ours {fast:.2f} s, ratio {plain / fast:.1f}"
            f"  (run.log {_all(theirs)}; ours {_all(own)})"
        )


def _all(seconds: list[float]) -> str:
    return " ".join(f"{one:.2f}" for one in seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with spawned(SERVICE) as address, tempfile.TemporaryDirectory(prefix="wandb-") as folder:
        key = account_key("benchmark")
        os.environ |= _QUIET | {
            "WANDB_BASE_URL": address,
            "WANDB_API_KEY": key,
            "WANDB_DIR": folder,
        }
        target = WandbTarget(WandbConfig.from_environment())
        target.check()
        documented("warm", Wide())
        for apart in (False, True):
            compared(target, apart, rounds)


if __name__ == "__main__":
    main()
