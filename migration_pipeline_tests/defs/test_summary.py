"""The job `summary`: what it shows, writes and says, also of what neptune-exporter left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.summary.report import page_name
from migration_pipeline.defs import jobs
from migration_pipeline_tests.archive.making import archive_in, points, row, write_run
from migration_pipeline_tests.defs.fakes import failure_of
from migration_pipeline_tests.defs.test_processes import finish, start

DATA = Path(__file__).parents[1] / "data"
Summarize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job would print when its process ends."""
    found: list[str] = []
    monkeypatch.setattr(jobs, "_last", found)
    monkeypatch.setattr(jobs, "atexit", Mock())
    return found


@pytest.fixture
def summarize(tmp_path: Path, said: list[str]) -> Summarize:
    """Runs the job over an archive; its reports go to `tmp_path/report`."""

    def run(folder: Path, **config: Any) -> dg.ExecuteInProcessResult:
        roots = {f"{name}_path": str(folder / name) for name in ("data", "files")}
        if (folder / "model_data").exists():
            roots |= {f"{n}_path": str(folder / n) for n in ("model_data", "model_files")}
        archive = {**roots, "report_path": str(tmp_path / "report")}
        return definitions.defs.resolve_job_def("summary").execute_in_process(
            run_config={
                "ops": {"summarize_archive": {"config": config}},
                "resources": {"archive": {"config": archive}},
            },
            raise_on_error=False,
        )

    return run


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two projects, of two runs and of one; a part of the second run is cut off."""
    archive = archive_in(tmp_path)
    for project, run in (("ws/a", "r-1"), ("ws/a", "r-2"), ("ws/b", "r-1")):
        rows = [*points("train/loss", [250_000, 10**6], [1.0, 0.5]), row("note", "file", b"12345")]
        write_run(archive, RunKey(project, run), rows)
    broken = next(archive.project_directory("ws/a").glob("r-2*"))
    broken.write_bytes(broken.read_bytes()[:-9])
    return tmp_path


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (e for e in result.all_node_events if e.event_type_value == "STEP_OUTPUT")
    return dict(event.event_specific_data.metadata)


def table(result: dg.ExecuteInProcessResult, title: str) -> list[dict[str, Any]]:
    return [dict(record.data) for record in metadata_of(result)[title].records]


def json_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report" / "summary.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "project", "holds", "rows", "drawn"),
    [
        ("neptune3-complete", "acme/vision", "13 runs", 9872, 4),
        ("neptune2-complete", "acme/tabular", "5 runs, 1 model, 2 model versions", 22_993, 3),
        ("neptune3-failed-requests", "acme/faulty", "6 runs", 426, 0),
        ("neptune3-interrupted", "acme/interrupted", "5 runs", 2535, 4),
    ],
)
def test_archives_of_neptune_exporter(
    summarize: Summarize, tmp_path: Path, name: str, project: str, holds: str, rows: int, drawn: int
) -> None:
    result = summarize(DATA / name)
    assert result.success
    (shown,) = table(result, "projects")
    assert (shown["project"], shown["holds"], shown["rows"]) == (project, holds, rows)
    assert shown["by another tool"] == json_of(tmp_path)["totals"]["runs"]
    (found,) = json_of(tmp_path)["projects"]
    assert len(found["metrics"]["drawn"]) == drawn
    assert found["problems"] == []
    assert (tmp_path / "report" / page_name(project)).exists()


def test_its_tables_and_last_line(
    summarize: Summarize, made: Path, tmp_path: Path, said: list[str]
) -> None:
    result = summarize(made)
    assert result.success, "what cannot be read is named; it is no failure of the job"
    projects = table(result, "projects")
    assert [(p["project"], p["holds"], p["unreadable"]) for p in projects] == [
        ("ws/a", "1 run", 1),
        ("ws/b", "1 run", 0),
    ]
    assert [(p["least step"], p["most step"]) for p in projects] == [("0.25", "1")] * 2
    types = table(result, "attribute types")
    assert [(t["project"], t["type"], t["attributes"], t["rows"]) for t in types] == [
        ("ws/a", "file", 1, 1),
        ("ws/a", "float_series", 1, 2),
        ("ws/b", "file", 1, 1),
        ("ws/b", "float_series", 1, 2),
    ]
    biggest = table(result, "biggest runs")
    assert [(b["run"], b["file bytes"]) for b in biggest] == [("ws/a|r-1", 5), ("ws/b|r-1", 5)]
    (finding,) = table(result, "findings (table)")
    broken = next(archive_in(made).project_directory("ws/a").glob("r-2*"))
    assert finding["where"] == str(broken)
    (line,) = said
    assert line.startswith("summary: 2 runs of 2 project(s), 6 rows, ")
    assert f"; 1 problem(s), such as {broken}: it is not a Parquet file (" in line
    assert line.endswith(f"; see {tmp_path / 'report' / 'summary.md'}")


def test_projects_and_metrics_are_chosen(summarize: Summarize, made: Path, tmp_path: Path) -> None:
    assert summarize(made, projects=["ws/b"], metrics=["LOSS", "loss$"]).success
    (project,) = json_of(tmp_path)["projects"]
    assert project["project"] == "ws/b"
    assert project["metrics"] == {
        "drawn": ["train/loss"],
        "asked": True,
        "unmatched": ["LOSS"],
        "left_out": 0,
    }


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"projects": ["ws/z"]}, "there is no project in the archive 'ws/z'. Known: ws/a, ws/b."),
        ({"metrics": ["("]}, "metrics: '(' is not a regular expression: "),
    ],
)
def test_bad_config_is_said_and_leaves_no_report(
    summarize: Summarize,
    made: Path,
    tmp_path: Path,
    said: list[str],
    config: dict[str, Any],
    what: str,
) -> None:
    result = summarize(made, **config)
    assert not result.success
    assert what in failure_of(result)
    assert what in said[0]
    assert list(tmp_path.glob("report/*")) == []


def test_a_report_directory_that_is_a_file(
    summarize: Summarize, made: Path, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "report").write_text("")
    assert not summarize(made).success
    what = f"cannot write the report {tmp_path / 'report' / 'summary.json'}: "
    assert said[0].startswith(f"summary: failed before anything was done: {what}")


def test_on_the_command_line_nothing_to_summarize_is_one_clear_last_line(tmp_path: Path) -> None:
    data = tmp_path / "empty"
    data.mkdir()
    code, out, _ = finish(start(tmp_path, "summary", {"MIGRATION_DATA_PATH": str(data)}))
    assert code == 1
    assert out.strip().splitlines()[-1] == (
        f"summary: failed before anything was done: {data} is not an archive: no folder in it "
        "holds a run's part 0. MIGRATION_DATA_PATH must be the folder that holds one folder a "
        "project with …_part_0.parquet files in it."
    )
