"""What goes over the wire to Pluto: bodies, names, what the installed SDK has, nothing of this
machine.
"""

from __future__ import annotations

import getpass
import inspect
import json
import os
import platform
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import RunFacts
from migration_pipeline.targets.loading import (
    LoadSettings,
    plan_load,
)
from migration_pipeline.targets.pluto.client import PlutoTarget
from migration_pipeline.targets.pluto.config import PlutoConfig
from migration_pipeline.targets.pluto.naming import external_id, project_name, tags_of
from migration_pipeline.targets.pluto.sending import histogram, metric_lines
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.target import ProjectMapping
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
    param,
)
from migration_pipeline_tests.targets.pluto_backend import account, make, server
from migration_pipeline_tests.targets.pluto_runs import NO_MAPPING, ROWS, wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_series_that_share_steps_and_times_share_lines() -> None:
    steps, times = np.array([1, 2]), np.array([10, 20])
    a = Piece('a "%"', steps, times, np.array([0.1, NAN]))
    b = Piece("b", steps, times, np.array([INF, -INF]))
    c = Piece("c", np.array([2]), np.array([21]), np.array([1e300]))
    assert [json.loads(line) for line in metric_lines([a, c, b]).splitlines()] == [
        {"time": 10, "step": 1, "data": {'a "%"': 0.1, "b": "Infinity"}},
        {"time": 20, "step": 2, "data": {'a "%"': "NaN", "b": "-Infinity"}},
        {"time": 21, "step": 2, "data": {"c": 1e300}},
    ]


@pytest.mark.parametrize(
    "line",
    [
        {"type": "DENSITY", "edges": [0.0, 1.0], "values": [1.0]},
        {"type": "COUNTING", "edges": [0.0, 1.0, 3.0], "values": [1.0, 1.0]},
        {"type": "COUNTING", "edges": ["-inf", 1.0], "values": [1.0]},
        {"type": "COUNTING", "edges": [0.0, 1.0], "values": [1.5]},
        {"type": "COUNTING", "edges": [0.0, 1.0], "values": [-1.0]},
        {"type": "COUNTING", "edges": [0.0, 0.0], "values": [1.0]},
        {"type": "COUNTING", "edges": [], "values": []},
        {"value": None},
    ],
    ids=str,
)
def test_histograms_that_pluto_cannot_draw_are_not_sent(line: dict[str, Any]) -> None:
    """One of them would make its whole panel fail."""
    assert histogram(line) is None


def test_names_of_projects_and_ids() -> None:
    key = RunKey(PROJECT, "RUN-1")
    assert external_id(key, 1) == f"neptune::{PROJECT}::RUN-1"
    assert external_id(RunKey(PROJECT, "RUN-1", "model"), 1) == f"neptune%model::{PROJECT}::RUN-1"
    assert len(external_id(RunKey(PROJECT, "x" * 300), 1)) == 255
    longs = {external_id(RunKey(PROJECT, "x" * 300 + end), 1) for end in "ab"}
    assert len(longs) == 2
    assert len({external_id(RunKey(*pair), 1) for pair in (("a::b", "c"), ("a", "b::c"))}) == 2
    assert project_name("team/projekt", NO_MAPPING) == "team/projekt"
    assert project_name("team/projekt", ProjectMapping(name_prefix="p")) == "p/team/projekt"
    both = {project_name(f"team/{name}", NO_MAPPING) for name in ("é", "è", "-")}
    assert len(both) == 3
    assert all(name.isascii() for name in both)


def test_ids_of_projects_that_end_where_runs_begin() -> None:
    one, other = RunKey("team/a:", "x"), RunKey("team/a", ":x")
    assert external_id(one, 1) != external_id(other, 1)


