"""Loads into Pluto: what its users see, what is kept beside, what settings change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.targets.loading import (
    load_runs,
    plan_load,
    verify_runs,
)
from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.naming import run_tag
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    INF,
    NAN,
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    param,
)
from migration_pipeline_tests.servers.pluto.state import PlutoAccount, Run
from migration_pipeline_tests.targets.pluto_backend import account, configuration, make, server
from migration_pipeline_tests.targets.pluto_runs import NO_MAPPING, ROWS, wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def shown(folder: Path, tmp_path: Path) -> Run:
    """The run of `ROWS` as Pluto holds it."""
    result = load_all(make(folder), build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),))))
    assert wrong(result) == []
    (run,) = account(folder).runs.values()
    return run


def test_a_run_as_its_users_see_it(shown: Run, folder: Path) -> None:
    assert (shown.name, shown.project) == ("an experiment", PROJECT)
    assert shown.external_id == f"neptune::{PROJECT}::RUN-1"
    assert (shown.status, shown.created, shown.status_updated) == ("FAILED", START, START + 1000)
    assert shown.tags == [
        "import:neptune",
        f"import_project:{PROJECT}",
        run_tag(RunKey(PROJECT, "RUN-1")),
        "group:g",
        "b",
        "a, c",
    ]
    assert (shown.system_metadata, shown.logger_settings) == (None, None)
    config = dict(shown.config or {})
    marks = config.pop("neptune")
    assert {
        name: config[name] for name in ("lr", "layers", "width", "on", "born", "odd", "names")
    } == {
        "lr": 0.1,
        "layers": "9007199254740993",
        "width": 7,
        "on": True,
        "born": "2023-11-14T22:13:20.005Z",
        "odd": "nan",
        "names": ["a", "b,c"],
    }
    assert (marks["state"], marks["verified"], marks["step_multiplier"]) == ("complete", True, 10)


def test_points_have_their_own_steps_and_times(shown: Run, folder: Path) -> None:
    rows = account(folder).of(shown.project, shown.id)
    assert {name: repr(points) for name, points in rows.points.items()} == {
        "loss": repr({5: (START + 1, 0.25), 10: (START + 2, NAN), 20: (START + 3, INF)}),
        "acc": repr({5: (START + 1, 0.5)}),
    }
    beside = _beside(account(folder), shown, "neptune/points.jsonl")
    assert [(line["attribute"], line["step"], line["value"], line["shown"]) for line in beside] == [
        ("acc", "-1", 0.75, None),
        ("acc", "0.5", 0.125, None),
    ]


def test_text_and_histograms_are_drawn_and_kept_exactly(shown: Run, folder: Path) -> None:
    rows = account(folder).of(shown.project, shown.id)
    even = {"freq": [3, 4], "bins": {"min": 0.0, "max": 2.0, "num": 2}, "shape": "uniform"}
    assert [(d["logName"], d["dataType"], d["step"], d["time"], d["data"]) for d in rows.data] == [
        ("even", "HISTOGRAM", 10, START, rows.data[0]["data"]),
        ("log", "string-series", 10, START + 4, "line ü"),
        ("log", "string-series", 20, START, "without time"),
    ]
    drawn = json.loads(rows.data[0]["data"])
    assert drawn == {**even, "type": "Histogram", "maxFreq": 4, "v": 1}
    (line,) = _beside(account(folder), shown, "series/uneven.jsonl")
    assert line["edges"] == [0.0, 1.0, 9.0]


def test_files_have_the_names_of_their_attributes(shown: Run, folder: Path) -> None:
    rows = account(folder).of(shown.project, shown.id)
    found = {(f["logName"], f["fileName"], f["step"], f["time"]) for f in rows.files}
    assert {f for f in found if f[0].startswith("files/")} == {
        ("files/f/weights.bin", "weights.bin", 0, START),
        ("files/f/images", "step_3.png", 30, START + 6),
        ("files/f/images", "step_3.5.png", 35, START + 7),
    }
    assert shown.log_names == {
        "loss": "METRIC",
        "acc": "METRIC",
        "log": "DATA",
        "even": "HISTOGRAM",
        **dict.fromkeys(
            (
                "files/f/weights.bin",
                "files/f/images",
                "neptune/files.jsonl",
                "neptune/migration.json",
                "neptune/points.jsonl",
                "series/even.jsonl",
                "series/log.jsonl",
                "series/uneven.jsonl",
            ),
            "ARTIFACT",
        ),
    }


def _beside(found: PlutoAccount, run: Run, name: str) -> list[dict[str, Any]]:
    content = found.objects[f"{run.project}/{run.id}/{name}/{Path(name).name}"]
    return [json.loads(line) for line in content.splitlines()]


def test_the_sdk_shows_what_was_loaded(shown: Run) -> None:
    """By its own read interface, with an address and a key."""
    from pluto.query import Client

    asking = Client(api_token=_key(shown), host=server().url)
    assert asking.get_run(PROJECT, shown.id)["config"]["lr"] == 0.1
    rows = asking.get_metrics(PROJECT, shown.id, ["loss"]).to_dict("records")
    assert [(row["step"], row["value"], row["valueFlag"]) for row in rows] == [
        (5, 0.25, ""),
        (10, 0, "NaN"),
        (20, 0, "Inf"),
    ]
    names = {file["fileName"] for file in asking.get_files(PROJECT, shown.id)}
    assert {"step_3.png", "weights.bin", "migration.json"} <= names


def _key(run: Run) -> str:
    return next(key for key, found in server()._accounts.items() if run in found.runs.values())


def test_a_fork_is_one_at_pluto_and_inherits_nothing(folder: Path, tmp_path: Path) -> None:
    forked, far = (param("sys/forking/step", "float", step) for step in (2.0, 99.0))
    runs = (
        RunData("root", (*curve("m", 4), param("p", "int", 1))),
        RunData("child", (forked, *floats("m", [("3", START, 9.0)])), parent="root"),
        RunData("beyond", (far, *curve("m", 2)), parent="root"),
    )
    target, archive = make(folder), build(tmp_path, DataSet("forks", runs))
    result = load_all(target, archive)
    assert wrong(result) == []
    found = {run.external_id.rpartition("::")[2]: run for run in account(folder).runs.values()}  # type: ignore[union-attr]
    assert found["child"].fork == (found["root"].id, 2)
    assert "p" not in (found["child"].config or {})
    assert found["beyond"].fork is None  # a step that the parent does not have
    facts = target.facts(RunKey(PROJECT, "beyond"), NO_MAPPING)
    assert (facts.parent, facts.fork_step) == ("root", 99.0)


def test_only_every_nth_step_is_shown_where_that_is_set(folder: Path, tmp_path: Path) -> None:
    rows = (*floats("m", [(str(i), START + i, float(i)) for i in range(7)]),)
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    target = PlutoTarget(configuration(folder, log_every=3))
    (run,) = load_all(target, archive).runs
    assert run.good
    assert account(folder).of(PROJECT, 1).points["m"].keys() == {0, 3, 6}
    assert run.report
    assert [(x.attribute, x.reason, x.count, x.kept) for x in run.report.losses] == [
        ("m", "not a multiple of 3 as step", 4, "neptune/points.jsonl")
    ]
    assert all(run.good for run in load_all(make(folder), archive).runs)


def test_files_beyond_the_cap_are_lost_by_name(folder: Path, tmp_path: Path) -> None:
    rows = tuple(Row(f"f/{i}", "file", b"%d" % i) for i in range(5))
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    target = PlutoTarget(configuration(folder, max_files_per_run=3))
    (run,) = load_all(target, archive).runs
    assert run.good
    assert run.report
    assert [(x.attribute, x.reason, x.kept) for x in run.report.losses] == [
        ("f/3", "beyond 3 files", ""),
        ("f/4", "beyond 3 files", ""),
    ]
    assert (run.report.files, run.report.bytes) == (3, 3)
    assert run.verdict
    assert run.verdict.explained == 2
    assert all(run.good for run in verify_runs(target, archive, NO_MAPPING, [run.key]).runs)


@pytest.mark.parametrize(("cap", "sent"), [(None, 5), (4, 4), (3, 3), (2, 3)])
def test_files_that_a_cap_left_out_follow_when_it_is_raised(
    folder: Path, tmp_path: Path, cap: int | None, sent: int
) -> None:
    rows = tuple(Row(f"f/{i}", "file", b"%d" % i) for i in range(5))
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    load_all(PlutoTarget(configuration(folder, max_files_per_run=3)), archive)
    target = PlutoTarget(configuration(folder, max_files_per_run=cap or 0))
    assert all(run.good for run in load_all(target, archive).runs)
    [found] = [run for run in account(folder).runs.values() if run.status == "COMPLETED"]
    files = account(folder).of(PROJECT, found.id).files
    assert sum(file["logName"].startswith("files/") for file in files) == sent


def test_sizes_of_requests_are_as_set(folder: Path, tmp_path: Path) -> None:
    rows = (*curve("m", 10), *(Row(f"f/{i}", "file", b"%d" % i) for i in range(5)))
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    settings = {"flush_every": 4, "file_chunk_size": 2, "batch_rows": 3, "project_name": "one"}
    target = PlutoTarget(configuration(folder, **settings))
    sizes: list[tuple[str, int]] = []
    send = target._to.client.send

    def counted(request: Any, **options: Any) -> Any:
        if request.url.path == "/ingest/metrics":
            sizes.append(("points", request.content.count(b"\n")))
        if request.url.path == "/files":
            sizes.append(("files", len(json.loads(request.content)["files"])))
        return send(request, **options)

    target._to.client.send = counted  # type: ignore[method-assign]
    assert all(run.good for run in load_all(target, archive).runs)
    assert sizes == [
        *(("points", n) for n in (4, 4, 2)),
        *(("files", n) for n in (2, 2, 1, 2)),
    ]
    assert {run.project for run in account(folder).runs.values()} == {"one"}


def test_several_projects_in_one_are_told_apart(folder: Path, tmp_path: Path) -> None:
    runs = tuple(RunData("RUN-1", tuple(curve("m", n)), project=f"team/{n}") for n in (2, 3))
    archive = build(tmp_path, DataSet("two", runs))
    target = PlutoTarget(configuration(folder, project_name="all"))
    for project in archive.projects():
        plan = plan_load(target, archive, project)
        assert all(r.good for r in load_runs(target, archive, plan.mapping, plan.due).runs)
    for project in archive.projects():
        assert set(target.runs(project, NO_MAPPING)) == {RunKey(project, "RUN-1")}
