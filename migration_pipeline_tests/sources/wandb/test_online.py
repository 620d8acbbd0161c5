"""A W&B server: pages, gaps, forks, limits, names, and Pluto, which hears of nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    ConfigError,
    CredentialsRefusedError,
    MissingSettingError,
    SourceRefusedError,
    StepOutOfRangeError,
)
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.history import History
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline_tests.listening import listening_pluto
from migration_pipeline_tests.servers.standin import serving
from migration_pipeline_tests.servers.wandb import Wandb
from migration_pipeline_tests.servers.wandb.runs import Run
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.sources.serving import Exported
from migration_pipeline_tests.sources.wandb.conftest import environment
from migration_pipeline_tests.sources.wandb_backend import KEY, add_run, make

RUNS = Selection(kinds=("run",))


@pytest.fixture
def server() -> Iterator[Wandb]:
    with serving(Wandb()) as running:
        yield running


@pytest.fixture
def account(server: Wandb) -> Account:
    return server.account(KEY)


def exporting(server: Wandb, folder: Path, project: str = "team/vision") -> Exported:
    made = Exported(None, archive_in(folder), make(server.url), project)
    made.export_all(RUNS)
    return made


def lines_at(steps: Any, **more: Any) -> list[str]:
    return [json.dumps({"_step": s, "_timestamp": 1.7e9, "loss": s / 8} | more) for s in steps]


def losses(exported: Exported, run: str = "r") -> list[tuple[int, float]]:
    return [(step // 10**6, value) for step, _, value in exported.series(run, "loss")]


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize(
    "steps",
    [range(2500), [0, 7, 10**9], [*range(1200), *range(10**6, 10**6 + 900)]],
    ids=["dense", "sparse", "both"],
)
def test_no_row_is_sampled_away(
    server: Wandb, account: Account, tmp_path: Path, steps: Any, inclusive: bool
) -> None:
    """Whether the end of a page counts as within or not (servers since 0.65, and older)."""
    account.rules.max_step_inclusive = inclusive
    add_run(account, "vision", "r", 1).lines = lines_at(steps)
    exported = exporting(server, tmp_path)
    assert losses(exported) == [(s, s / 8) for s in steps]
    assert not any("more than it gives" in note for note in exported.manifest("r").notes)


def test_rows_that_a_server_does_not_give_are_counted(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    """One that gives at most 100 rows of a page, whatever it is asked for."""
    account.rules.page = 100
    run = add_run(account, "vision", "r", 1)
    run.lines = lines_at(range(300))
    run.monitored = run.monitored * 100
    exported = exporting(server, tmp_path)
    notes = exported.manifest("r").notes
    assert len(losses(exported)) == 100
    assert "W&B counts 200 rows of history more than it gives" in notes
    assert "W&B counts 100 rows of system metrics more than it gives" in notes


def test_a_fork_has_its_own_rows_and_its_parent(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    account.rules.forks = True
    add_run(account, "vision", "parent", 1).lines = lines_at(range(10))
    point = {"branch_point": {"run_id": "parent", "step": 4}}
    config = json.dumps({"_wandb": {"value": point}})
    account.upsert({"name": "child", "modelName": "vision", "config": config})
    account.projects["vision"].of["child"].lines = lines_at(range(5, 8))
    exported = exporting(server, tmp_path)
    assert losses(exported, "child") == [(s, s / 8) for s in (5, 6, 7)]
    manifest = exported.manifest("child")
    assert manifest.parent == "parent"
    assert not any("more than it gives" in note for note in manifest.notes)


def test_steps_that_do_not_fit_are_named() -> None:
    run = RunRef(RunKey("team/vision", "r"), "r")
    History(run, RUNS).add({"_step": 9_199_999_999_999, "loss": 1})
    for step in (9_300_000_000_000, -(2**63), float("nan")):
        with pytest.raises(StepOutOfRangeError, match="_step"):
            History(run, RUNS).add({"_step": step, "loss": 1})


def test_more_runs_and_files_than_a_page_has(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    for i in range(120):
        account.upsert({"name": f"r{i}", "modelName": "vision", "config": "{}"})
    run: Run = account.projects["vision"].of["r7"]
    for i in range(250):
        account.file_of(run, f"f{i}.txt").content = b"%d" % i
    exported = exporting(server, tmp_path)
    assert len(exported.runs) == 120
    values = exported.values("r7")
    assert [values[f"files/f{i}.txt"] for i in range(250)] == [b"%d" % i for i in range(250)]


def test_a_silence_that_the_server_asks_for_is_kept(
    server: Wandb, account: Account, tmp_path: Path
) -> None:
    add_run(account, "vision", "r", 1)
    server.faults.in_flight = 0.2
    server.faults.unavailable(429, retry_after=2, probability=0.3)
    exported = exporting(server, tmp_path)
    assert exported.runs == {"r"}
    assert server.faults.injected["429"] > 0
    # Each request keeps to its own answer; one that was under way with it may have got a later one.
    repeated = [
        one
        for one in server.faults.violations
        if one.repeated and one.early > server.faults.in_flight
    ]
    assert repeated == []


def test_names_of_projects(server: Wandb, account: Account) -> None:
    for name in ("a_b", "a-b", "c_d"):
        account.made("team", name)
    source = make(server.url)
    assert source.list_projects() == ["team/a-b", "team/a_b", "team/c-d"]
    with pytest.raises(SourceRefusedError, match="Name it team/c-d"):
        source.list_runs("team/c_d", RUNS)


def test_what_cannot_be_asked_for(server: Wandb, account: Account) -> None:
    account.made("team", "vision")
    with pytest.raises(ConfigError, match="runs_query"):
        make(server.url).list_runs("team/vision", Selection(runs_query="x"))
    with pytest.raises(ConfigError, match="WANDB_BASE_URL"):
        WandbSource(WandbSourceConfig(base_url="ftp://wandb")).list_projects()


@pytest.mark.parametrize("key", ["too-short", "x" * 40])
def test_a_key_that_is_none(server: Wandb, key: str) -> None:
    config = WandbSourceConfig.model_validate(
        {"api_key": key, "base_url": server.url, "retry_seconds": 5}
    )
    with pytest.raises(CredentialsRefusedError, match="WANDB_API_KEY") as error:
        WandbSource(config).list_projects()
    assert key not in str(error.value)


def test_no_key_at_all(server: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(MissingSettingError, match="WANDB_API_KEY"):
        WandbSource(WandbSourceConfig(base_url=server.url)).list_projects()


READ = """
import sys
from pathlib import Path
from migration_pipeline.archive.archive import Archive
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.registry import SourceSettings, make_source
from migration_pipeline.sources.source import RunRef, Selection
root = Path(ROOT)
source, archive = make_source("wandb", SourceSettings()), Archive(root / "data", root / "files")
assert source.list_projects() == ["team/vision"], source.list_projects()
plan = plan_export(source, archive, "team/vision", Selection())
report = export_runs(source, archive, plan.due, Selection())
assert len(report.exported) == 2, report
print("patched" if "pluto" in sys.modules["wandb"].init.__module__ else "left alone")
"""


def test_nothing_goes_to_pluto(server: Wandb, account: Account, tmp_path: Path) -> None:
    """With the credentials of both, under which pluto-ml patches `wandb` wherever it is imported
    (`targets.test_wandb_sdk` shows that it would)."""
    add_run(account, "vision", "r", 1)
    with listening_pluto() as (settings, came):
        given = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, **settings}
        done = subprocess.run(
            [sys.executable, "-c", READ.replace("ROOT", repr(str(tmp_path / "archive")))],
            env=environment(tmp_path / "home", **given),
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=250,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["left", "alone"]
    assert came == []
