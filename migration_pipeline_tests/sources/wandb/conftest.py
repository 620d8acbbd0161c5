"""What the real SDK wrote, to a stand-in and to folders, and exports of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.sources.source import Selection
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline_tests.servers.standin import account_key, serving
from migration_pipeline_tests.servers.wandb import Wandb
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.sources import wandb_backend
from migration_pipeline_tests.sources.serving import Exported

PROJECT = "team/my-vision"
KEY = account_key("source")
RUNS = Selection(kinds=("run",))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that uses the SDK, in nobody's home."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "PYTHONPATH") if k in os.environ}
    places = dict.fromkeys(("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), str(folder))
    return kept | places | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"} | more


def write(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "migration_pipeline_tests.sources.wandb.writing", *arguments],
        env=environment(folder, **more),
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class Written:
    """A server that took runs, and folders that keep the same ones."""

    server: Wandb
    folder: Path

    def online(self, **settings: Any) -> WandbSource:
        given = {"api_key": KEY, "base_url": self.server.url, "retry_seconds": 20} | settings
        return WandbSource(WandbSourceConfig.model_validate(given))

    def local(self, *folders: Path, **settings: Any) -> WandbSource:
        given = {"local_paths": folders or (self.folder / "offline",)} | settings
        return WandbSource(WandbSourceConfig.model_validate(given))


@pytest.fixture(scope="package")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("wandb")
    with serving(Wandb()) as server:
        at = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        programs = [
            write(folder / "online", **at),
            write(folder / "offline", WANDB_MODE="offline"),
        ]
        for program in programs:
            _, said = program.communicate(timeout=250)
            assert program.returncode == 0, said
        yield Written(server, folder)


@pytest.fixture(scope="package", params=["online", "local"])
def exported(
    request: pytest.FixtureRequest, written: Written, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    source = written.online() if request.param == "online" else written.local()
    made = Exported(None, archive_in(tmp_path_factory.mktemp("archive")), source, PROJECT)
    made.export_all()
    return made


@pytest.fixture
def server() -> Iterator[Wandb]:
    with serving(Wandb()) as running:
        yield running


@pytest.fixture
def account(server: Wandb) -> Account:
    return server.account(wandb_backend.KEY)


def exporting(server: Wandb, folder: Path, project: str = "team/vision") -> Exported:
    made = Exported(None, archive_in(folder), wandb_backend.make(server.url), project)
    made.export_all(RUNS)
    return made


def lines_at(steps: Any, **more: Any) -> list[str]:
    return [json.dumps({"_step": s, "_timestamp": 1.7e9, "loss": s / 8} | more) for s in steps]


def losses(exported: Exported, run: str = "r") -> list[tuple[int, float]]:
    return [(step // 10**6, value) for step, _, value in exported.series(run, "loss")]
