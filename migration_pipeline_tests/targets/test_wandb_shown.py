"""What W&B gets and shows of a run, by the mapping of the README, and to whom nothing goes."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.wandb import server
from migration_pipeline.targets.wandb.naming import attempt_id, attempt_of, run_key, tags_of
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
    floats,
    histogram,
    param,
    write_run,
)
from migration_pipeline_tests.servers.standin import Recorded, account_key
from migration_pipeline_tests.servers.wandb import lines_of
from migration_pipeline_tests.servers.wandb.runs import Run
from migration_pipeline_tests.targets import wandb_backend

KEY = RunKey(PROJECT, "RUN-1")
NO_MAPPING = ProjectMapping()
ROWS = (
    param("sys/name", "string", "an experiment"),
    param("sys/description", "string", "what it was for"),
    param("sys/id", "string", "PRO-1"),
    param("sys/owner", "string", "somebody"),
    param("sys/failed", "bool", True),
    param("sys/tags", "string_set", ["a, b", "t" * 100]),
    param("sys/group_tags", "string_set", ["g"]),
    param("lr", "float", 0.125),
    param("big", "int", 2**53 + 1),
    param("layers", "int", 3),
    param("odd", "float", NAN),
    *floats("train/loss", [("0", START, 1.0), ("0.5", START + 5, NAN), ("1", START + 9, INF)]),
    *floats("train/acc", [("0", START, 0.5), ("1", START + 9, 0.75), ("0.5", START + 5, 2.0)]),
    Row("h", "histogram_series", histogram("COUNTING", [0.0, 1.0, 3.0], [2.0, 5.0]), "1", START),
    Row("h", "histogram_series", histogram("DENSITY", [0.0, INF], [1.0]), "2", START),
    Row("log", "string_series", "a line", "1", START),
    Row("model", "file", b"weights", extension=".bin"),
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData(KEY.run, ROWS),)))


@pytest.fixture
def sent(tmp_path: Path, archive: Archive) -> Iterator[list[Recorded]]:
    """All requests of one load and its read-back."""
    recorder = wandb_backend.server().recorder
    recorder.on = True
    try:
        assert [str(r.error or r.verdict) for r in loaded(tmp_path, archive) if not r.good] == []
        yield list(recorder.requests)
    finally:
        recorder.on = False
        recorder.requests.clear()


def loaded(folder: Path, archive: Archive) -> list[Any]:
    return load_all(wandb_backend.make(folder), archive).runs


def shown(folder: Path) -> Run:
    (project,) = wandb_backend.account(folder).projects.values()
    (run,) = project.of.values()
    return run


def config_of(run: Run) -> dict[str, Any]:
    return {name: one["value"] for name, one in json.loads(run.config).items()}


def test_what_is_shown_of_a_run(tmp_path: Path, sent: list[Recorded]) -> None:
    run = shown(tmp_path)
    assert re.fullmatch(r"RUN-1-[0-9a-f]{16}", run.name)
    assert (run.project.name, run.displayName, run.group) == (
        "team_project",
        "RUN-1",
        "an experiment",
    )
    assert (run.jobType, run.notes, run.state) == ("run", "what it was for", "failed")
    assert run.tags == ["a, b", *tags_of(["t" * 100])]
    assert len(run.tags[1]) == 64
    config = config_of(run)
    assert (config["lr"], config["layers"], config["big"]) == (0.125, 3, str(2**53 + 1))
    assert (config["odd"], config["sys/failed"]) == ("nan", True)
    mark = config["neptune"]
    assert (mark["state"], mark["verified"], mark["run"]) == ("complete", True, "RUN-1")
    assert (mark["created"], mark["ended"]) == (
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:21.000Z",
    )
    assert (mark["owner"], mark["sys_id"], mark["group_tags"]) == ("somebody", "PRO-1", ["g"])
    assert config["neptune_run_key"] == run.name


def test_rows_have_the_step_as_a_metric_and_their_own_times(
    tmp_path: Path, sent: list[Recorded]
) -> None:
    rows = lines_of(shown(tmp_path))
    base = START / 1000
    cell = {"_type": "histogram", "values": [2.0, 5.0], "bins": [0.0, 1.0, 3.0]}
    assert str(rows) == str(
        [
            {"_step": 0, "_timestamp": base, "neptune_step": 1.0, "h": cell},
            {
                "_step": 1,
                "_timestamp": base,
                "neptune_step": 0.0,
                "train/loss": 1.0,
                "train/acc": 0.5,
            },
            {
                "_step": 2,
                "_timestamp": base + 0.005,
                "neptune_step": 0.5,
                "train/loss": NAN,
                "train/acc": 2.0,
            },
            {
                "_step": 3,
                "_timestamp": base + 0.009,
                "neptune_step": 1.0,
                "train/loss": INF,
                "train/acc": 0.75,
            },
        ]
    )
    summary = json.loads(shown(tmp_path).summaryMetrics)
    assert summary == {
        "train/loss": INF,
        "train/acc": 0.75,
        "neptune_step": 1.0,
        "_timestamp": base + 0.009,
        "_step": 3,
        "_runtime": 1.0,
    }


def test_charts_have_the_steps_as_their_axis(tmp_path: Path, sent: list[Recorded]) -> None:
    """As wandb-core encodes `define_metric`: 1 is the name, 5 the place of the step metric."""
    metrics = config_of(shown(tmp_path))["_wandb"]["m"]
    assert [(m["1"], m.get("5")) for m in metrics] == [
        ("neptune_step", None),
        ("train/acc", 1),
        ("train/loss", 1),
    ]


def test_files(tmp_path: Path, sent: list[Recorded]) -> None:
    files = {file.name: file.content for file in shown(tmp_path).shown_files}
    assert files.pop("files/model.bin") == b"weights"
    assert b"a line" in (files.pop("series/log.jsonl") or b"")
    assert {re.sub(r"[0-9a-f]{16}", "*", name) for name in files} == {
        "neptune/files.jsonl",
        "neptune/histograms/*.jsonl",
        "neptune/migration.json",
    }


def test_nothing_of_this_machine_is_sent(sent: list[Recorded]) -> None:
    mine = {
        socket.gethostname(),
        getpass.getuser(),
        os.getcwd(),
        sys.executable,
        str(Path.home()),
        subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
    } - {"", "root", "/root", "localhost"}
    pid = re.compile(rf"(?<![0-9a-f.]){os.getpid()}(?![0-9a-f])")
    assert len(sent) > 10
    for request in sent:
        text = f"{request.path} {request.query} {request.headers} " + request.body.decode()
        headers = {k: v for k, v in request.headers.items() if k != "host"}
        assert not [word for word in mine if word in text], request.path
        assert not pid.search(request.body.decode()), request.path
        assert headers["user-agent"].startswith("migration_pipeline ")
    upserts = [r.json["variables"] for r in sent if b"mutation UpsertBucket" in r.body]
    named = {name for one in upserts for name in one}
    assert not named & {"host", "program", "repo", "commit", "sweep"}


def test_pages_with_both_bounds_and_both_forms_of_numbers_are_read(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new servers: `maxStep` within or not, NaN as text or bare; runs, rows and files page
    by page."""
    rules = wandb_backend.account(tmp_path).rules
    write_run(archive, RunData("RUN-2", ROWS[:3]))
    write_run(archive, RunData("RUN-3", ROWS[:3]))
    monkeypatch.setattr(server, "HISTORY_PAGE", 3)
    monkeypatch.setattr(server, "LIST_PAGE", 2)
    assert [run.good for run in loaded(tmp_path, archive)] == [True] * 3
    for rules.max_step_inclusive in (True, False):
        for rules.numbers_as_text in (True, False):
            target = wandb_backend.make(tmp_path)
            plan = plan_load(target, archive, PROJECT)
            result = load_runs(target, archive, plan.mapping, plan.complete, verify="all")
            assert [run.good for run in result.runs] == [True] * 3


