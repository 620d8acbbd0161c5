"""Loads into Comet: what its users see, what is kept beside, what is asked for how often."""

from __future__ import annotations

import base64
import inspect
import json
import math
import os
import platform
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.targets.comet import capabilities, refusals
from migration_pipeline.targets.comet.capabilities import CAPABILITIES
from migration_pipeline.targets.comet.client import CometTarget
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline.targets.comet.naming import MARKS, project_name, whole_series
from migration_pipeline.targets.comet.sdk import imported
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load, verify_runs
from migration_pipeline.targets.target import LoadState, ProjectMapping
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    histogram,
    param,
    write_run,
)
from migration_pipeline_tests.servers.comet import Experiment
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets import comet_backend
from migration_pipeline_tests.targets.comet_backend import account, configuration, make, server

NO_MAPPING = ProjectMapping()
ROWS = (
    param("lr", "float", 0.1),
    param("layers", "int", 2**53 + 1),
    param("sys/tags", "string_set", ["b", "a, c", ""]),
    param("sys/group_tags", "string_set", ["g"]),
    param("sys/description", "string", "what for"),
    param("sys/owner", "string", "someone"),
    param("sys/name", "string", "an experiment"),
    param("sys/failed", "bool", True),
    *floats("loss", [("0.5", START + 1, 0.25), ("1", START + 2, math.nan), ("2", None, -0.0)]),
    Row("log", "string_series", "line", "1", START),
    Row("f/weights", "file", b"weights", extension=".bin"),
    Row("f/images", "file_series", b"png", "3", START, extension=".png"),
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))


def load(target: CometTarget, archive: Archive, **settings: Any) -> list[str]:
    plan = plan_load(target, archive, PROJECT, LoadSettings(**settings))
    result = load_runs(target, archive, plan.mapping, plan.due)
    return [str(run.error or run.verdict) for run in result.runs if not run.good]


def experiments(folder: Path) -> list[Experiment]:
    return list(account(folder).experiments.values())


def test_what_comet_shows_by_its_own_api(archive: Archive, tmp_path: Path) -> None:
    target = make(tmp_path)
    assert load(target, archive) == []
    (held,) = experiments(tmp_path)
    os.environ["COMET_URL_OVERRIDE"] = f"{server().url}/clientlib/"
    try:
        imported()
        import comet_ml

        api = comet_ml.API(api_key=account_key(tmp_path), cache=False)
        found = api.get_experiment_by_key(held.key)
        assert found is not None
        names = (found.workspace, found.project_name, found.name, found.get_state())
        assert names == ("team", "team_project", "RUN-1", "crashed")
        assert found.start_server_timestamp == START
        points = [(p["step"], p["timestamp"], p["metricValue"]) for p in found.get_metrics("loss")]
        assert points == [(5, START + 1, "0.25"), (20, START, "0.0")]
        assert found.get_parameters_summary("layers")["valueCurrent"] == str(2**53 + 1)
        assert found.get_parameters_summary("lr")["valueCurrent"] == "0.1"
        assert sorted(found.get_tags()) == ["a, c", "b"]
        others = {o["name"]: o["valueCurrent"] for o in found.get_others_summary()}
        assert others.pop("neptune/loaded_by").startswith("migration_pipeline ")
        assert others == {
            "Name": "RUN-1",
            "neptune/experiment": "an experiment",
            "neptune/description": "what for",
            "neptune/owner": "someone",
            "neptune/tags": '["b", "a, c", ""]',
            "neptune/group_tags": '["g"]',
        }
        assets = {a["fileName"]: (a["type"], a["step"]) for a in found.get_asset_list()}
        assert assets == {
            "files/f/weights.bin": ("asset", None),
            "files/f/images/step_3.png": ("asset", 30),
            "series/log.jsonl": ("asset", None),
            "neptune/files.jsonl": ("asset", None),
            "neptune/migration.json": ("asset", None),
            "neptune/points.jsonl": ("asset", None),
        }
        (page,) = (r.url for r in target.runs(PROJECT, NO_MAPPING).values())
        assert page == found.url
    finally:
        del os.environ["COMET_URL_OVERRIDE"]
    assert held.machine == []


