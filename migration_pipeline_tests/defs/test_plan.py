"""The job `plan`: its figures, tables and files; what it asks, and that it writes nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.defs import jobs
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.mlflow.config import MlflowConfig
from migration_pipeline.targets.plan_tables import duration
from migration_pipeline_tests.archive.making import archive_in, points, row, write_run
from migration_pipeline_tests.defs.fakes import failure_of
from migration_pipeline_tests.targets.stores import sqlite_uri

Plan = Callable[..., dg.ExecuteInProcessResult]
ALPHA, BETA = "ws/alpha", "ws/beta"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job would print when its process ends."""
    found: list[str] = []
    monkeypatch.setattr(jobs, "_last", found)
    monkeypatch.setattr(jobs, "atexit", Mock())
    return found


@pytest.fixture
def run_plan(instance: dg.DagsterInstance, tmp_path: Path, said: list[str]) -> Plan:
    """Runs the job over the archive in `tmp_path`."""

    def run(mlflow: str = "", **config: Any) -> dg.ExecuteInProcessResult:
        archive = {f"{name}_path": str(tmp_path / name) for name in ("data", "files", "report")}
        if mlflow:
            monkeypatch.setenv("PLANNED_MLFLOW", mlflow)
        variable = {"tracking_uri_variable": "PLANNED_MLFLOW"}
        return definitions.defs.resolve_job_def("plan").execute_in_process(
            run_config={
                "ops": {"plan_load": {"config": config}},
                "resources": {"archive": {"config": archive}, "mlflow": {"config": variable}},
            },
            instance=instance,
            raise_on_error=False,
        )

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("PLANNED_MLFLOW", raising=False)
        yield run


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two projects: two runs with decimal steps and an infinity, and one whole one."""
    made = archive_in(tmp_path)
    for name in ("a-1", "a-2"):
        write_run(
            made,
            RunKey(ALPHA, name),
            [
                row("p/x?", "int", 1),
                row("sys/name", "string", "first | last"),
                row("out.bin", "file", b"12345"),
                *points("m/loss", [250_000, 500_000], [1.0, float("inf")], at=1000),
            ],
        )
    write_run(made, RunKey(BETA, "b-1"), points("m", [10**6], [1.0], at=1000))
    return made


def json_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report" / "plan.json").read_text())
    return found


def at(folder: Path, project: str, target: str) -> dict[str, Any]:
    """What `plan.json` says of a project at a target."""
    (of_project,) = (p for p in json_of(folder)["projects"] if p["project"] == project)
    (found,) = (t for t in of_project["targets"] if t["target"] == target)
    return dict(found)


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (e for e in result.all_node_events if e.event_type_value == "STEP_OUTPUT")
    return dict(event.event_specific_data.metadata)


def tables(result: dg.ExecuteInProcessResult) -> dict[str, list[dict[str, Any]]]:
    """The tables that the page shows."""
    return {
        name: [dict(record.data) for record in value.records]
        for name, value in metadata_of(result).items()
        if isinstance(value, dg.TableMetadataValue)
    }


def everything_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "home" not in path.parts
    }


def test_figures_losses_renames_and_multipliers(
    run_plan: Plan, archive: Archive, tmp_path: Path, said: list[str]
) -> None:
    result = run_plan()
    assert result.success
    alpha, beta = json_of(tmp_path)["projects"]
    figures = ("project", "runs", "kinds", "attributes", "points", "files", "bytes")
    assert [alpha[f] for f in figures] == [ALPHA, 2, {"run": 2}, 8, 4, 2, 10]
    assert [beta[f] for f in figures] == [BETA, 1, {"run": 1}, 1, 1, 0, 0]
    assert alpha["types"]["float_series"] == {"attributes": 2, "rows": 4}
    assert alpha["steps"] == [
        {"attribute": "m/loss", "decimals": 2, "smallest_multiplier": 100, "runs": 2}
    ]
    mlflow = at(tmp_path, ALPHA, "mlflow")
    assert mlflow["losses"] == [
        {
            "attribute": "m/loss",
            "what": "infinity",
            "values": 2,
            "runs": 2,
            "kept_exactly_in": "neptune/points.jsonl",
        }
    ]
    assert mlflow["renames"] == [{"attribute": "p/x?", "name_there": "p/x_", "runs": 2}]
    assert (mlflow["step_multiplier"], at(tmp_path, BETA, "mlflow")["step_multiplier"]) == (100, 1)
    assert mlflow["requests"] == {"points": 2, "parameters": 2, "files": 2}
    assert (mlflow["runs"], mlflow["points"], mlflow["files"], mlflow["bytes"]) == (2, 4, 2, 10)
    assert (mlflow["asked"], mlflow["complete"]) == (False, None)
    assert "PLANNED_MLFLOW is not set" in mlflow["not_asked_because"]
    assert mlflow["due"] == {"not asked whether it is there": 2}
    assert said[-1].startswith("plan: 3 runs of 2 project(s); nothing was sent")
    assert "mlflow was not asked what is there: PLANNED_MLFLOW is not set" in said[-1]


def test_the_page_and_the_files_show_the_same(
    run_plan: Plan, archive: Archive, tmp_path: Path
) -> None:
    result = run_plan(targets=["mlflow"])
    shown = tables(result)
    assert shown["archive"][0]["project"] == ALPHA
    assert [(row["project"], row["runs to load"]) for row in shown["targets"]] == [
        (ALPHA, 2),
        (BETA, 1),
    ]
    assert shown["steps that are not whole"][0]["smallest multiplier"] == 100
    markdown = (tmp_path / "report" / "plan.md").read_text()
    assert f"| {ALPHA} | mlflow | p/x? | p/x\\_ | 2 |" in markdown
    headings = [line[3:].lower() for line in markdown.splitlines() if line.startswith("## ")]
    assert headings == list(shown)
    assert metadata_of(result)["plan"].value == markdown
    assert metadata_of(result)["plan.json"].value == str(tmp_path / "report" / "plan.json")


def test_published_limits_make_times(run_plan: Plan, tmp_path: Path) -> None:
    """100,000 points a minute's limit of 12,000 apart, and 15,000 kept of each metric, at a target
    that is not configured."""
    archive = archive_in(tmp_path)
    steps = [i * 10**6 for i in range(20_000)]
    rows = [one for m in range(5) for one in points(f"m/{m}", steps, [0.5] * 20_000, at=1)]
    write_run(archive, RunKey(ALPHA, "long"), rows)
    assert run_plan(targets=["comet"]).success
    comet = at(tmp_path, ALPHA, "comet")
    assert (comet["asked"], comet["complete"]) == (False, None)
    assert "COMET_API_KEY" in comet["not_asked_because"]
    (of_points,) = (e for e in comet["estimates"] if e["what"] == "points")
    assert (of_points["amount"], of_points["rate"]) == (100_000, "12,000 points a minute")
    assert "published limit" in of_points["by"]
    assert (of_points["seconds"], comet["estimated_seconds"]) == (500.0, 500.0)
    assert of_points["estimated_time"] == "8 min 20 s"
    assert [(row["attribute"], row["what"], row["values"]) for row in comet["losses"]] == [
        (f"m/{m}", "sampled to 15,000 points", 5000) for m in range(5)
    ]
    assert {row["kept_exactly_in"] for row in comet["losses"]} == {"neptune/series"}
    assert comet["requests"]["points"] == 100
    assert "nan" in comet["assumed"]
    markdown = (tmp_path / "report" / "plan.md").read_text()
    assert "no public source settles" in markdown
    assert "Times are estimates" in markdown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.01, "1 min 0 s"),
        (500, "8 min 20 s"),
        (3661, "1 h 2 min"),
        (9e5, "10 d 10 h"),
    ],
)
def test_durations_are_rounded_up(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_there_is_asked_and_nothing_is_written(
    run_plan: Plan, archive: Archive, tmp_path: Path
) -> None:
    uri = sqlite_uri(tmp_path / "store")
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    first = RunKey(ALPHA, "a-1")
    loaded = plan_load(target, archive, ALPHA)
    load_runs(target, archive, loaded.mapping, [first], verify="off")
    before = everything_below(tmp_path)
    assert run_plan(uri, targets=["mlflow"]).success
    after = everything_below(tmp_path)
    assert after.keys() - before.keys() == {"report/plan.json", "report/plan.md"}
    assert {name: after[name] for name in before} == before
    mlflow = at(tmp_path, ALPHA, "mlflow")
    assert (mlflow["asked"], mlflow["complete"], mlflow["runs"]) == (True, 1, 1)
    assert mlflow["due"] == {"not there yet": 1}
    assert mlflow["losses"][0]["runs"] == 1
    assert {r["run"]: r["targets"]["mlflow"] for r in json_of(tmp_path)["runs"]} == {
        "a-1": "complete there",
        "a-2": "not there yet",
        "b-1": "not there yet",
    }


@pytest.mark.parametrize("exists", ["nothing", "an empty file"])
def test_a_store_that_is_not_there_is_not_made(
    run_plan: Plan, archive: Archive, tmp_path: Path, exists: str
) -> None:
    store = tmp_path / "store" / "mlflow.db"
    if exists == "an empty file":
        store.parent.mkdir()
        store.touch()
    before = everything_below(tmp_path)
    assert run_plan(f"sqlite:///{store}", targets=["mlflow"]).success
    after = everything_below(tmp_path)
    assert after.keys() - before.keys() == {"report/plan.json", "report/plan.md"}
    assert {name: after[name] for name in before} == before
    assert store.parent.exists() == (exists == "an empty file")
    mlflow = at(tmp_path, ALPHA, "mlflow")
    assert (mlflow["asked"], mlflow["complete"], mlflow["due"]) == (True, 0, {"not there yet": 2})


def test_a_target_that_does_not_answer_is_planned_for_all_the_same(
    run_plan: Plan, archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "no.db").write_text("this is text, and long enough not to be taken for empty")
    assert run_plan(f"sqlite:///{tmp_path}/no.db", targets=["mlflow"]).success
    mlflow = at(tmp_path, ALPHA, "mlflow")
    assert (mlflow["asked"], mlflow["complete"], mlflow["runs"]) == (False, None, 2)
    assert "not a database" in mlflow["not_asked_because"]


def test_a_multiplier_of_the_user_is_taken_as_the_load_takes_it(
    run_plan: Plan, archive: Archive, tmp_path: Path
) -> None:
    write_run(archive, RunKey(ALPHA, "meets"), points("m", [250_000, 500_000], [1.0, 2.0], at=1))
    write_run(archive, RunKey(ALPHA, "apart"), points("m", [1_500_000], [1.0], at=1))
    assert run_plan(targets=["mlflow"], load={"step_multiplier": 1}).success
    mlflow = at(tmp_path, ALPHA, "mlflow")
    refused = {row["run"]: row["why"] for row in mlflow["refused"]}
    assert refused.keys() == {f"{ALPHA}|{name}" for name in ("a-1", "a-2", "meets")}
    assert "steps 0.25 and 0.5 become one with step multiplier 1" in refused[f"{ALPHA}|meets"]
    assert mlflow["step_multiplier"] == 1
    assert [(row["attribute"], row["what"], row["values"]) for row in mlflow["losses"]] == [
        ("m", "step is not whole", 1)
    ]


@pytest.mark.parametrize("harm", ["cut off", "a part is missing", "a file is missing"])
def test_damaged_runs_are_named_and_counted_as_far_as_they_go(
    run_plan: Plan, archive: Archive, tmp_path: Path, said: list[str], harm: str
) -> None:
    run = archive.find(RunKey(ALPHA, "a-1"))
    assert run
    points_left = 2
    if harm == "cut off":
        run.parts[0].write_bytes(run.parts[0].read_bytes()[:-100])
        points_left = 0
    elif harm == "a part is missing":
        shutil.copy(run.parts[0], str(run.parts[0]).replace("_part_0", "_part_2"))
        points_left = 4
    else:
        shutil.rmtree(run.files_root / run.key.folder)
    result = run_plan(targets=["mlflow"])
    assert result.success
    alpha = json_of(tmp_path)["projects"][0]
    ((damaged),) = alpha["damaged"]
    assert "a-1" in damaged["run"]
    assert damaged["what_is_wrong"]
    assert (alpha["runs"], alpha["points"]) == (2, 2 + points_left)
    mlflow = at(tmp_path, ALPHA, "mlflow")
    assert (mlflow["runs"], mlflow["points"]) == (1, 2)
    (line,) = (r for r in json_of(tmp_path)["runs"] if "a-1" in r["run"])
    assert line["targets"]["mlflow"].startswith("damaged")
    assert line["damage"] == damaged["what_is_wrong"]
    assert tables(result)["damaged"][0]["project"] == ALPHA
    assert f"{ALPHA}: 1 damaged runs; a load leaves them out and then fails" in said[-1]


@pytest.mark.parametrize(
    ("config", "clause"),
    [
        ({"targets": ["nowhere"]}, "there is no target 'nowhere'. Known: comet, dummy, "),
        ({"projects": ["ws/none"]}, "with the name 'ws/none'. Known: ws/alpha, ws/beta."),
    ],
)
def test_names_that_are_unknown(
    run_plan: Plan, archive: Archive, tmp_path: Path, said: list[str], config: Any, clause: str
) -> None:
    result = run_plan(**config)
    assert not result.success
    assert clause in failure_of(result)
    assert clause in said[-1]
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("makes", "clause"),
    [
        (lambda data: None, "there is none"),
        (lambda data: data.mkdir(), "no folder in it holds a Parquet part of a run"),
        (lambda data: data.write_text("x"), "it is a file"),
    ],
)
def test_no_archive(
    run_plan: Plan, tmp_path: Path, said: list[str], makes: Any, clause: str
) -> None:
    makes(tmp_path / "data")
    result = run_plan()
    assert not result.success
    assert f"data is not an archive: {clause}" in said[-1]


def test_chosen_projects_only(run_plan: Plan, archive: Archive, tmp_path: Path) -> None:
    assert run_plan(projects=[BETA], targets=["mlflow"]).success
    assert [p["project"] for p in json_of(tmp_path)["projects"]] == [BETA]


def test_a_report_that_cannot_be_written(
    run_plan: Plan, archive: Archive, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "report").write_text("in the way")
    assert not run_plan(targets=["mlflow"]).success
    assert "cannot write the report" in said[-1]


def test_the_prefix_decides_where_is_looked(
    run_plan: Plan, archive: Archive, tmp_path: Path
) -> None:
    uri = sqlite_uri(tmp_path / "store")
    target = MlflowTarget(MlflowConfig(tracking_uri=uri))
    loaded = plan_load(target, archive, BETA, LoadSettings(name_prefix="old"))
    load_runs(target, archive, loaded.mapping, loaded.due, verify="off")
    assert run_plan(uri, targets=["mlflow"], projects=[BETA]).success
    assert at(tmp_path, BETA, "mlflow")["complete"] == 0
    assert run_plan(uri, targets=["mlflow"], projects=[BETA], load={"name_prefix": "old"}).success
    assert at(tmp_path, BETA, "mlflow")["complete"] == 1
