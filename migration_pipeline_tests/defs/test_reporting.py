"""No stage of a migration is silent while it waits: each one here takes until it was heard of."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions, progress
from migration_pipeline.defs import export
from migration_pipeline.targets.dummy.client import DummyTarget
from migration_pipeline_tests.defs.fakes import FakeSource, resources

PATIENCE = 60.0


class Heard:
    """What was said in Dagster's log, and functions that do not begin before something was."""

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sentences: list[str] = []
        self.waited_for: list[str] = []
        self.silent: list[str] = []
        store = instance.handle_new_event

        def handle_new_event(event: Any, **more: Any) -> None:
            self.sentences.append(event.user_message)
            store(event, **more)

        monkeypatch.setattr(instance, "handle_new_event", handle_new_event)

    def first(self, function: Callable[..., Any], *sentences: str) -> Callable[..., Any]:
        """The function, which waits for a sentence that begins so: for the n-th at its n-th call,
        and then for the last."""
        calls = 0

        def waiting(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            wanted = sentences[min(calls, len(sentences) - 1)]
            calls += 1
            seen, until = len(self.sentences), time.monotonic() + PATIENCE
            while not any(said.startswith(wanted) for said in self.sentences[seen:]):
                if time.monotonic() > until:  # an error would only have the step repeated
                    self.silent.append(wanted)
                    break
                time.sleep(0.005)
            self.waited_for.append(wanted)
            return function(*arguments, **named)

        return waiting


def test_every_stage_says_that_it_goes_on(
    instance: dg.DagsterInstance,
    source: FakeSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.3)
    heard = Heard(instance, monkeypatch)
    listing, comparing = (
        "ws/beta: listing its runs: ",
        "ws/beta: comparing the archive with dummy: ",
    )
    in_archive = "ws/beta: looking at what lies in the archive: "
    for owner, name, sentences in (
        (source, "list_projects", ["listing the source's projects: "]),
        (source, "list_runs", [listing]),
        (source, "during", ["export: "]),
        (export, "examine", [in_archive]),
        (DummyTarget, "runs", [comparing, "load: "]),
        (DummyTarget, "load", ["load: "]),
        (DummyTarget, "read_back", ["load: "]),
    ):
        monkeypatch.setattr(owner, name, heard.first(getattr(owner, name), *sentences))

    dummy = {"dummy": {"config": {"path": str(tmp_path / "dummy")}}}
    result = definitions.defs.resolve_job_def("migrate").execute_in_process(
        run_config={
            "ops": {
                "migrate_projects": {"config": {"projects": ["ws/beta"], "targets": ["dummy"]}}
            },
            "resources": {**resources(tmp_path), **dummy},
        },
        instance=instance,
    )
    assert result.success
    assert not heard.silent
    assert set(heard.waited_for) >= {listing, "export: ", in_archive, comparing, "load: "}
