"""The stand-in for Comet: its rules refuse what they should, and the SDK's plain way works."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from migration_pipeline.targets.comet.sdk import imported
from migration_pipeline_tests.servers.comet import Account, Experiment, Rates
from migration_pipeline_tests.servers.comet.account import KEPT, sample
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.comet_backend import server

KEY = account_key("stand-in of comet")
RUN = "a" * 32


@pytest.fixture
def account() -> Iterator[Account]:
    server().forget(KEY)
    yield server().account(KEY)
    server().forget(KEY)


def post(path: str, payload: Any, key: str = KEY) -> requests.Response:
    address = f"{server().url}/{path}"
    return requests.post(address, json=payload, headers={"Authorization": key}, timeout=10)


def get(path: str, **asked: Any) -> requests.Response:
    address = f"{server().url}/api/rest/v2/{path}"
    return requests.get(address, params=asked, headers={"Authorization": KEY}, timeout=10)


def add(**wanted: Any) -> requests.Response:
    given = {"experimentKey": RUN, "projectName": "p", "teamName": "team", **wanted}
    return post("clientlib/logger/add/run", given)


def metrics(*values: dict[str, Any]) -> requests.Response:
    given = [
        {"metricName": "m", "metricValue": 1.0, "step": 1, "timestamp": 5, **v} for v in values
    ]
    return post("clientlib/batch/logger/experiment/metric", {"experimentKey": RUN, "values": given})


def refused(answer: requests.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("sdk_error_code")


def test_who_may_do_what(account: Account) -> None:
    assert refused(post("clientlib/logger/add/run", {}, "nobody")) == (400, 90212)
    unknown = requests.get(f"{server().url}/api/rest/v2/workspaces", timeout=10)
    assert refused(unknown) == (401, 90212)
    assert refused(add(teamName="nowhere")) == (400, 90219)
    assert refused(add(projectName="p" * 100)) == (400, 1341241)
    assert add(projectName="p" * 99, experimentKey="b" * 32).ok
    for key in ("a" * 31, "a" * 51, "a" * 31 + "-"):
        assert add(experimentKey=key).status_code == 400
    assert add().ok
    assert refused(add()) == (400, 90999)
    assert add(getOrCreateEnabled=True).ok
    assert refused(post("clientlib/batch/logger/experiment/metric", {"values": []})) == (400, 90210)
    account.read_only = True
    assert refused(add(experimentKey="c" * 32)) == (403, 7000011)
    assert refused(metrics({})) == (403, 90210)


def test_a_project_is_full(account: Account) -> None:
    account.experiments_per_project = 1
    assert add().ok
    assert refused(add(experimentKey="b" * 32)) == (400, 7000020)
    assert add(experimentKey="b" * 32, projectName="another").ok


@pytest.mark.parametrize(
    "bad",
    [
        {"metricValue": float("nan")},
        {"metricValue": "1"},
        {"metricValue": None},
        {"metricValue": True},
        {"step": 0.5},
        {"timestamp": 1.5},
        {"metricName": ""},
    ],
    ids=str,
)
def test_a_batch_with_a_bad_value_is_refused_whole(account: Account, bad: dict[str, Any]) -> None:
    add()
    given = [{"metricName": "m", "metricValue": 1.0, "step": 1, "timestamp": 5}] * 2
    body = {"experimentKey": RUN, "values": [*given, {**given[0], **bad}]}
    answer = requests.post(
        f"{server().url}/clientlib/batch/logger/experiment/metric",
        data=json.dumps(body),  # `json=` has no NaN
        headers={"Authorization": KEY},
        timeout=10,
    )
    assert answer.status_code == 400
    assert account.experiments[RUN].metrics == {}


def test_what_is_sent_twice_is_there_twice_and_parameters_have_the_later_value(
    account: Account,
) -> None:
    add()
    assert metrics({}).ok
    assert metrics({}).ok
    shown = get("experiment/metrics/get-metric", experimentKey=RUN, metricName="m").json()
    assert [(p["metricValue"], p["step"], p["timestamp"]) for p in shown["metrics"]] == [
        ("1.0", 1, 5)
    ] * 2
    for value in ("a", "b"):
        given = [{"parameterName": "p", "parameterValue": value}]
        body = {"experimentKey": RUN, "values": given}
        assert post("clientlib/batch/logger/experiment/parameter", body).ok
    (said,) = get("experiment/parameters", experimentKey=RUN).json()["values"]
    assert (said["name"], said["valueCurrent"]) == ("p", "b")


def test_limits_of_an_experiment(account: Account) -> None:
    account.metrics_per_experiment = account.parameters_per_experiment = 1
    add()
    assert metrics({}).ok
    assert metrics({"metricName": "n"}).status_code == 400
    two = [{"parameterName": n, "parameterValue": "x"} for n in "ab"]
    body = {"experimentKey": RUN, "values": two}
    assert post("clientlib/batch/logger/experiment/parameter", body).status_code == 400


def test_15_000_points_are_shown_and_the_ends_and_extremes_among_them(account: Account) -> None:
    add()
    total = KEPT + 1000
    account.experiments[RUN].metrics["m"] = [
        (float(i % 977), i, i, None, None) for i in range(total)
    ]
    account.experiments[RUN].metrics["m"][777] = (5000.0, 777, 777, None, None)
    account.experiments[RUN].metrics["m"][778] = (-5000.0, 778, 778, None, None)
    shown = get("experiment/metrics/get-metric", experimentKey=RUN, metricName="m").json()
    steps = {point["step"] for point in shown["metrics"]}
    assert len(steps) <= KEPT
    assert {0, total - 1, 777, 778} <= steps
    chart = post(
        "api/rest/v2/experiments/multi-metric-chart",
        {"targetedExperiments": [RUN], "metrics": ["m"], "fetchFull": False},
    ).json()["experiments"][RUN]["metrics"][0]
    assert len(chart["values"]) <= 500
    assert len(sample([(1.0, 0, 0, None, None)] * KEPT, KEPT)) == KEPT


def test_rates_count_values_in_any_window(account: Account) -> None:
    now = [0.0]
    account.rates = Rates({"metric": 10}, window=60, clock=lambda: now[0])
    add()
    assert metrics(*[{}] * 6).ok
    now[0] = 30.0
    assert metrics(*[{}] * 4).ok
    now[0] = 59.0
    answer = metrics(*[{}] * 5)
    assert (answer.status_code, answer.headers["Retry-After-Custom"]) == (429, "1.000")
    now[0] = 60.0
    assert metrics(*[{}] * 6).ok
    assert account.rates.busiest("metric") == 10
    assert account.rates.refused == 1
    assert len(account.experiments[RUN].metrics["m"]) == 16


def test_keys_of_deleted_experiments(account: Account) -> None:
    add()
    assert get("write/experiment/delete", experimentKey=RUN).ok
    assert get("experiment/metadata", experimentKey=RUN).status_code == 404
    assert refused(add(getOrCreateEnabled=True)) == (400, 90999)
    account.reuse_deleted_keys = True
    assert add().ok


def test_archived_experiments_are_not_listed(account: Account) -> None:
    add()

    def listed(archived: bool) -> list[str]:
        asked = {"workspaceName": "team", "projectName": "p", "archived": archived}
        return [one["experimentKey"] for one in get("experiments", **asked).json()["experiments"]]

    assert (listed(False), listed(True)) == ([RUN], [])
    get("write/experiment/archive", experimentKey=RUN)
    assert (listed(False), listed(True)) == ([], [RUN])
    get("write/experiment/restore", experimentKey=RUN)
    assert listed(False) == [RUN]


def test_an_asset_replaces_one_of_its_name_when_asked_to(account: Account) -> None:
    add()

    def upload(content: bytes, **asked: Any) -> int:
        return requests.post(
            f"{server().url}/api/rest/v2/write/experiment/upload-asset",
            params={"experimentKey": RUN, "fileName": "a/b", **asked},
            files={"file": content},
            headers={"Authorization": KEY},
            timeout=10,
        ).status_code

    assert [upload(b"1"), upload(b"2"), upload(b"3", overwrite="true")] == [200] * 3
    assert [asset.content for asset in account.experiments[RUN].assets.values()] == [b"3"]
    account.asset_name_max_length = 2
    assert upload(b"4") == 400


def test_the_plain_documented_way_of_the_sdk(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged by `Experiment`, read by `API`."""
    monkeypatch.setenv("COMET_URL_OVERRIDE", f"{server().url}/clientlib/")
    imported()  # without patching anything here
    import comet_ml

    key = uuid.uuid4().hex
    experiment = comet_ml.Experiment(
        api_key=KEY,
        project_name="plain",
        workspace="team",
        experiment_key=key,
        log_code=False,
        log_graph=False,
        log_git_metadata=False,
        log_git_patch=False,
        log_env_details=False,
        auto_output_logging=False,
        display_summary_level=0,
    )
    for i in range(50):
        experiment.log_metric("loss/train", i / 4, step=i)
    experiment.log_parameters({"rate": 0.1, "layers": 3})
    experiment.add_tag("tag")
    experiment.log_other("kind", "other")
    experiment.set_name("name")
    experiment.log_asset_data("text", name="dir/a.txt")
    experiment.end()
    found = comet_ml.API(api_key=KEY, cache=False).get_experiment_by_key(key)
    assert found is not None
    points = found.get_metrics("loss/train")
    assert sorted((p["step"], float(p["metricValue"])) for p in points) == [
        (i, i / 4) for i in range(50)
    ]
    assert found.get_parameters_summary("rate")["valueCurrent"] == "0.1"
    assert (found.get_tags(), found.get_name(), found.get_state()) == (["tag"], "name", "finished")
    assert found.get_others_summary("kind") == ["other"]
    (asset,) = (a for a in found.get_asset_list() if a["fileName"] == "dir/a.txt")
    assert found.get_asset(asset["assetId"]) == b"text"
    held: Experiment = account.experiments[key]
    assert (held.running, held.crashed) == (False, False)
