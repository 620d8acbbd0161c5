"""Loading into Comet against `Experiment.log_metric`, at its stand-in in a process of its own; and
how near a load comes to a limit of 12,000 values a minute.

    python -m migration_pipeline_tests.benchmarks.comet_load compare [--rounds 3]
    python -m migration_pipeline_tests.benchmarks.comet_load rate [--points 48000]

`compare`: both send 20 series of 5,000 points and 200 parameters, in turns, to a stand-in that
limits nothing. The documented way is fed from memory, with everything switched off that it says of
code, git and machine, and is done when `end()` returns. Ours reads the archive and writes all that
it keeps beside; reading back is not part of it.

`rate`: the stand-in counts values in sliding windows of a minute and refuses what is too much.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.comet.client import CometTarget
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline_tests.benchmarks.mlflow_load import (
    PARAMETERS,
    POINTS,
    SERIES,
    points_of,
    write_run,
)
from migration_pipeline_tests.benchmarks.service_loads import (
    archive_of_one,
    in_turns,
    ours,
    verify,
)
from migration_pipeline_tests.servers.comet import PUBLISHED, RatedCometServer
from migration_pipeline_tests.servers.standin import account_key, serving, spawned

SERVER = "migration_pipeline_tests.servers.comet:CometServer"
KEY = account_key("benchmark")


def documented(number: int) -> float:
    """Seconds of `Experiment.log_metric` for the same data, from memory."""
    from comet_ml import Experiment

    data = [points_of(series, 0, POINTS) for series in range(SERIES)]
    started = time.perf_counter()
    experiment = Experiment(
        api_key=KEY,
        workspace="team",
        project_name=f"plain-{number}",
        log_code=False,
        log_graph=False,
        log_git_metadata=False,
        log_git_patch=False,
        log_env_details=False,
        auto_output_logging=False,
        display_summary_level=0,
    )
    experiment.log_parameters({f"p/{i}": i / 7 for i in range(PARAMETERS)})
    for series, (steps, _, values) in enumerate(data):
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            experiment.log_metric(f"metrics/{series}", value, step=step)
    experiment.end()
    taken = time.perf_counter() - started
    from comet_ml import API

    found = API(api_key=KEY, cache=False).get_experiment_by_key(experiment.get_key())
    assert found is not None
    for series in range(SERIES):
        assert len(found.get_metrics(f"metrics/{series}")) == POINTS
    return taken


def compare(folder: Path, rounds: int) -> None:
    archive = archive_of_one(folder)
    with spawned(SERVER) as url:
        os.environ["COMET_URL_OVERRIDE"] = f"{url}/clientlib/"
        target = CometTarget(CometConfig(api_key=KEY, workspace="team", url=url))
        target.check()  # imports the SDK
        logging.getLogger("comet_ml").setLevel(logging.CRITICAL)
        in_turns(target, archive, {"log_metric": documented}, rounds)


def rate(folder: Path, points: int) -> None:
    archive = Archive(folder / "data", folder / "files")
    most = PUBLISHED["metric"]
    write_run(archive, "one", points // 12_000, 12_000, PARAMETERS)
    with serving(RatedCometServer()) as server:
        config = CometConfig(api_key=KEY, workspace="team", url=server.url, values_per_minute=most)
        target = CometTarget(config)
        target.check()
        taken = ours(target, archive, "rate")
        rates = server.account(KEY).rates
        assert rates is not None
        sent = [(when, n) for when, kind, n in rates.taken if kind == "metric"]
        total, minutes = sum(n for _, n in sent), (sent[-1][0] - sent[0][0]) / 60
        # The first window is free: what follows is the rate.
        reached = (total - most) / minutes
        print(
            f"{total:,} values in {taken:.1f} s; most in any minute {rates.busiest('metric'):,} of "
            f"{most:,}; {rates.refused} refused; {reached:,.0f} values a minute after the first "
            f"{most:,} ({reached / most:.1%})"
        )
        print(f"read back and compared in {verify(target, archive, 'rate'):.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("compare", "rate"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=48_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        if given.what == "compare":
            compare(Path(name), given.rounds)
        else:
            rate(Path(name), given.points)


if __name__ == "__main__":
    main()
