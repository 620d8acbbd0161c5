"""One small run to a real W&B and back, where a key for that is set; off by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline.targets.wandb.client import WandbTarget
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    histogram,
    param,
)

KEY = "MIGRATION_TEST_WANDB_API_KEY"
ROWS = (
    param("lr", "float", 0.1),
    *curve("m/loss", 100),
    Row("h", "histogram_series", histogram("COUNTING", [0.0, 1.0], [2.0]), "1", START),
    Row("log", "string_series", "a line", "1", START),
    Row("file", "file", b"content"),
)


@pytest.fixture
def only_loopback() -> None:
    """This one leaves the machine."""


@pytest.mark.skipif(KEY not in os.environ, reason=f"{KEY} is not set")
def test_a_run_goes_to_a_real_server_and_back(tmp_path: Path) -> None:
    config = WandbConfig.model_validate(
        {
            "api_key": os.environ[KEY],
            "entity": os.environ.get("MIGRATION_TEST_WANDB_ENTITY", ""),
            "base_url": os.environ.get("MIGRATION_TEST_WANDB_BASE_URL", "https://api.wandb.ai"),
        }
    )
    target, archive = WandbTarget(config), build(tmp_path, DataSet("l", (RunData("r", ROWS),)))
    plan = plan_load(target, archive, PROJECT, LoadSettings(name_prefix="migration-test"))
    (key,) = plan.due
    try:
        (run,) = load_runs(target, archive, plan.mapping, [key]).runs
        assert run.good, run.error or run.verdict
    finally:
        target.discard(key, plan.mapping)
    assert target.find(key, plan.mapping).state is LoadState.ABSENT
