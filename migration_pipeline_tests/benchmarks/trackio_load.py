"""How fast a run goes into Trackio, with which memory, and how long nothing to do takes.

    uv run python -m migration_pipeline_tests.benchmarks.trackio_load [speed] [memory] [nothing]

As `goodseed_load`; the plain way is `trackio.log` of all 20 metrics step by step, then
`trackio.finish`, into the same folder, without its server.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path

from migration_pipeline.targets.trackio.client import TrackioTarget
from migration_pipeline.targets.trackio.config import TrackioConfig
from migration_pipeline_tests.benchmarks import local_loads


def target(folder: Path) -> TrackioTarget:
    folder.mkdir(parents=True, exist_ok=True)
    return TrackioTarget(TrackioConfig(directory=str(folder / "home")))


def documented(folder: Path, number: int) -> float:
    """Seconds of the plain way."""
    import trackio

    data = local_loads.Wide()
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        trackio.init(
            project="plain",
            name=f"wide-{number}",
            config=data.parameters,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        for step, row in enumerate(data.rows):
            trackio.log(row, step=step)
        trackio.finish()
        return time.perf_counter() - started


def main() -> None:
    wanted = set(sys.argv[1:]) or {"speed", "memory", "nothing"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRACKIO_DIR"] = str(folder / "plain")  # read when trackio is imported
        if "speed" in wanted:
            local_loads.speed(folder, target, documented, "trackio.log")
        if "nothing" in wanted:
            local_loads.nothing_to_do(folder, target)
        if "memory" in wanted:
            local_loads.memory(folder, "migration_pipeline_tests.benchmarks.trackio_load:target")


if __name__ == "__main__":
    main()