@pytest.mark.parametrize("path", ["a\0b", " ", "__proto__", "x" * 2000])
def test_text_is_shown_whatever_it_is_called(folder: Path, tmp_path: Path, path: str) -> None:
    rows = (Row(path, "string_series", "line", "1", START), *curve("m", 2))
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    result = load_all(make(folder), archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    [line] = account(folder).of(PROJECT, 1).data
    assert line["logName"].strip()


def test_no_more_tags_than_pluto_takes() -> None:
    facts = RunFacts("r", tags=tuple(f"t{i}" for i in range(80)), group_tags=("a", "b"))
    found = tags_of(RunKey(PROJECT, "r"), facts)
    assert len(found) == 50
    assert not any(tag.startswith("group:") for tag in found)


def test_bodies_have_the_fields_that_the_sdk_sends(folder: Path, tmp_path: Path) -> None:
    """What is sent is a part of what `pluto.api` makes, but for what a file never has there."""
    from pluto import api
    from pluto.sets import Settings

    settings = Settings()
    settings._fork_run_id, settings._fork_step, settings._inherit_config = 1, 2, False
    settings._op_id, settings._external_id = 1, "x"
    settings.update_host()
    known = {
        "/api/runs/create": api.make_compat_start_v1({}, settings, {}, ["t"]),
        "/api/runs/status/update": api.make_compat_status_v1(settings),
        "/api/runs/tags/update": api.make_compat_update_tags_v1(settings, []),
        "/api/runs/config/update": api.make_compat_update_config_v1(settings, {"a": 1}),
        "/api/runs/logName/add": api.make_compat_meta_v1(["a"], "num", settings),
    }
    known = {path: set(json.loads(body)) for path, body in known.items()}
    known["/ingest/metrics"] = set(json.loads(api.make_compat_num_v1({"m": 1.0}, 1, 1)))
    known["/ingest/data"] = {"time", "data", "dataType", "logName", "step"}
    known["/api/runs/resume"] = {"runId"}
    fork = (param("sys/forking/step", "float", 1.0), *curve("m", 2))
    runs = (RunData("root", ROWS), RunData("child", fork, parent="root"))
    seen = Counter[str]()
    for request in _recorded(folder, tmp_path, runs):
        path = request.path
        if path in known:
            for line in request.body.splitlines():
                assert set(json.loads(line)) <= known[path], path
            seen[path] += 1
    assert set(seen) == set(known) - {"/api/runs/resume", "/api/runs/tags/update"}


def test_the_installed_sdk_has_what_is_used() -> None:
    from pluto import query
    from pluto.sets import Settings

    inspect.signature(query._resolve_api_token).bind()
    inspect.signature(Settings.update_host).bind(Settings())
    inspect.signature(Settings.update_url).bind(Settings())
    settings = Settings()
    settings.update_host()
    for name in ("login", "num", "data", "file"):
        assert getattr(settings, f"url_{name}").startswith("https://")
    assert settings.url_start == f"{settings.url_api}/api/runs/create"
    assert settings.url_stop == f"{settings.url_api}/api/runs/status/update"
    assert settings.url_meta == f"{settings.url_api}/api/runs/logName/add"
    assert settings.url_update_config == f"{settings.url_api}/api/runs/config/update"
    assert settings.url_update_tags == f"{settings.url_api}/api/runs/tags/update"
    assert settings.url_resume == f"{settings.url_api}/api/runs/resume"


def test_addresses_are_pluto_s_own_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUTO_API_KEY", "a key")
    target = PlutoTarget(PlutoConfig.from_environment())
    assert target.address == "https://pluto.trainy.ai"
    settings = target._to.settings
    assert (settings.url_api, settings.url_ingest, settings._auth) == (
        "https://pluto-api.trainy.ai",
        "https://pluto-ingest.trainy.ai",
        "a key",
    )


def _recorded(folder: Path, tmp_path: Path, runs: tuple[RunData, ...]) -> list[Any]:
    archive = build(tmp_path, DataSet("recorded", runs))
    recorder = server().recorder
    recorder.requests.clear()
    recorder.on = True
    try:
        result = load_all(make(folder), archive)
    finally:
        recorder.on = False
    assert wrong(result) == []
    return [r for r in recorder.requests if not r.path.startswith("/_/")]


@pytest.fixture
def commit() -> str:
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def test_nothing_of_the_loading_machine_is_sent(folder: Path, tmp_path: Path, commit: str) -> None:
    requests = _recorded(folder, tmp_path, (RunData("RUN-1", ROWS),))
    sent = "\n".join(
        f"{r.path}?{r.query} {r.headers} {r.body.decode(errors='replace')}" for r in requests
    )
    for what, text in {
        "host": socket.gethostname(),
        "folder": str(Path.cwd()),
        "archive": str(tmp_path),
        "program": sys.executable,
        "commit": commit,
        "system": platform.platform(),
        "python": platform.python_version(),
    }.items():
        assert not text or text not in sent, what
    if (user := getpass.getuser()) not in ("root", "user"):
        assert user not in sent
    assert not [
        name for name in ("systemMetadata", "loggerSettings", "/logs", "trigger") if name in sent
    ]
    assert f'"{os.getpid()}"' not in sent
    by_path = Counter(r.path for r in requests)
    assert by_path["/ingest/metrics"] == 1
    assert set(by_path) <= {
        "/api/slug",
        *(f"/api/runs/{name}" for name in ("list", "create", "details/1", "metrics", "files")),
        *(f"/api/runs/{name}/update" for name in ("config", "status")),
        *("/api/runs/logName/add", "/ingest/metrics", "/ingest/data", "/files"),
        *(path for path in by_path if path.startswith("/bucket/")),
    }


def test_a_complete_run_is_listed_and_nothing_more(folder: Path, tmp_path: Path) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))
    load_all(make(folder), archive)
    target = make(folder)
    recorder = server().recorder
    recorder.requests.clear()
    recorder.on = True
    try:
        plan = plan_load(target, archive, PROJECT, LoadSettings())
    finally:
        recorder.on = False
    assert plan.due == []
    assert {r.path for r in recorder.requests} == {"/api/runs/list"}
