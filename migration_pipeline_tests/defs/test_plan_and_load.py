"""What a plan says is what the load then does, by value: every hostile data set, and archives of
another tool, are planned, loaded into MLflow and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.errors_file import errors_files
from migration_pipeline.targets.damage import Handling, look_for_damage
from migration_pipeline.targets.forecasting import Candidate, forecast_project
from migration_pipeline.targets.loading import LoadPlan, LoadSettings, load_runs, plan_load
from migration_pipeline.targets.mlflow.client import MlflowTarget
from migration_pipeline.targets.plan_tables import plan_json
from migration_pipeline.targets.target import LoadReport
from migration_pipeline_tests.archive.making import KEY, points, row, write_run
from migration_pipeline_tests.contract import datasets
from migration_pipeline_tests.contract.datasets import DATASETS
from migration_pipeline_tests.contract.neptune2 import NEPTUNE2_DATASETS
from migration_pipeline_tests.targets.stores import sqlite_target

DATA = Path(__file__).parents[1] / "data"
ADOPTED = {"neptune-exporter": 0, "neptune2-complete": 0, "neptune3-failed-requests": 6}
"""Archive → runs that a load leaves out."""


class Watched:
    """Counts what a target's client sends."""

    def __init__(self, target: MlflowTarget, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        """Points of each request that has some."""
        self.parameters = 0
        client, metrics = target._to.client, target._to.metrics
        log, send = client.log_batch, metrics.send

        def log_batch(run_id: str, params: Any) -> None:
            self.parameters += len(params)
            log(run_id, params=params)

        def send_points(run_id: str, pieces: Any) -> None:
            self.batches.append(sum(len(piece) for piece in pieces))
            send(run_id, pieces)

        monkeypatch.setattr(client, "log_batch", log_batch)
        monkeypatch.setattr(metrics, "send", send_points)


@pytest.fixture
def target(tmp_path: Path) -> MlflowTarget:
    return sqlite_target(tmp_path / "store")


@pytest.fixture
def watched(target: MlflowTarget, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(target, monkeypatch)


def planned(
    target: MlflowTarget, archive: Archive, project: str, **how: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(all that `plan.json` says, its part about the target)."""
    settings = how.pop("settings", LoadSettings())
    candidate = Candidate("mlflow", target.capabilities, target)
    plan = forecast_project(archive, project, [candidate], settings, str, **how)
    found = plan_json([plan])
    return found, found["projects"][0]["targets"][0]


def losses_of(reports: list[LoadReport]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(attribute, reason, where kept) → runs, values, as the load reports them."""
    runs, values = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for report in reports:
        here = Counter[tuple[str, str, str]]()
        for loss in report.losses:
            here[loss.attribute, loss.reason, loss.kept] += loss.count
        runs.update(here.keys())
        values.update(here)
    return {name: (runs[name], values[name]) for name in runs}


def assert_as_planned(
    said: dict[str, Any], loaded: LoadPlan, reports: list[LoadReport], watched: Watched
) -> None:
    """Figures, losses, renames, multiplier and requests: all of them equal."""
    assert said["asked"]
    assert said["step_multiplier"] == loaded.mapping.step_multiplier
    assert said["runs"] == len(reports)
    for figure in ("attributes", "points", "files", "bytes"):
        assert said[figure] == sum(getattr(report, figure) for report in reports), figure
    assert {
        (loss["attribute"], loss["what"], loss["kept_exactly_in"]): (loss["runs"], loss["values"])
        for loss in said["losses"]
    } == losses_of(reports)
    assert {(r["attribute"], r["name_there"]): r["runs"] for r in said["renames"]} == Counter(
        renamed for report in reports for renamed in report.renames.items()
    )
    assert said["requests"]["points"] == len(watched.batches)
    assert said["due"] == Counter(loaded.reasons.values())
    amounts = {e["what"]: e["amount"] for e in said["estimates"]}
    assert amounts == {"points": sum(watched.batches)}


def load(
    target: MlflowTarget, archive: Archive, project: str, settings: LoadSettings | None = None
) -> tuple[LoadPlan, list[LoadReport], list[tuple[RunKey, Exception]]]:
    plan = plan_load(target, archive, project, settings)
    result = load_runs(target, archive, plan.mapping, plan.due, verify="off")
    return plan, result.loaded, list(result.failures)


def every_data_set() -> Iterator[tuple[str, datasets.DataSet]]:
    """Each in projects of its own, so that one archive holds them all."""
    for number, dataset in enumerate([*DATASETS, *NEPTUNE2_DATASETS]):
        runs = tuple(replace(run, project=f"{run.project} {number}") for run in dataset.runs)
        yield dataset.name, replace(dataset, runs=runs)


def test_every_data_set(target: MlflowTarget, watched: Watched, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "data", tmp_path / "files")
    names: dict[str, str] = {}
    for name, dataset in every_data_set():
        for run in dataset.runs:
            datasets.write_run(archive, run)
            names[run.project] = name
    assert sorted(names) == archive.projects()
    for project, name in names.items():
        everything, said = planned(target, archive, project)
        assert everything["projects"][0]["damaged"] == [], name
        loaded, reports, failures = load(target, archive, project)
        assert failures == [], name
        try:
            assert_as_planned(said, loaded, reports, watched)
        except AssertionError as error:
            raise AssertionError(f"data set {name!r}") from error
        _, after = planned(target, archive, project)
        assert (after["runs"], after["complete"], after["losses"]) == (0, len(reports), []), name
        watched.batches.clear()


@pytest.mark.parametrize("name", ADOPTED)
def test_archives_of_another_tool(target: MlflowTarget, watched: Watched, name: str) -> None:
    root = DATA / name
    archive = Archive(root / "data", root / "files", *model_roots(root))
    for project in archive.projects():
        errors = errors_files(archive, "")
        everything, said = planned(target, archive, project, errors=errors)
        view = look_for_damage(archive, project, "fail", errors)
        assert len(view.left_out) == ADOPTED[name]
        loaded, reports, failures = load(target, view.archive, project)
        assert failures == []
        assert_as_planned(said, loaded, reports, watched)
        runs = {(run["run"], run["kind"]): run for run in everything["runs"]}
        sent = {(report.key.run, report.key.kind) for report in reports}
        assert {
            key for key, run in runs.items() if run["targets"]["mlflow"] == "not there yet"
        } == sent
        assert runs.keys() - sent == {(key.run, key.kind) for key in view.left_out}
        for report in reports:
            run = runs[report.key.run, report.key.kind]
            figures = (report.attributes, report.points, report.files, report.bytes)
            assert (run["attributes"], run["points"], run["files"], run["bytes"]) == figures


def model_roots(root: Path) -> list[Path]:
    return [root / "model_data", root / "model_files"] if (root / "model_data").exists() else []


@pytest.mark.parametrize("multiplier", [1, 4, 1000])
def test_a_multiplier_of_the_user(
    target: MlflowTarget, watched: Watched, tmp_path: Path, multiplier: int
) -> None:
    """Steps that it rounds, that meet by it, and that it makes whole, in runs of one project."""
    archive = Archive(tmp_path / "data", tmp_path / "files")
    for name, steps in {
        "whole": [1_000_000, 2_000_000],
        "quarters": [250_000, 1_500_000],
        "tenths": [100_000, 300_000, 7_000_000],
        "close": [1, 2],
    }.items():
        key = RunKey(KEY.project, name)
        write_run(archive, key, points("m/a", steps, [1.0] * len(steps), at=1))
    settings = LoadSettings(step_multiplier=multiplier)
    _, said = planned(target, archive, KEY.project, settings=settings)
    loaded, reports, failures = load(target, archive, KEY.project, settings)
    assert {r["run"]: r["why"] for r in said["refused"]} == {str(k): str(e) for k, e in failures}
    refused = {key.run for key, _ in failures}
    assert refused == {1: {"tenths", "close"}, 4: {"close"}, 1000: {"close"}}[multiplier]
    taken = replace(loaded, reasons={r.key: loaded.reasons[r.key] for r in reports})
    assert_as_planned(said, taken, reports, watched)


@pytest.mark.parametrize("handling", ["fail", "leave out", "load"])
def test_damaged_runs(
    target: MlflowTarget, watched: Watched, tmp_path: Path, handling: Handling
) -> None:
    archive = Archive(tmp_path / "data", tmp_path / "files")
    rows = [row("a.bin", "file", b"12"), row("b.bin", "file", b"345"), row("n", "int", 1)]
    for name in ("whole", "harmed"):
        write_run(archive, RunKey(KEY.project, name), rows + points("m", [1], [1.0], at=1))
    run = archive.find(RunKey(KEY.project, "harmed"))
    assert run
    assert run.manifest
    (big,) = [f.path for f in run.manifest.files if f.size == 3]
    run.file(big).unlink()
    everything, said = planned(target, archive, KEY.project, handling=handling)
    ((damaged),) = everything["projects"][0]["damaged"]
    assert damaged["run"] == f"{KEY.project}|harmed"
    view = look_for_damage(archive, KEY.project, handling)
    loaded, reports, failures = load(target, view.archive, KEY.project)
    assert failures == []
    assert_as_planned(said, loaded, reports, watched)
    assert {report.key.run for report in reports} == (
        {"whole", "harmed"} if handling == "load" else {"whole"}
    )
    (line,) = (r for r in everything["runs"] if r["run"] == "harmed")
    assert (line["attributes"], line["points"], line["files"], line["bytes"]) == (4, 1, 1, 2)
    assert line["targets"]["mlflow"] == (
        "not there yet (damaged, as far as it can be read)"
        if handling == "load"
        else "damaged: left out"
    )
