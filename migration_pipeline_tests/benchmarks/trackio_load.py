"""How fast a run goes into Trackio, with which memory, and how long nothing to do takes.

    uv run python -m migration_pipeline_tests.benchmarks.trackio_load [speed] [memory] [nothing]

As `goodseed_load`; the plain way is `trackio.log` of all that is logged at a step, then
`trackio.finish`, into the same folder, without its server. Its finished rows, put into its tables
by SQLite alone, are the floor below which nothing can be.
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
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


def documented(folder: Path, name: str, data: local_loads.Wide) -> float:
    """Seconds of the plain way."""
    import trackio

    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        trackio.init(
            project="plain",
            name=name,
            config=data.parameters,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        for step, row in enumerate(data.rows):
            trackio.log(row, step=step)
        trackio.finish()
        return time.perf_counter() - started


def floor(store: Path) -> float:
    """One run's finished rows, by SQLite alone, into a new database of Trackio's own making."""
    from trackio.sqlite_storage import SQLiteStorage

    columns = "run_id, timestamp, run_name, step, metrics, log_id"
    (source,) = (store / "home").glob("*.db")
    with contextlib.closing(sqlite3.connect(source)) as database:
        (run,) = database.execute("SELECT max(run_id) FROM metrics").fetchone()
        rows = database.execute(f"SELECT {columns} FROM metrics WHERE run_id = ?", [run]).fetchall()
    project = f"floor-{time.monotonic_ns()}"
    into = SQLiteStorage.init_db(project)
    started = time.perf_counter()
    with contextlib.closing(sqlite3.connect(into)) as database:
        database.execute("PRAGMA synchronous = NORMAL")
        database.executemany(f"INSERT INTO metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    return time.perf_counter() - started


def main() -> None:
    wanted = set(sys.argv[1:]) or {"speed", "memory", "nothing"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRACKIO_DIR"] = str(folder / "plain")  # read when trackio is imported
        if "speed" in wanted:
            local_loads.speed(folder, target, documented, "trackio.log", floor)
        if "nothing" in wanted:
            local_loads.nothing_to_do(folder, target)
        if "memory" in wanted:
            local_loads.memory(folder, "migration_pipeline_tests.benchmarks.trackio_load:target")


if __name__ == "__main__":
    main()
