"""Writes with the real clients what they leave on disk.

    python -m migration_pipeline_tests.sources.neptune_local.writing MODE

The client's folder, `.neptune`, is made in the working directory. The modes `async2` and `async3`
write until they are killed, and say how far they are.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

PROJECT2, PROJECT3 = "acme/tabular", "acme/vision"
NOON = 1_700_000_000
START = datetime(2024, 5, 1, 12, tzinfo=UTC)
QUIET = {
    "capture_hardware_metrics": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_traceback": False,
    "source_files": [],
    "git_ref": False,
}
LONG_TEXT = "ä" * 15_000
TEXT = "line\nline\t'\"`\\ 漢字 🚀 \u2028 end"
PIXELS = np.random.default_rng(3).integers(0, 255, (8, 8, 3), dtype=np.uint8)
METRICS = [(0, 0.0), (0.5, float("nan")), (1, float("inf")), (1.25, -0.0), (123456789.123456, 2.5)]
POINTS = 1_500
BURST = 100
"""Points between two sentences of a writer that is to be killed."""


def offline2() -> None:
    """One of every operation that the 2.x client knows."""
    import neptune
    from neptune.types import File

    folder = Path("d")
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"A")
    (folder / "sub" / "b.bin").write_bytes(b"BB")
    (folder / "gone.txt").write_bytes(b"gone")
    run = neptune.init_run(
        mode="offline", name="the name", description="what", tags=["a", "b"], **QUIET
    )
    run["p/int"] = 2**31 - 1
    run["p/float"] = 0.1 + 0.2
    run["p/zero"] = -0.0
    run["p/text"] = TEXT
    run["p/long"] = LONG_TEXT
    run["p/yes"] = True
    run["p/when"] = START + timedelta(microseconds=123_456)
    run["p/twice"] = 1
    run["p/twice"] = 2
    run['p/a: "b", {c'] = "odd"
    steps = [i / 8 for i in range(POINTS)]
    run["m/loss"].extend(
        [1 / (i + 1) for i in range(POINTS)], steps=steps, timestamps=[NOON + s for s in steps]
    )
    for i in range(100):
        run["m/one"].append(i * 1e-5, step=i, timestamp=NOON + i * 0.001)
        run['m/odd: "x", y'].append(i, step=i, timestamp=NOON + i)
        run["m/auto"].append(float(i), timestamp=NOON + i)
    run["m/tiny"].append(5e-324, step=0.000001, timestamp=NOON)
    run["m/tiny"].append(-1.7976931348623157e308, step=4e9, timestamp=NOON + 1)
    run["m/cleared"].extend([1.0, 2.0], timestamps=[NOON, NOON])
    run["log"].append(TEXT, step=1, timestamp=NOON)
    run["log"].append("later", timestamp=NOON + 1)
    run["img"].append(
        File.as_image(PIXELS / 255), step=2, timestamp=NOON, name="nm", description="de"
    )
    run["f/path"].upload("d/a.txt")
    run["f/gone"].upload("d/gone.txt")
    run["f/memory"].upload(File.from_content("<p>ü</p>", extension="html"))
    run["f/set"].upload_files("d/**/*.[tb]*")
    run["f/set"].delete_files("d/gone.txt")
    run["art"].track_files("d/sub")
    run["sys/tags"].remove("a")
    run["sys/group_tags"].add(["g"])
    run["x/deleted"] = 1
    del run["x/deleted"]
    run["x/series"].append(1.0)
    del run["x/series"]
    run["x/series"] = "now a text"
    run.stop()
    # The methods of the interface do not clear what was begun in this script.
    directory = next(Path(".neptune/offline").iterdir())
    operations = [
        {"type": "ClearFloatLog", "path": ["m", "cleared"]},
        {
            "type": "LogFloats",
            "path": ["m", "cleared"],
            "values": [{"value": 3.0, "step": None, "ts": NOON}],
        },
        {"type": "ConfigFloatSeries", "path": ["m", "one"], "min": 0, "max": 1, "unit": "s"},
    ]
    put(directory, operations)
    (folder / "gone.txt").unlink()


def put(directory: Path, operations: list[dict[str, Any]]) -> None:
    """Adds operations with the client's own queue."""
    import threading

    from neptune.core.components.queue.disk_queue import DiskQueue
    from neptune.internal.operation import Operation

    queue: Any = DiskQueue(
        directory, lambda one: one.to_dict(), Operation.from_dict, threading.RLock()
    )
    for operation in operations:
        queue.put(Operation.from_dict(operation))
    queue.flush()
    queue.close()


