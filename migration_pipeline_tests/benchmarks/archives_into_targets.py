"""Loads archives that lie on this machine into every target and says what each job said.

    uv run python -m migration_pipeline_tests.benchmarks.archives_into_targets ARCHIVE...
        [--targets mlflow,wandb] [--damaged]

An archive is a folder with `data` and, as a rule, `files` (`model_data`, `model_files` too where
neptune-exporter wrote models). Trackers on this machine get stores of their own; services get their
stand-ins, each in a process. The job is `migrate`, as cron starts it, so a run counts only if it
was read back. `--damaged` loads damaged runs as far as they can be read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from migration_pipeline.targets.registry import target_names
from migration_pipeline_tests.servers.litlogger import user_id
from migration_pipeline_tests.servers.neptune import add_workspace, token_of
from migration_pipeline_tests.servers.standin import account_key, spawned

_SERVERS = "migration_pipeline_tests.servers"
_LAST_LINES = 12


@contextlib.contextmanager
def settings(targets: list[str], folder: Path) -> Iterator[dict[str, str]]:
    """Environment variables of all targets; their stand-ins run until the block ends."""
    key = account_key("archives")
    found = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "ZENML_STORE_URL": f"sqlite:///{folder}/zenml/zenml.db",
        "ZENML_CONFIG_PATH": str(folder / "zenml"),
        "GOODSEED_HOME": str(folder / "goodseed"),
        "TRACKIO_DIR": str(folder / "trackio"),
        "MIGRATION_DUMMY_PATH": str(folder / "dummy"),
    }
    (folder / "zenml").mkdir()
    with contextlib.ExitStack() as on_exit:

        def serve(reference: str) -> str:
            return on_exit.enter_context(spawned(f"{_SERVERS}.{reference}"))

        if "wandb" in targets:
            found |= {"WANDB_API_KEY": key, "WANDB_BASE_URL": serve("wandb:Wandb")}
        if "comet" in targets:
            url = serve("comet:CometServer")
            found |= {"COMET_API_KEY": key, "COMET_URL_OVERRIDE": f"{url}/clientlib/"}
        if "litlogger" in targets:
            url = serve("litlogger:LitloggerService")
            found |= {"LIGHTNING_API_KEY": key, "LIGHTNING_CLOUD_URL": url}
            found |= {"LITLOGGER_REQUESTS_PER_SECOND": "0", "LIGHTNING_USER_ID": user_id(key)}
        if "pluto" in targets:
            url = serve("pluto:PlutoStandIn")
            found |= {"PLUTO_API_KEY": key, "PLUTO_URL_APP": url}
            found |= {"PLUTO_URL_API": url, "PLUTO_URL_INGEST": url}
        if "minfx" in targets:
            found |= {"MINFX_API_TOKEN": token_of(serve("minfx:Minfx"))}
            found |= {"MINFX_PROJECT": f"{key}/runs"}
        if "neptune" in targets:
            url = serve("neptune:Neptune")
            add_workspace(url, "team")
            found |= {"MIGRATION_NEPTUNE_API_TOKEN": token_of(url)}
        yield found


def migrate(archive: Path, targets: list[str], environment: dict[str, str], home: Path) -> int:
    """Runs the job for one archive; prints its last lines, and returns its exit code."""
    given = {
        "DAGSTER_HOME": str(home),
        "MIGRATION_SOURCE": "archive",
        "MIGRATION_TARGETS": ",".join(targets),
        "MIGRATION_DATA_PATH": str(archive / "data"),
        "MIGRATION_FILES_PATH": str(archive / "files"),
        "MIGRATION_REPORT_PATH": str(home / "report"),
    }
    for name in ("data", "files"):
        if (archive / f"model_{name}").is_dir():
            given[f"MIGRATION_MODEL_{name.upper()}_PATH"] = str(archive / f"model_{name}")
    command = [sys.executable, "-m", "dagster", "job", "execute", "-j", "migrate"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-m", "migration_pipeline.definitions"],
        env={**os.environ, **environment, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"== {archive.name}: exit {done.returncode}, {time.monotonic() - started:.0f} s")
    print("\n".join(done.stdout.strip().splitlines()[-_LAST_LINES:]), flush=True)
    return done.returncode


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--targets", default=",".join(target_names()))
    parser.add_argument("--damaged", action="store_true")
    arguments = parser.parse_args()
    targets = arguments.targets.split(",")
    with tempfile.TemporaryDirectory() as name, settings(targets, Path(name)) as environment:
        if arguments.damaged:
            environment["MIGRATION_LOAD_DAMAGED"] = "1"
        home = Path(name) / "home"
        home.mkdir()
        codes = [migrate(a.resolve(), targets, environment, home) for a in arguments.archives]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
