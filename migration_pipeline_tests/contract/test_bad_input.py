"""What no target can carry, or cannot be written to: one clear message, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migration_pipeline.errors import MigrationError, StepsMeetError, Terminal
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.backends import BACKENDS, Backend
from migration_pipeline_tests.contract.datasets import STEPS_THAT_MEET
from migration_pipeline_tests.contract.disturbing import calls_of, in_another_process, load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    RunData,
    build,
    curve,
    write_run,
)
from migration_pipeline_tests.machine import obeying_permissions


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


def test_steps_that_meet_after_scaling(backend: Backend, tmp_path: Path) -> None:
    """Where steps are whole numbers: refused by name before anything of the run is sent."""
    dataset, multiplier = STEPS_THAT_MEET
    target, archive = backend.make(tmp_path / "store"), build(tmp_path, dataset)
    calls = calls_of(backend, target)
    plan = plan_load(target, archive, PROJECT, LoadSettings(step_multiplier=multiplier))
    listing = set(calls())
    meets, whole = plan.due
    assert (meets.run, whole.run) == ("MEETS", "WHOLE")
    (run,) = load_runs(target, archive, plan.mapping, [meets]).runs
    if not target.capabilities.integer_steps:
        assert run.good
        return
    assert isinstance(run.error, StepsMeetError)
    assert "steps 0.25 and 0.5 become one with step multiplier 1. Unset" in str(run.error)
    assert set(calls()) <= listing
    assert target.find(meets, plan.mapping).state is LoadState.ABSENT
    (run,) = load_runs(target, archive, plan.mapping, [whole]).runs
    assert run.good
    assert set(target.runs(PROJECT, plan.mapping)) == {whole}


def test_a_store_that_is_read_only(backend: Backend, tmp_path: Path) -> None:
    """It says so, of the run or before any; what was complete there stays so."""
    folder = tmp_path / "store"
    archive = build(tmp_path, DataSet("one", (RunData("first", tuple(curve("m", 3))),)))
    first = load_all(backend.make(folder), archive)
    assert all(run.good for run in first.runs)
    write_run(archive, RunData("second", tuple(curve("m", 3))))

    def load() -> str:
        try:
            (run,) = load_all(backend.make(folder), archive).runs
            error = run.error
        except MigrationError as raised:
            error = raised
        return json.dumps([isinstance(error, Terminal), str(error)])

    with backend.locked(folder):
        said = in_another_process(lambda: obeying_permissions(load))
    assert said.startswith("["), said
    terminal, message = json.loads(said)
    assert terminal
    assert any(word in message.lower() for word in backend.refusal), message
    plan = plan_load(backend.make(folder), archive, PROJECT)
    assert [k.run for k in plan.due] == ["second"]
    assert [k.run for k in plan.complete] == ["first"]
    assert all(run.good for run in load_all(backend.make(folder), archive).runs)
