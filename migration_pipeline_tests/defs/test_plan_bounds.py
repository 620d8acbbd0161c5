"""What a plan keeps is bounded, and says what it does not keep; limits that are exceeded are named;
a plan reads what it must and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migration_pipeline.archive import archive as archive_module
from migration_pipeline.archive import reader
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping import forecast as mapping_forecast
from migration_pipeline.targets import damage, forecast_sums, plan_report
from migration_pipeline.targets.comet.capabilities import CAPABILITIES as COMET
from migration_pipeline.targets.forecast_sums import ProjectForecast, Tally
from migration_pipeline.targets.forecasting import Candidate, forecast_project
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.plan_report import write_plan
from migration_pipeline.targets.plan_tables import limit_rows, plan_json
from migration_pipeline.targets.planning import LoadSettings
from migration_pipeline.targets.registry import capabilities_of, target_names
from migration_pipeline_tests.archive.making import KEY, archive_in, points, row, write_run
from migration_pipeline_tests.targets.stores import sqlite_target


def forecast(archive: Archive, *candidates: Candidate) -> ProjectForecast:
    return forecast_project(archive, KEY.project, candidates, LoadSettings(), str)


def test_names_beyond_the_bound_are_counted_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_sums, "MOST_NAMES", 2)
    tally = Tally()
    for name, values in (("a", 1), ("b", 2), ("c", 4), ("a", 8), ("d", 16)):
        tally.add((name,), values)
    assert tally.rows() == [(("a",), 2, 9), (("b",), 1, 2)]
    assert (tally.nameless, tally.values) == ([2, 20], 31)


def test_a_report_says_how_many_names_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some rows of a table in Markdown, all that were kept in JSON, the rest as figures."""
    monkeypatch.setattr(forecast_sums, "MOST_NAMES", 3)
    monkeypatch.setattr(plan_report, "ROWS", 2)
    archive = archive_in(tmp_path)
    rows = [row(f"p/{i}?", "int", i) for i in range(5)]
    write_run(archive, KEY, rows + points("a|b\n<c>", [1], [1.0], at=1))
    write_plan(tmp_path / "report", [forecast(archive, Candidate("comet", COMET))], "here")
    said = json.loads((tmp_path / "report" / "plan.json").read_text())["projects"][0]["targets"][0]
    assert len(said["renames"]) == 3
    assert said["nameless"] == {"losses": {"runs": 0, "values": 0}, "renames": 3}
    markdown = (tmp_path / "report" / "plan.md").read_text()
    assert "1 more are in plan.json." in markdown
    assert "a\\|b \\<c\\>" in markdown


def test_limits_that_are_exceeded_are_named_once_with_the_worst(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for name, series in (("few", 2), ("many", 4), ("some", 3)):
        rows = [p for i in range(series) for p in points(f"m/{i}", [10**6], [1.0], at=1)]
        write_run(archive, RunKey(KEY.project, name), [*rows, row("p", "int", 1)])
    can = COMET.model_copy(
        update={"series_per_run": 2, "parameters_per_run": 1, "runs_per_project": 2}
    )
    rows = list(limit_rows([forecast(archive, Candidate("comet", can))]))
    assert [(r["what"], r["limit"], r["most found"], r["where"]) for r in rows] == [
        ("metrics of a run", 2, 4, f"{KEY.project}|many"),
        ("runs of a project", 2, 3, KEY.project),
    ]


def test_runs_that_are_complete_everywhere_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, target = archive_in(tmp_path), sqlite_target(tmp_path / "store")
    write_run(archive, KEY, [row("f", "file", b"123"), *points("m", [1], [1.0], at=1)])
    loaded = plan_load(target, archive, KEY.project)
    load_runs(target, archive, loaded.mapping, loaded.due, verify="off")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("rows are read, or the doctor is asked")

    for module in (reader, archive_module, mapping_forecast):
        monkeypatch.setattr(module, "read_parts", refuse)
    monkeypatch.setattr(damage, "examine", refuse)
    found = forecast(archive, Candidate("mlflow", target.capabilities, target))
    assert (found.attributes, found.points, found.files, found.bytes) == (2, 1, 1, 3)
    assert (found.targets[0].complete, found.targets[0].runs) == (1, 0)


def test_many_runs_are_not_held(tmp_path: Path) -> None:
    """What a plan holds after a run is one line for it, whatever is in the run."""
    archive = archive_in(tmp_path)
    for i in range(3):
        rows = [row(f"p/{n}", "string", "x" * 2000) for n in range(50)]
        write_run(archive, RunKey(KEY.project, f"r{i}"), rows)
    found = forecast(archive, *(Candidate(n, capabilities_of(n)) for n in target_names()))
    kept = json.dumps(plan_json([found]))
    assert "xxxxxxxxxx" not in kept
    (comet,) = (t for t in found.targets if t.name == "comet")
    assert [(name[0], runs, values) for name, runs, values in comet.losses.rows()][:2] == [
        ("p/0", 3, 3),
        ("p/1", 3, 3),
    ]
    assert len(comet.losses.sums) == 50
