"""How fast a run goes into GoodSeed, with which memory, and how long nothing to do takes.

    uv run python -m migration_pipeline_tests.benchmarks.goodseed_load [speed] [memory] [nothing]

`speed`: 20 series of 5,000 points and 200 parameters, by `goodseed.Run.log_metrics` step by step,
as its documentation has it, against the load of the same run, reading the archive included; five
pairs, the median counts. `memory`: a run of 50 million points loaded and read back in a process of
its own, whose highest memory counts. `nothing`: 5,000 loaded runs, then what a load that finds
nothing to do takes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from migration_pipeline.targets.goodseed.client import GoodseedTarget
from migration_pipeline.targets.goodseed.config import GoodseedConfig
from migration_pipeline_tests.benchmarks import local_loads


def target(folder: Path) -> GoodseedTarget:
    folder.mkdir(parents=True, exist_ok=True)
    return GoodseedTarget(GoodseedConfig(home=str(folder / "home")))


def documented(folder: Path, name: str, data: local_loads.Wide) -> float:
    """Seconds of the plain way."""
    import goodseed

    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        run = goodseed.Run(
            project="a/b",
            run_id=name,
            goodseed_home=folder / "plain",
            storage="local",
            capture_hardware_metrics=False,
            capture_stdout=False,
            capture_stderr=False,
            capture_traceback=False,
            git_ref=False,
        )
        run.log_configs(data.parameters)
        for step, row in enumerate(data.rows):
            run.log_metrics(row, step=step)
        run.close()
        return time.perf_counter() - started


def main() -> None:
    wanted = set(sys.argv[1:]) or {"speed", "memory", "nothing"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in wanted:
            local_loads.speed(folder, target, documented, "goodseed.Run.log_metrics")
        if "nothing" in wanted:
            local_loads.nothing_to_do(folder, target)
        if "memory" in wanted:
            local_loads.memory(folder, "migration_pipeline_tests.benchmarks.goodseed_load:target")


if __name__ == "__main__":
    main()