def test_nothing_of_this_machine_is_sent(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/a-program.py", "--its-option"])
    recorder = server().recorder
    recorder.requests.clear()
    recorder.on = True
    try:
        assert load(make(tmp_path), archive) == []
        seen = [f"{r.method} {r.path}?{r.query} {r.headers} {r.body!r}" for r in recorder.requests]
    finally:
        recorder.on = False
        recorder.requests.clear()
    everything = "\n".join(seen)
    assert len(seen) > 10
    for secret in (
        socket.gethostname(),
        str(Path.cwd()),
        str(tmp_path),
        sys.executable,
        "a-program",
        "--its-option",
        platform.python_version(),
        platform.release(),
        account_key(tmp_path),
        f'"{os.getpid()}"',
    ):
        assert secret not in everything
    assert not [one for one in seen if "system-details" in one or "git" in one.split()[1]]


def test_importing_the_sdk_changes_nothing_here() -> None:
    """In a process of its own: hooks for exceptions and imports, handlers of the root logger."""
    code = (
        "import sys, logging\n"
        "before = sys.excepthook, len(logging.getLogger().handlers)\n"
        "from migration_pipeline.targets.comet.sdk import imported\n"
        "imported()\n"
        "assert (sys.excepthook, len(logging.getLogger().handlers)) == before\n"
        "assert 'CometModuleFinder' not in str(sys.meta_path), sys.meta_path\n"
        "from comet_ml import error_tracking\n"
        "assert not error_tracking.initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("reuse", [False, True])
def test_a_key_may_stay_taken_after_its_experiment_was_deleted(
    archive: Archive, tmp_path: Path, reuse: bool
) -> None:
    account(tmp_path).reuse_deleted_keys = reuse
    assert load(make(tmp_path), archive) == []
    (first,) = experiments(tmp_path)
    for value in (1, 2):  # its content changes twice
        write_run(archive, RunData("RUN-1", (*ROWS, param("new", "int", value))))
        assert load(make(tmp_path), archive) == []
        (now,) = experiments(tmp_path)
        assert (now.key == first.key) is reuse
        assert now.parameters["new"] == str(value)
    (known,) = make(tmp_path).runs(PROJECT, NO_MAPPING).values()
    assert (known.ids, known.state) == ((now.key,), LoadState.COMPLETE)
    found = make(tmp_path).find(RunKey(PROJECT, "RUN-1"), NO_MAPPING)
    assert found == known


def test_points_never_come_on_top_of_others(archive: Archive, tmp_path: Path) -> None:
    """An experiment that has the key and points, but not the marks (yet)."""
    assert load(make(tmp_path), archive) == []
    (first,) = experiments(tmp_path)
    points = {name: list(held) for name, held in first.metrics.items()}
    for mark in MARKS.values():
        first.parameters.pop(mark, None)
    assert load(make(tmp_path), archive) == []
    old, new = experiments(tmp_path)
    assert old.key != new.key
    assert (old.metrics, new.metrics) == (points, points)


def test_what_a_user_archives_is_loaded_anew(archive: Archive, tmp_path: Path) -> None:
    assert load(make(tmp_path), archive) == []
    (first,) = experiments(tmp_path)
    first.archived = True
    assert make(tmp_path).runs(PROJECT, NO_MAPPING) == {}
    assert load(make(tmp_path), archive) == []
    assert [one.archived for one in experiments(tmp_path)] == [True, False]
    assert plan_load(make(tmp_path), archive, PROJECT).due == []


def test_experiments_of_others_are_left_alone(archive: Archive, tmp_path: Path) -> None:
    held = account(tmp_path)
    held.create({"experimentKey": "f" * 32, "projectName": project_name(PROJECT, NO_MAPPING)})
    assert load(make(tmp_path), archive) == []
    assert list(make(tmp_path).runs(PROJECT, NO_MAPPING)) == [RunKey(PROJECT, "RUN-1")]
    make(tmp_path).discard(RunKey(PROJECT, "RUN-1"), NO_MAPPING)
    assert list(held.experiments) == ["f" * 32]


def test_prefixes_whose_projects_meet(archive: Archive, tmp_path: Path) -> None:
    """Both are one project at Comet, and neither takes the other's runs for its own."""
    target = make(tmp_path / "store")
    for prefix in ("a/b", "a_b"):
        plan = plan_load(target, archive, PROJECT, LoadSettings(name_prefix=prefix))
        assert plan.due
        assert not plan.complete
        assert all(run.good for run in load_runs(target, archive, plan.mapping, plan.due).runs)
    names = {one.project for one in account(tmp_path / "store").experiments.values()}
    assert names == {"a_b_team_project"}


def test_a_listing_takes_a_request_for_a_hundred_runs(tmp_path: Path) -> None:
    held, project = account(tmp_path), project_name(PROJECT, NO_MAPPING)
    for number in range(250):
        one = held.create({"experimentKey": f"{number:032x}", "projectName": project})
        marks = {"project": PROJECT, "run": f"R-{number}", "kind": "run", "state": "complete"}
        one.parameters |= {MARKS[name]: value for name, value in marks.items()}
    before = Counter(server().traffic.requests)
    found = make(tmp_path).runs(PROJECT, NO_MAPPING)
    assert {key.run for key in found} == {f"R-{number}" for number in range(250)}
    assert Counter(server().traffic.requests) - before == {
        "GET /api/rest/v2/projects": 1,
        "GET /api/rest/v2/experiments": 1,
        "POST /api/rest/v2/experiments/multi-metric-chart": 3,
    }


def test_many_runs_are_loaded_with_one_listing(tmp_path: Path) -> None:
    runs = tuple(RunData(f"R-{i}", tuple(curve("m", 2))) for i in range(5))
    archive, target = build(tmp_path, DataSet("five", runs)), make(tmp_path)
    before = Counter(server().traffic.requests)
    assert load(target, archive) == []
    asked = Counter(server().traffic.requests) - before
    # By the plan and by the load.
    assert asked["GET /api/rest/v2/experiments"] <= 2
    assert asked["POST /clientlib/logger/add/run"] == 5


def test_histograms_are_drawn(tmp_path: Path) -> None:
    """In Comet's own bins: 2 between 0 and 2, 3 between 2 and 4; densities as a thousand."""
    rows = [
        Row("h/counts", "histogram_series", histogram("COUNTING", [0, 2, 4], [2, 3]), str(i), START)
        for i in range(250)
    ]
    rows += [
        Row("h/density", "histogram_series", histogram("DENSITY", [-1, 0, 3], [0.25, 0.25]), "0.5"),
        Row("h/open", "histogram_series", histogram("COUNTING", [0, math.inf], [1]), "1"),
        Row("h/none", "histogram_series", histogram("COUNTING", [0, 1], [0]), "1"),
        *floats("m", [("0.5", START, 1.0)]),  # so that steps are multiplied by ten
    ]
    archive = build(tmp_path, DataSet("histograms", (RunData("H", tuple(rows)),)))
    assert load(make(tmp_path), archive) == []
    (held,) = experiments(tmp_path)
    drawn = [asset for asset in held.assets.values() if asset.type == "histogram3d"]
    steps = {name: [a.step for a in drawn if a.name == name] for name in ("h/counts", "h/density")}
    assert steps == {"h/counts": [10 * i for i in range(0, 250, 3)], "h/density": [5]}
    assert len(drawn) == 85

    def bins(name: str) -> list[tuple[float, float, int]]:
        content = json.loads(next(a.content for a in drawn if a.name == name))
        edges = imported().Histogram().values
        return [(edges[i], edges[i + 1], n) for i, n in content["index_values"]]

    (one, two), (low, high) = bins("h/counts"), bins("h/density")
    assert one[0] <= 1 <= one[1] <= two[0] <= 3 <= two[1]
    assert (one[2], two[2]) == (2, 3)
    assert low[0] <= -0.5 <= low[1] <= high[0] <= 1.5 <= high[1]
    assert (low[2], high[2]) == (250, 750)


def test_more_histograms_than_comet_takes(tmp_path: Path) -> None:
    """Those for looking are left out; the exact ones are there."""
    account(tmp_path).histograms_per_experiment = 3
    rows = [
        Row("h", "histogram_series", histogram("COUNTING", [0, 1], [1]), str(i), START)
        for i in range(5)
    ]
    archive = build(tmp_path, DataSet("histograms", (RunData("H", tuple(rows)),)))
    assert load(make(tmp_path), archive) == []
    (held,) = experiments(tmp_path)
    assert Counter(a.type for a in held.assets.values())["histogram3d"] == 3


# --- series of which Comet keeps a sample -------------------------------------------------------


@pytest.fixture
def long(tmp_path: Path) -> tuple[Archive, CometTarget, Experiment]:
    """A run with one series that is too long, and one that is not."""
    points = [(str(i), START + i, i % 1000 / 7) for i in range(16_000)]
    points[100] = ("100", START + 100, math.inf)
    points[200] = ("200", None, 1.0)
    rows = (*floats("long", points), *curve("short", 10))
    archive, target = build(tmp_path, DataSet("long", (RunData("LONG", rows),))), make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    (run,) = load_runs(target, archive, plan.mapping, plan.due).runs
    assert run.good, run.error or run.verdict
    assert run.report is not None
    losses = {(loss.attribute, loss.reason): loss.count for loss in run.report.losses}
    assert losses["long", "sampled to 15,000 points"] == 1000
    return archive, target, experiments(tmp_path)[0]


def verdict(long: tuple[Archive, CometTarget, Experiment]) -> list[tuple[str, str]]:
    archive, target, _ = long
    (run,) = verify_runs(target, archive, NO_MAPPING, [RunKey(PROJECT, "LONG")]).runs
    assert run.verdict is not None, run.error
    return [(found.kind, found.attribute) for found in run.verdict.findings]


def test_a_long_series_comes_back_whole(long: tuple[Archive, CometTarget, Experiment]) -> None:
    *_, held = long
    names = {asset.name for asset in held.assets.values()}
    assert whole_series("long") in names
    assert whole_series("short") not in names
    assert len(held.metrics["long"]) == 15_999
    assert verdict(long) == []


def test_a_point_that_comet_shows_otherwise_is_found(
    long: tuple[Archive, CometTarget, Experiment],
) -> None:
    *_, held = long
    value, step, time, epoch, context = held.metrics["long"][0]
    held.metrics["long"][0] = (value + 1, step, time, epoch, context)
    assert verdict(long) == [("differing", "long")]


def test_a_long_series_of_which_comet_shows_nothing_is_not_there(
    long: tuple[Archive, CometTarget, Experiment],
) -> None:
    *_, held = long
    del held.metrics["long"]
    assert [attribute for _, attribute in verdict(long)] == ["long"]


def test_a_long_series_of_which_comet_shows_little_is_not_there(
    long: tuple[Archive, CometTarget, Experiment],
) -> None:
    """Batches that got lost there are not made good by the file beside."""
    *_, held = long
    del held.metrics["long"][5000:]
    assert [attribute for _, attribute in verdict(long)] == ["long"]


def test_points_of_a_long_series_that_are_there_twice_are_found(
    long: tuple[Archive, CometTarget, Experiment],
) -> None:
    *_, held = long
    held.metrics["long"][1:1] = held.metrics["long"][:1]
    assert [attribute for _, attribute in verdict(long)] == ["long"]


# --- settings and the SDK -----------------------------------------------------------------------


def test_what_is_called_has_the_installed_signatures() -> None:
    sdk = imported()
    bind = inspect.signature
    bind(sdk.get_rest_api_client).bind(
        "v2", server_address="a", api_key="k", use_cache=False, check_version=False
    )
    bind(sdk.send_file).bind("url", "file", {}, {}, 1.0, None)
    bind(sdk.get_config).bind()
    bind(sdk.Histogram.get_bin_index).bind(None, 0.5)
    for name in ("add_run_url", "metrics_batch_url", "parameters_batch_url"):
        bind(getattr(sdk.urls, name)).bind("http://host/clientlib/")
    from comet_ml.connection.connection_api import LowLevelHTTPClient

    bind(LowLevelHTTPClient.get).bind(None, "url", params={}, retry=False, timeout=1.0, stream=True)
    bind(LowLevelHTTPClient.post).bind(None, "url", {}, retry=False, timeout=1.0)


def test_limits_are_those_of_the_installed_sdk() -> None:
    from comet_ml import exceptions
    from comet_ml.config import DEFAULT_RETRY_AFTER_SECONDS, config_constants
    from comet_ml.config.config_constants import MESSAGE_BATCH_METRIC_MAX_BATCH_SIZE

    from migration_pipeline.targets.comet import connection

    assert CAPABILITIES.key_max_length == config_constants.MAXIMAL_KEY_LENGTH
    assert CAPABILITIES.parameter_max_length == config_constants.MAXIMAL_VALUE_LENGTH
    assert CAPABILITIES.points_per_request == MESSAGE_BATCH_METRIC_MAX_BATCH_SIZE
    assert connection._WAIT_UNSAID == DEFAULT_RETRY_AFTER_SECONDS
    assert (refusals._BAD_KEY, refusals._NO_WORKSPACE, refusals._NO_ACCESS) == (
        exceptions.API_KEY_NOT_REGISTERED,
        exceptions.NON_EXISTING_TEAM,
        exceptions.NO_WRITE_ACCESS_TO_EXPERIMENT,
    )
    assert (refusals._VIEW_ONLY, refusals._PROJECT_FULL, refusals._FOR_LLM) == (
        exceptions.VIEW_ONLY_PERMISSIONS,
        exceptions.MAX_EXPERIMENTS_NUMBER_REACHED,
        exceptions.PROJECT_CONSIDERED_LLM,
    )
    assert refusals._SERVICE_ACCOUNT == exceptions.SERVICE_ACCOUNT_WORKSPACE_RESTRICTED
    assert capabilities.EXPERIMENTS_PER_QUESTION <= 100


@pytest.mark.parametrize(
    ("settings", "paces"),
    [
        ({}, {"metric": 12_000, "parameter": 10_000, "other": 8_000}),
        ({"url": "https://comet.example.com/clientlib/"}, {}),
        ({"url": "https://notcomet.com/clientlib/"}, {}),
        (
            {"url": "https://eu.comet.com/clientlib/"},
            {"metric": 12_000, "parameter": 10_000, "other": 8_000},
        ),
        ({"values_per_minute": 0}, {}),
        (
            {"values_per_minute": 600, "url": "https://comet.example.com"},
            {"metric": 600, "parameter": 500, "other": 400},
        ),
    ],
    ids=str,
)
def test_paces(settings: dict[str, Any], paces: dict[str, int]) -> None:
    config = CometConfig(api_key="k", **settings)
    assert config.paces == paces
    can = CometTarget(config).capabilities
    assert [rate.count for rate in can.rates] == list(paces.values())
    assert can.points_per_request == min(1000, paces.get("metric", 1000))


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "COMET_API_KEY": "k",
        "COMET_WORKSPACE": "w",
        "COMET_URL_OVERRIDE": "https://comet.example.com:8443/clientlib/",
        "MIGRATION_COMET_VALUES_PER_MINUTE": "0",
        "MIGRATION_COMET_POINTS_PER_REQUEST": "5000",
    }.items():
        monkeypatch.setenv(name, value)
    config = CometConfig.from_environment()
    assert (config.root, config.workspace) == ("https://comet.example.com:8443", "w")
    assert (config.paces, CometTarget(config).capabilities.points_per_request) == ({}, 5000)
    monkeypatch.setenv("COMET_URL_OVERRIDE", "")
    assert CometConfig.from_environment().root == "https://www.comet.com"
    # Keys of a Comet of one's own carry its address.
    held = base64.b64encode(json.dumps({"baseUrl": "https://own.example/"}).encode()).decode()
    assert CometConfig(api_key=f"k*{held}").root == "https://own.example"
    assert CometConfig(api_key=f"k*{held}", url="https://other.example").root == (
        "https://other.example"
    )


def test_the_default_workspace_is_asked_for(archive: Archive, tmp_path: Path) -> None:
    account(tmp_path).workspaces = ["mine", "team"]
    target = CometTarget(configuration(tmp_path, workspace=""))
    assert load(target, archive) == []
    assert [one.workspace for one in experiments(tmp_path)] == ["mine"]


@pytest.mark.parametrize(
    ("project", "prefix", "name"),
    [
        ("team/project", "", "team_project"),
        ("team/project", "pre", "pre_team_project"),
        ("my-team/a.b", "", "my-team_a.b"),
    ],
)
def test_names_of_projects(project: str, prefix: str, name: str) -> None:
    assert project_name(project, ProjectMapping(name_prefix=prefix)) == name


def test_names_of_projects_that_cannot_be(tmp_path: Path) -> None:
    names = {project_name(p, NO_MAPPING) for p in ("a/é", "a/ü", f"a/{'x' * 200}")}
    assert len(names) == 3
    assert all(len(name) < 100 and name.isascii() for name in names)


@pytest.fixture(autouse=True)
def _forgotten(tmp_path: Path) -> Iterator[None]:
    yield
    comet_backend.server().forget(account_key(tmp_path))