def async2() -> None:
    import neptune

    run = neptune.init_run(project=PROJECT2, mode="async", flush_period=0.2, **QUIET)
    print(run["sys/id"].fetch(), flush=True)
    run["p/int"] = 7
    step = 0
    while True:
        for _ in range(BURST):
            run["m/loss"].append(step * 0.5, step=step, timestamp=NOON + step)
            run["log"].append(f"line {step}", step=step, timestamp=NOON + step)
            step += 1
        print(step, flush=True)
        time.sleep(0.02)


def offline3() -> None:
    """One of everything that neptune-scale knows, and a fork."""
    from neptune_scale import Run
    from neptune_scale.types import File, Histogram

    quiet: dict[str, Any] = {
        "project": PROJECT3,
        "mode": "offline",
        "enable_console_log_capture": False,
        "source_tracking_config": None,
    }
    run = Run(run_id="parent", experiment_name="exp", creation_time=START, **quiet)
    run.log_configs(
        {
            "int": 2**53 + 1,
            "negative": -(2**63),
            "float": 0.1,
            "nan": float("nan"),
            "text": TEXT,
            "flag": False,
            "when": START + timedelta(milliseconds=123),
            "set": ["b", "a"],
        }
    )
    for index, (step, value) in enumerate(METRICS):
        at = START + timedelta(seconds=index)
        run.log_metrics({"loss": value, "second": index}, step=step, timestamp=at)
        run.log_string_series({"log": f"line {index} π\n"}, step=step, timestamp=at)
    run.log_metrics({"loss": 9.0}, step=2e8, preview=True, preview_completion=0.25)
    run.log_histograms({"counts": Histogram([0, 1, 2.5], counts=[3, 2**60 + 1])}, step=1)
    run.log_histograms({"densities": Histogram([0, 1, 2.5], densities=[0.5, 0.25])}, step=1)
    run.add_tags(["x", "y", "z"])
    run.remove_tags(["y"])
    run.add_tags(["group"], group_tags=True)
    Path("notes.md").write_text("# notes")
    Path("gone.md").write_text("# gone")
    run.assign_files(
        {
            "local": "notes.md",
            "gone": "gone.md",
            "memory": File(b"bytes"),
            "placed": File(b"placed", destination="my/place.txt"),
        }
    )
    run.log_files({"series": File(b"point", mime_type="image/png")}, step=3)
    run.close()
    Path("gone.md").unlink()
    fork = Run(run_id="fork", fork_run_id="parent", fork_step=1, **quiet)
    fork.log_metrics({"loss": -2.0}, step=2, timestamp=START)
    fork.close()


def async3() -> None:
    from neptune_scale import Run

    run = Run(
        project=PROJECT3,
        run_id="killed",
        experiment_name="exp",
        enable_console_log_capture=False,
        source_tracking_config=None,
    )
    run.log_configs({"int": 7})
    step = 0
    while True:
        for _ in range(BURST):
            at = START + timedelta(seconds=step)
            run.log_metrics({"loss": step * 0.5, "other": -step}, step=step, timestamp=at)
            step += 1
        print(step, flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    {"offline2": offline2, "async2": async2, "offline3": offline3, "async3": async3}[sys.argv[1]]()
