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
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from migration_pipeline.targets.wandb.client import WandbTarget
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline_tests.benchmarks.local_loads import START, Wide, wide_archive
from migration_pipeline_tests.benchmarks.service_loads import in_turns
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


def compared(target: WandbTarget, apart: bool, rounds: int) -> None:
    data, prefix = Wide(apart), "apart-" if apart else "together-"
    print("one series at a step:" if apart else "all series at a step:")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        archive = wide_archive(Path(name), 1, data)
        plain = {"run.log": lambda number: documented(f"{prefix}{number}", data)}
        in_turns(target, archive, plain, rounds, prefix)


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
