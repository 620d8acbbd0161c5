"""The jobs as people start them: real processes, a real server, exit codes, what is printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest

import migration_pipeline
from migration_pipeline.archive.archive import Archive
from migration_pipeline.defs.partitions import run_partition
from migration_pipeline.neptune_server import SpawnedServer, spawn_server
from migration_pipeline_tests.distributed.machines import QUIET

ROOT = Path(migration_pipeline.__file__).parents[1]
CANARY = "canary-5f1c0a7e-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[SpawnedServer]:
    with spawn_server(["--sample"]) as spawned:
        yield spawned


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A working directory that is DAGSTER_HOME too, as the repository's own folder is."""
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return tmp_path


def start(home: Path, job: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """`dagster job execute` in an environment of just these variables."""
    command = [sys.executable, "-m", "dagster", "job", "execute", "-j", job]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [*command, "-m", "migration_pipeline.definitions"],
        cwd=home,
        env={**kept, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_a_killed_migration_converges_and_no_secret_is_anywhere(
    home: Path, server: SpawnedServer
) -> None:
    environment = {"NEPTUNE_API_TOKEN": server.token, "MLFLOW_TRACKING_PASSWORD": CANARY}
    process = start(home, "migrate", environment)
    while not list(home.glob("exports/data/*/*_part_0.parquet")):
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    code, out, err = finish(start(home, "migrate", environment))
    assert code == 0, err
    assert out.strip().splitlines()[-1].startswith("migrate: 2 of 2 projects done; ")
    assert "runs exported, 0 loaded" in out

    archive = Archive(home / "exports" / "data", home / "exports" / "files")
    on_disk = {
        run_partition(key) for project in archive.projects() for key in archive.runs(project)
    }
    assert len(on_disk) >= 24
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(["neptune", "run"])) == on_disk
        assert all(run.is_finished for run in instance.get_runs())
        pool = instance.event_log_storage.get_concurrency_info("neptune_source")
        assert not pool.claimed_slots

    assert_not_written(server.token, home, out, err)
    assert_not_written(CANARY, home, out, err)
    assert " - DEBUG - " not in err


def assert_not_written(secret: str, home: Path, *texts: str) -> None:
    """Not in run logs, event databases, compute logs, the archive, nor on the terminal."""
    for text in texts:
        assert secret not in text
    for path in home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_each_step_has_a_process_of_its_own_where_that_is_chosen(
    home: Path, server: SpawnedServer
) -> None:
    settings = {
        "NEPTUNE_API_TOKEN": server.token,
        "NEPTUNE_PROJECT": "acme/digits",
        "MIGRATION_EXECUTOR": "multiprocess",
        "MIGRATION_TARGETS": "dummy",
    }
    with (home / "dagster.yaml").open("a") as yaml:
        yaml.write(QUIET)
    code, out, err = finish(start(home, "migrate", settings))
    assert code == 0, err
    assert out.strip().splitlines()[-1].startswith("migrate: 1 of 1 projects done; ")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="migrate_project"))
        started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
        ended = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    processes = {e.get_dagster_event().engine_event_data.metadata["pid"].value for e in started}
    assert len(processes) == len(started) == len(ended) >= 6


def test_what_cannot_begin_exits_non_zero_and_says_why_in_its_last_line(home: Path) -> None:
    code, out, err = finish(start(home, "migrate", {}))
    assert code == 1
    assert "failed before anything was done: NEPTUNE_API_TOKEN is not set" in out.splitlines()[-1]
    assert "Traceback" not in err + out
    assert "Stack Trace" not in err + out
    assert not (home / "exports").exists()


def test_the_demo_shows_what_a_stranger_understands(home: Path) -> None:
    code, out, err = finish(start(home, "demo", {}))
    assert code == 0, err
    assert " - DEBUG - " not in err
    table = out.strip().splitlines()
    assert table[0].startswith(
        "46 runs of 3 projects (of other kinds, models: 1, model versions: 2, project metadata: 1) "
        "went from Neptune to mlflow"
    )
    assert table[2].split() == ["runs", "attributes", "points", "files", "bytes"]
    for stage in ("exported to Parquet", "loaded into mlflow", "read back and verified"):
        assert sum(line.strip().startswith(stage) for line in table) == 3
    figures = [line.split()[-5:] for line in table if line.startswith("  ") and "ed " in line]
    for project in range(3):
        exported, loaded, verified = figures[3 * project : 3 * project + 3]
        assert exported == loaded == verified
    assert "  acme/tabular: in the notes of " in out
    assert "What mlflow cannot hold as it is, and how it was kept:" in out
    assert "DAGSTER_HOME=$PWD uv run dagster dev" in out
    assert "mlflow ui --backend-store-uri sqlite:///demo/mlflow.db" in out

    code, out, err = finish(start(home, "demo", {}))
    assert code == 0, err
    assert out.startswith("Nothing was to be done: all ")
