"""One small run to each service and back, then nothing of it: against the real service where
credentials for that are set, else against its stand-in, so that what is done there is tried always.

`MIGRATION_TEST_WANDB_API_KEY=…` stands for `WANDB_API_KEY`, and so on for all settings of a target.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.registry import config_class, open_target
from migration_pipeline.targets.target import LoadState, Target
from migration_pipeline_tests.contract.backends import BACKENDS
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

CREDENTIALS = {
    "comet": "COMET_API_KEY",
    "litlogger": "LIGHTNING_API_KEY",
    "minfx": "MINFX_API_TOKEN",
    "neptune": "MIGRATION_NEPTUNE_API_TOKEN",
    "pluto": "PLUTO_API_KEY",
    "wandb": "WANDB_API_KEY",
}
"""Service → the variable without which its stand-in is asked."""
_TEST = "MIGRATION_TEST_"
ROWS = (
    param("lr", "float", 0.1),
    param("name", "string", "ü"),
    *curve("m/loss", 100),
    Row("h", "histogram_series", histogram("COUNTING", [0.0, 1.0], [2.0]), "1", START),
    Row("log", "string_series", "a line", "1", START),
    Row("file", "file", b"content"),
)


def settings_for_tests(name: str) -> dict[str, str]:
    """Field → value of those settings of a target that are set for tests."""
    asked = config_class(name).environment
    return {f: os.environ[_TEST + v] for f, v in asked.items() if os.environ.get(_TEST + v)}


@pytest.fixture(params=sorted(CREDENTIALS))
def service(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Target:
    name: str = request.param
    if not os.environ.get(_TEST + CREDENTIALS[name]):
        return BACKENDS[name].make(tmp_path / "store")
    monkeypatch.undo()  # the guard that keeps tests on this machine
    return open_target(name, config_class(name).model_validate(settings_for_tests(name)))


def test_a_run_goes_there_and_back(service: Target, tmp_path: Path) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))
    settings, key = LoadSettings(name_prefix="migration-test"), RunKey(PROJECT, "RUN-1")
    plan = plan_load(service, archive, PROJECT, settings)
    try:
        (run,) = load_runs(service, archive, plan.mapping, [key]).runs
        assert run.good, run.error or run.verdict
        assert plan_load(service, archive, PROJECT, settings).due == []
    finally:
        service.discard(key, plan.mapping)
    assert service.find(key, plan.mapping).state is LoadState.ABSENT


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_credentials_for_tests_are_those_of_the_target(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, variable in enumerate(config_class(name).environment.values()):
        monkeypatch.setenv(_TEST + variable, str(number))
    assert CREDENTIALS[name] in config_class(name).environment.values()
    assert settings_for_tests(name) == {
        field: str(number) for number, field in enumerate(config_class(name).environment)
    }