def test_a_history_that_was_changed_is_found(tmp_path: Path, archive: Archive) -> None:
    """Of a histogram as well, whose exact form lies beside."""
    loaded(tmp_path, archive)
    run = shown(tmp_path)
    run.lines[0] = run.lines[0].replace("5.0", "6.0")
    run.lines[3] = run.lines[3].replace("0.75", "0.7")
    target = wandb_backend.make(tmp_path)
    result = load_runs(target, archive, NO_MAPPING, [KEY], verify="all")
    verdict = result.runs[0].verdict
    assert verdict
    assert [(f.kind, f.attribute) for f in verdict.findings] == [
        ("differing", "h"),
        ("differing", "train/acc"),
    ]


def test_runs_of_two_projects_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """`a/b_c` and `a_b/c` are one project at W&B."""
    archive = Archive(tmp_path / "data", tmp_path / "files")
    for project in ("a/b_c", "a_b/c"):
        write_run(archive, RunData("r", (param("p", "string", project),), project=project))
    target = wandb_backend.make(tmp_path)
    for project in ("a/b_c", "a_b/c"):
        plan = plan_load(target, archive, project)
        assert [r.good for r in load_runs(target, archive, plan.mapping, plan.due).runs] == [True]
        assert list(target.runs(project, NO_MAPPING)) == [RunKey(project, "r")]
    assert list(wandb_backend.account(tmp_path).projects) == ["a_b_c"]


