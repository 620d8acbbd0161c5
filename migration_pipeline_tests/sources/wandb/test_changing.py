"""Runs that change, and runs and projects that go, while they are read: by name, never less."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from migration_pipeline.errors import RunGoneError, UnknownProjectError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline_tests.archive.making import archive_in, contents
from migration_pipeline_tests.servers.wandb import Wandb
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.sources.serving import Exported
from migration_pipeline_tests.sources.wandb.conftest import RUNS, exporting, lines_at, losses
from migration_pipeline_tests.sources.wandb_backend import add_artifact, add_run, make

OF_A_RUN = ["RunHistoryKeys", "HistoryPage", "SystemMetrics", "RunFiles", "RunOutputArtifacts"]
"""What is asked of a single run, in about this order."""
LATER = "2026-01-01T01:00:00"


def before(server: Wandb, operation: str, act: Callable[[], None], run: str = "") -> list[str]:
    """Does it when this is asked for the first time (of this run); the list has then an entry."""
    done: list[str] = []
    of_operation = re.compile(rf"query {operation}\b".encode())

    def asked(body: bytes) -> bool:
        if not done and of_operation.search(body) and run.encode() in body:
            done.append(operation)
            act()
        return False

    server.faults.add(Fault("graphql", body=asked))
    return done


def fill(account: Account) -> None:
    """Three runs, whose files nothing but their list names."""
    for i in range(3):
        run = add_run(account, "vision", f"r{i}", i)
        run.lines = lines_at(range(3))
        add_artifact(account, run, "model", b"%d" % i)


def export_after_listing(
    server: Wandb, exported: Exported, operation: str, act: Callable[[], None], run: str = ""
) -> None:
    """An export of runs that were listed before anything happened."""
    listed = plan_export(exported.source, exported.archive, exported.project, RUNS)
    done = before(server, operation, act, run)
    try:
        exported.report = export_runs(exported.source, exported.archive, listed.due, RUNS)
    finally:
        assert done


@pytest.mark.parametrize("operation", ["Runs", "MoreOfRuns", *OF_A_RUN])
def test_a_run_that_is_deleted_while_it_is_read_fails_by_name(
    server: Wandb, account: Account, tmp_path: Path, operation: str
) -> None:
    fill(account)
    expected = contents(exporting(server, tmp_path / "whole").archive)
    exported = Exported(None, archive_in(tmp_path / "a"), make(server.url), "team/vision")
    run = account.projects["vision"].of["r1"]
    of_run = "r1" if operation in OF_A_RUN else ""
    export_after_listing(server, exported, operation, lambda: account.delete(run.id), of_run)
    assert {name: type(error) for name, error in exported.failed.items()} == {"r1": RunGoneError}
    assert "r1 is not there any more" in str(exported.failed["r1"])
    del expected[next(key for key in expected if key.run == "r1")]
    assert contents(exported.archive) == expected
    assert exported.export_all(RUNS).due == []


def test_a_run_that_is_deleted_while_its_files_come_is_not_one_that_lacks_some(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    """Though a run may be exported without files that are gone."""
    fill(account)
    config = make(server.url).config.model_copy(update={"accept_missing_files": True})
    run, done = account.projects["vision"].of["r1"], list[bytes]()

    def asked(body: bytes) -> bool:
        if not done:
            done.append(body)
            account.delete(run.id)
        return False

    server.faults.add(Fault(f"/{run.id}/", body=asked))
    exported = Exported(None, archive_in(tmp_path), WandbSource(config), "team/vision")
    exported.export(RUNS)
    assert done
    assert {name: type(error) for name, error in exported.failed.items()} == {"r1": RunGoneError}
    assert exported.runs == {"r0", "r2"}


@pytest.mark.parametrize("operation", ["Runs", "MoreOfRuns", *OF_A_RUN])
def test_a_project_that_is_renamed_while_it_is_read_is_named(
    server: Wandb, account: Account, tmp_path: Path, operation: str
) -> None:
    fill(account)
    whole = exporting(server, tmp_path / "whole")

    def rename() -> None:
        project = account.projects["renamed"] = account.projects.pop("vision")
        project.name = "renamed"

    exported = Exported(None, archive_in(tmp_path / "a"), make(server.url), "team/vision")
    with pytest.raises(UnknownProjectError, match="team/vision"):
        export_after_listing(server, exported, operation, rename)
    assert contents(exported.archive).items() <= contents(whole.archive).items()
    with pytest.raises(UnknownProjectError, match="team/vision"):
        exported.export(RUNS)
    renamed = exporting(server, tmp_path / "b", "team/renamed")
    assert [losses(renamed, run) for run in ("r0", "r1", "r2")] == [losses(whole, "r0")] * 3


@pytest.mark.parametrize(("operation", "rows"), [("RunHistoryKeys", 5), ("HistoryPage", 3)])
def test_a_run_that_grows_while_it_is_read_is_exported_again(
    server: Wandb, account: Account, tmp_path: Path, operation: str, rows: int
) -> None:
    """The last step that is read is the one that the SDK is told when it begins."""
    run = add_run(account, "vision", "r", 1)
    run.lines = lines_at(range(3))

    def grow() -> None:
        run.lines += lines_at(range(3, 5))
        run.heartbeatAt = LATER

    done = before(server, operation, grow)
    exported = exporting(server, tmp_path)
    assert done
    assert losses(exported) == [(s, s / 8) for s in range(rows)]
    plan = exported.export_all(RUNS)
    assert [key.run for key in plan.changed] == ["r"]
    assert losses(exported) == [(s, s / 8) for s in range(5)]


def test_a_run_that_is_rewound_while_it_is_read_says_so_until_it_is_exported_again(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    run = add_run(account, "vision", "r", 1)
    run.lines = lines_at(range(3))

    def rewind() -> None:
        run.lines = lines_at(range(2))
        run.monitored = run.monitored[:1]
        run.heartbeatAt = LATER

    done = before(server, "RunHistoryKeys", rewind)
    exported = exporting(server, tmp_path)
    assert done
    assert losses(exported) == [(0, 0.0), (1, 0.125)]
    fewer = "W&B counts 1 rows of history more than it gives"
    assert fewer in exported.manifest("r").notes
    assert [key.run for key in exported.export_all(RUNS).changed] == ["r"]
    assert losses(exported) == [(0, 0.0), (1, 0.125)]
    assert fewer not in exported.manifest("r").notes


def test_artifacts_that_are_counted_and_not_listed_are_noted(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    """The SDK leaves those out whose collection's project it is not told."""
    run = add_run(account, "vision", "r", 1)
    add_artifact(account, run, "model", b"m")
    add_artifact(account, run, "data", b"d")
    account.projects["vision"].collections["data"].__dict__["project"] = None
    exported = exporting(server, tmp_path)
    assert "W&B counts 1 artifacts more than it lists" in exported.manifest("r").notes
    names = {p.split("/")[1] for p in exported.values("r") if p.startswith("artifacts/")}
    assert names == {"model:v0"}
