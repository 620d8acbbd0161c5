"""A W&B server: pages, gaps, forks, limits, names, and Pluto, which hears of nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
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
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline.sources.wandb.client import WandbClient
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.history import History
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline_tests.archive.making import contents
from migration_pipeline_tests.listening import listening_pluto
from migration_pipeline_tests.servers.wandb import Wandb
from migration_pipeline_tests.servers.wandb.artifacts import Sweep
from migration_pipeline_tests.servers.wandb.limits import Window
from migration_pipeline_tests.servers.wandb.runs import Run
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.sources.wandb.conftest import (
    RUNS,
    environment,
    exporting,
    lines_at,
    losses,
)
from migration_pipeline_tests.sources.wandb_backend import KEY, add_run, make


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


@pytest.mark.parametrize(("rows", "together"), [(10_000, 3), (10_001, 1)])
def test_large_answers_of_system_metrics_are_waited_for_one_by_one(
    rows: int, together: int
) -> None:
    """So that memory holds one of them, whatever the number of workers."""
    waiting, most = list[int](), list[int]()

    class Service:
        def execute_graphql(self, document: str, variables: dict[str, Any]) -> Any:
            waiting.append(1)
            until = time.monotonic() + 0.5
            while len(waiting) < together and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.02)
            most.append(len(waiting))
            waiting.pop()
            lines = [json.dumps({"system.cpu": i}) for i in range(variables["samples"])]
            return {"project": {"run": {"events": lines}}}

    client = WandbClient(WandbSourceConfig())
    client.__dict__["_api"] = SimpleNamespace(_service_api=Service())
    run = SimpleNamespace(entity="team", project="vision", id="r")
    with ThreadPoolExecutor(3) as pool:
        found = [*pool.map(lambda _: [*client.system_metrics(run, rows)], range(3))]
    assert found == [[{"system.cpu": i} for i in range(rows)]] * 3
    assert max(most) == together


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


def test_a_sweep_is_asked_for_once(server: Wandb, account: Account, tmp_path: Path) -> None:
    for name in ("r1", "r2", "r3"):
        add_run(account, "vision", name, 1).sweepName = "s"
    sweep = Sweep("id-s", "s", account.projects["vision"], "method: grid")
    account.projects["vision"].swept["s"] = sweep
    server.recorder.on = True
    exported = exporting(server, tmp_path)
    found = [exported.values(run)["wandb/sweep/config"] for run in ("r1", "r2", "r3")]
    assert found == ["method: grid"] * 3
    asked = [one for one in server.recorder.of("graphql") if b"GetSweep" in one.body]
    assert len(asked) == 1


@pytest.mark.parametrize("status", [None, 404], ids=["null", "404"])
def test_a_sweep_that_is_gone_is_named(
    server: Wandb, account: Account, tmp_path: Path, status: int | None
) -> None:
    """Whether the server gives none or says so."""
    add_run(account, "vision", "r", 1).sweepName = "s"
    if status:
        server.faults.add(Fault("graphql", body=lambda b: b"GetSweep" in b, status=status))
    exported = exporting(server, tmp_path)
    assert "the sweep s is not there any more" in exported.manifest("r").notes
    values = exported.values("r")
    assert values["wandb/sweep_name"] == "s"
    assert [path for path in values if path.startswith("wandb/sweep/")] == []
    assert "wandb/sweep" not in values
    assert len(exported.series("r", "loss")) == 3


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


@pytest.mark.parametrize("retry_after", [True, False], ids=["Retry-After", "RateLimit-Reset"])
def test_a_limit_of_requests_costs_time_and_nothing_else(
    server: Wandb, account: Account, tmp_path: Path, retry_after: bool
) -> None:
    """After a refusal no worker asks again in that window, whether the server names its end or, as
    its documentation has it, in a header that wandb-core does not read for GraphQL."""
    for i in range(6):
        add_run(account, "vision", f"r{i}", i)
    free = account.rules.graphql = Window(10_000, 3600)
    expected = contents(exporting(server, tmp_path / "free").archive)
    limited = account.rules.graphql = Window(20, 2 if retry_after else 1, retry_after)
    exported = exporting(server, tmp_path / "limited")
    assert contents(exported.archive) == expected
    assert losses(exported, "r5") == [(0, 5.0), (1, 5.5), (2, 6.0)]
    passed, refused = zip(*limited.kept, strict=True)
    assert sum(passed) == sum(*free.kept)
    assert 0 < max(refused) <= exported.source.config.workers


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
from migration_pipeline.neptune_server.faults import Fault
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