def test_a_long_row_is_cut_before_w_and_b_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migration_pipeline.targets.wandb import rows, sending

    monkeypatch.setattr(rows, "POINTS_OF_A_ROW", 3)
    monkeypatch.setattr(sending, "REQUEST_BYTES", 200)
    wide = [row for i in range(8) for row in floats(f"m/{i}", [("1", START, float(i))])]
    archive = build(tmp_path, DataSet("wide", (RunData("RUN-1", tuple(wide)),)))
    assert [run.good for run in loaded(tmp_path, archive)] == [True]
    assert [len(row) - 3 for row in lines_of(shown(tmp_path))] == [3, 3, 2]


def test_rows_and_requests_are_measured_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long names, and such of letters with several bytes."""
    from migration_pipeline.targets.wandb import rows, sending

    monkeypatch.setattr(rows, "ROW_BYTES", 1000)
    monkeypatch.setattr(sending, "REQUEST_BYTES", 2000)
    names = [f"{i}/{'ж' * 100}" for i in range(8)]
    wide = [row for step in "12" for name in names for row in floats(name, [(step, START, 1.0)])]
    archive = build(tmp_path, DataSet("wide", (RunData("RUN-1", tuple(wide)),)))
    recorder = wandb_backend.server().recorder
    recorder.on = True
    try:
        assert [run.good for run in loaded(tmp_path, archive)] == [True]
        files = [one.json["files"] for one in recorder.of("file_stream")]
    finally:
        recorder.on = False
        recorder.requests.clear()
    named = "wandb-history.jsonl"
    history = [one[named]["content"] for one in files if named in one]
    assert [len(lines) for lines in history] == [2, 2]
    assert all(len(line.encode()) <= 1000 for lines in history for line in lines)


def test_ids_of_attempts() -> None:
    base = run_key(KEY, NO_MAPPING)
    assert [attempt_of(base, attempt_id(base, n)) for n in (1, 2, 30)] == [1, 2, 30]
    assert attempt_of(base, f"{base}x") == attempt_of(base, f"{base}-x") == 0
    others = {
        run_key(RunKey(project, run, kind), ProjectMapping(name_prefix=prefix))
        for project, run, kind, prefix in (
            (PROJECT, "RUN-1", "run", ""),
            (PROJECT, "RUN-1", "model", ""),
            ("team/other", "RUN-1", "run", ""),
            (PROJECT, "RUN-1", "run", "p"),
            (PROJECT, "RUN/1", "run", ""),
            (PROJECT, "RUN?1", "run", ""),
        )
    }
    assert len(others) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one) for one in others)


def test_forks_are_told_of_their_parents(tmp_path: Path) -> None:
    """In whichever order they come."""
    rows = (param("sys/forking/step", "float", 3.0), *floats("m", [("1", START, 1.0)]))
    runs = (RunData("parent", ROWS[-1:]), RunData("child", rows, parent="parent"))
    archive = build(tmp_path, DataSet("fork", runs))
    target = wandb_backend.make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    for name in ("child", "parent"):
        keys = [key for key in plan.due if key.run == name]
        assert all(r.good for r in load_runs(target, archive, plan.mapping, keys).runs)
    (project,) = wandb_backend.account(tmp_path).projects.values()
    by_name = {run.displayName: run for run in project.of.values()}
    mark = config_of(by_name["child"])["neptune"]
    assert (mark["forked_from"], mark["fork_step"]) == ("parent", 3.0)
    assert mark["parent_run"] == by_name["parent"].name


FORKS = DataSet(
    "forks",
    (
        RunData("parent", tuple(floats("m", [(f"{i}.5", START + i, float(i)) for i in range(9)]))),
        RunData(
            "child",
            (
                param("sys/forking/step", "float", 4.5),
                *floats("m", [("5.5", START + 50, 50.0), ("6.5", START + 60, 60.0)]),
                Row("file", "file", b"of the child"),
            ),
            parent="parent",
        ),
        RunData(
            "grandchild",
            (
                param("sys/forking/step", "float", 5.5),
                *floats("m", [("9", START + 90, 90.0)]),
            ),
            parent="child",
        ),
    ),
)


def test_forks_that_the_server_has(tmp_path: Path) -> None:
    """A fork is shown with its parent's points up to the fork; read back are its own."""
    wandb_backend.account(tmp_path).rules.forks = True
    target, archive = wandb_backend.make(tmp_path, forks="native"), build(tmp_path, FORKS)
    assert target.capabilities.forks == "native"
    assert [str(r.error or r.verdict) for r in load_all(target, archive).runs if not r.good] == []
    (project,) = wandb_backend.account(tmp_path).projects.values()
    by_name = {run.displayName: run for run in project.of.values()}
    values = {
        name: [json.loads(line)["m"] for _, line in run.rows] for name, run in by_name.items()
    }
    assert values == {
        "parent": [float(i) for i in range(9)],
        "child": [0.0, 1.0, 2.0, 3.0, 4.0, 50.0, 60.0],
        "grandchild": [0.0, 1.0, 2.0, 3.0, 4.0, 50.0, 90.0],
    }
    assert [step for step, _ in by_name["grandchild"].rows] == list(range(7))
    assert plan_load(target, archive, PROJECT).due == []


def test_forks_where_the_server_refuses_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, archive = wandb_backend.make(tmp_path, forks="native"), build(tmp_path, FORKS)
    assert [str(r.error or r.verdict) for r in load_all(target, archive).runs if not r.good] == []
    assert "forking runs is not available" in caplog.text
    (project,) = wandb_backend.account(tmp_path).projects.values()
    by_name = {run.displayName: run for run in project.of.values()}
    mark = config_of(by_name["child"])["neptune"]
    assert (mark["parent_run"], by_name["child"].parent) == (by_name["parent"].name, None)


def test_the_account_is_asked_for_its_entity_once(tmp_path: Path, sent: list[Recorded]) -> None:
    assert sum(b"query Viewer" in one.body for one in sent) <= 2
    assert account_key(tmp_path) not in str(sent)
