"""Two runs written by the real W&B SDK, as a program of its own: `python -m …writing`.

`WANDB_MODE` says whether to the server that `WANDB_BASE_URL` names, or into `WANDB_DIR`. With the
argument `killed` there is one run, which kills itself in the middle.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

STEPS = 5
CONFIG: dict[str, Any] = {
    "lr": 0.1,
    "big": 2**53 + 1,
    "digits": str(2**70),
    "nest": {"a": 1, "b": {"c": "x"}},
    "nest/a": 2,
    "list": [1, 2],
    "none": None,
    "on": True,
}
SWEPT = {"method": "grid", "name": "rates", "parameters": {"lr": {"values": [0.1, 0.2]}}}


def row(i: int) -> dict[str, Any]:
    import wandb

    return {
        "loss": 1 / (i + 1),
        "acc": i,
        "big": 2**53 + 1 + i,
        "nan": math.nan,
        "inf": -math.inf,
        "text": f"line {i} ü",
        "flag": i % 2 == 0,
        "nested": {"x": i, "y": {"z": i * 0.5}},
        "list": [1, 2, i],
        "h": wandb.Histogram(np_histogram=([1, i], [0.0, 0.5, 2.0])),
        "mixed": i if i < 3 else f"no {i}",
    }


def main() -> None:
    import numpy as np
    import wandb

    folder = Path(os.environ["WANDB_DIR"])
    sampling = {"x_stats_sampling_interval": 0.1, "console": "wrap"}
    online = os.environ.get("WANDB_MODE") != "offline"
    sweep = wandb.sweep(SWEPT, project="my_vision", entity="team") if online else "sweep1"
    run = wandb.init(
        project="my_vision",
        entity="team",
        id="rich",
        name="A rich run",
        tags=["one", "two, three"],
        group="the group",
        job_type="train",
        notes="some notes",
        config=CONFIG,
        settings=wandb.Settings(sweep_id=sweep, **sampling),
    )
    print("hello console", 5)
    print("a second line")
    for i in range(STEPS):
        run.log(row(i))
    if "killed" in sys.argv:
        (log,) = folder.rglob("run-*.wandb")
        for i in range(STEPS, 1_000_000):  # its own process writes the log, some time later
            run.log({"loss": 1 / (i + 1)})
            if i % 100 == 0 and log.stat().st_size > 100_000:
                break
        os.kill(os.getpid(), signal.SIGKILL)
    pixels = [np.full((4, 4, 3), i, dtype=np.uint8) for i in range(2)]
    run.log(
        {
            "img": wandb.Image(pixels[0], caption="black"),
            "imgs": [wandb.Image(pixel) for pixel in pixels],
            "tab": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]]),
            "page": wandb.Html("<b>bold</b>", inject=False),
        }
    )
    run.log({"loss": 5.0}, step=1_000_000)
    run.summary["best"] = {"x": 1, "nan": math.nan}
    run.config.update({"late": 3})
    for name, content in {"f.txt": "hi", "sub/model.ckpt": "weights"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
        run.save(folder / name, base_path=folder, policy="now")
    artifact = wandb.Artifact("model", "model", metadata={"k": 1}, description="the best one")
    artifact.add_file(str(folder / "f.txt"), name="dir/f.txt")
    artifact.add_reference("https://example.com/weights", name="elsewhere", checksum=False)
    run.log_artifact(artifact, aliases=["best"])
    run.finish()
    poor = wandb.init(project="my_vision", entity="team", id="poor", settings=sampling)
    poor.finish(exit_code=1)


if __name__ == "__main__":
    main()
