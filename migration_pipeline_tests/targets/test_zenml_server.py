"""A real ZenML server on loopback, with a service account's key: a share of the contract over HTTP,
its requests, and its refusals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load
from migration_pipeline.targets.zenml.client import ZenmlTarget
from migration_pipeline.targets.zenml.config import ZenmlConfig
from migration_pipeline_tests.contract.datasets import DATASETS
from migration_pipeline_tests.contract.making import DataSet, RunData, build, curve, param
from migration_pipeline_tests.targets.zenml_backend import zenml_server

EVERY = {d.name: d for d in DATASETS}
SHARE = (
    "every parameter type",
    "integers beyond 2**53 and 2**31",
    "NaN, ±inf, −0.0, denormals as parameters",
    "names with every punctuation and in other scripts",
    "5,000 attributes",
    "forks",
)


@dataclass(frozen=True)
class Server:
    url: str
    key: str
    folder: Path

    def target(self, key: str | None = None) -> ZenmlTarget:
        return ZenmlTarget(
            ZenmlConfig(
                store_url=SecretStr(self.url),
                api_key=SecretStr(self.key if key is None else key),
                config_path=str(self.folder / (f"client {key}" if key is not None else "client")),
            )
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("zenml")
    with zenml_server(folder) as url:
        api = f"{url}/api/v1"
        login = requests.post(f"{api}/login", data={"username": "default", "password": ""})
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}

        def made(path: str, **values: Any) -> Any:
            return requests.post(f"{api}/{path}", json=values, headers=headers).json()

        account = made("service_accounts", name="loader", active=True)["id"]
        key = made(f"service_accounts/{account}/api_keys", name="key")["body"]["key"]
        yield Server(url, key, folder)


@pytest.mark.parametrize("name", SHARE)
def test_carries(name: str, server: Server, tmp_path: Path) -> None:
    """Each data set under a prefix of its own, so that all fit into one server."""
    archive, target = build(tmp_path, EVERY[name]), server.target()
    settings = LoadSettings(name_prefix=str(SHARE.index(name)))
    for project in archive.projects():
        plan = plan_load(target, archive, project, settings)
        result = load_runs(target, archive, plan.mapping, plan.due)
        assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
        again = plan_load(server.target(), archive, project, settings)
        assert (again.due, again.unverified, again.foreign) == ([], [], [])
        assert len(again.complete) == len(result.runs) > 0


def test_requests_of_a_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many points and parameters: five writes, the mark last; two reads for a listing."""
    rows = (*curve("m", 5000), *(param(f"p/{i}", "int", i) for i in range(300)))
    archive = build(tmp_path, DataSet("one", (RunData("a", rows), RunData("b", rows))))
    target = server.target()
    settings = LoadSettings(name_prefix="requests")
    plan = plan_load(target, archive, "team/project", settings)
    load_runs(target, archive, plan.mapping, plan.due[:1], verify="off")
    seen: list[str] = []
    request = requests.Session.request

    def counting(self: requests.Session, method: str, url: str, *args: Any, **more: Any) -> Any:
        seen.append(f"{method} {url.removeprefix(server.url).split('/')[3]}")
        return request(self, method, url, *args, **more)

    monkeypatch.setattr(requests.Session, "request", counting)
    load_runs(target, archive, plan.mapping, plan.due[1:], verify="off")
    listing = ["GET model_versions", "GET artifact_versions"]
    assert seen == [
        *listing,
        *listing,  # is anything of the run there?
        "POST artifact_versions",
        "POST model_versions",
        "POST model_version_artifacts",
        "POST run-metadata",
        "POST run-metadata",
    ]
    seen.clear()
    assert len(target.runs("team/project", plan.mapping)) == 2
    assert seen == listing


def test_refused_keys(server: Server) -> None:
    with pytest.raises(TargetRefusedError, match="refuses the credentials") as raised:
        server.target("c4n4ry").check()
    assert "ZENML_STORE_API_KEY" in str(raised.value)
    assert "c4n4ry" not in str(raised.value)
    with pytest.raises(TargetRefusedError, match="refuses the credentials"):
        server.target("").check()


def test_files_that_stay_on_this_machine(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The artifact store of the default stack is a folder of whoever uses it: said once."""
    with caplog.at_level(logging.WARNING):
        server.target().check()
    (said,) = (r.message for r in caplog.records if "artifact store" in r.message)
    assert f"others will see the cards of {server.url}, but not the data" in said
