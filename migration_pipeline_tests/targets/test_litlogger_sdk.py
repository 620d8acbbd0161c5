"""The real litlogger and lightning-sdk against the stand-in: they work there as documented, read
what was loaded, and send what we send."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.targets.litlogger import sending
from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.naming import experiment_name
from migration_pipeline.targets.litlogger.sending import requests_of
from migration_pipeline.targets.remote.pieces import piece
from migration_pipeline_tests.contract.making import PROJECT
from migration_pipeline_tests.servers.litlogger import LitloggerService
from migration_pipeline_tests.servers.litlogger.state import Teamspace
from migration_pipeline_tests.servers.standin import account_key, serving
from migration_pipeline_tests.targets.litlogger_backend import (
    account,
    configuration,
    make,
    service,
)
from migration_pipeline_tests.targets.loads import load
from migration_pipeline_tests.targets.test_litlogger import (
    KEY,
    MAPPING,
    of_its_own,
    one_run,
    the_experiment,
)


@pytest.fixture
def server() -> Iterator[LitloggerService]:
    """One of its own: what it records is of one test."""
    with serving(LitloggerService()) as found:
        yield found


_PLAIN = """
import litlogger
from litlogger import File, Text
team = OWNER + "/team"
run = litlogger.init(name="plain", teamspace=team, metadata={"a": "1"}, store_created_at=True)
for i in range(10):
    run["m/loss"].append(i / 8, step=2 * i)
open("conf.txt", "w").write("hello")
open("nothing.txt", "w")
run["conf"], run["nothing"], run["notes"] = File("conf.txt"), File("nothing.txt"), Text("some text")
run["p"] = "q"
run.finalize()
"""
_RESUME = """
import json, litlogger
run = litlogger.init(name=NAME, teamspace=OWNER + "/team_project", verbose=False)
run["files/model"].save("got")
print("SAID " + json.dumps([list(run["m/loss"]), run.metadata["lr"], open("got").read()]))
"""


def in_the_sdk(folder: Path, code: str, **names: str) -> str:
    """What a script prints that uses litlogger as its documentation says, in a process of its own:
    it takes over signal handlers and the end of the process."""
    folder.mkdir(exist_ok=True)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PLUTO_")},
        "HOME": str(folder),
        "LIGHTNING_CLOUD_URL": service().url,
        "LIGHTNING_API_KEY": account_key(folder.parent),
        "LIGHTNING_USER_ID": account(folder.parent).user_id,
        "LIGHTNING_DISABLE_VERSION_CHECK": "1",
    }
    constants = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    done = subprocess.run(
        [sys.executable, "-c", constants + code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_litlogger_itself_against_the_stand_in(tmp_path: Path) -> None:
    known = account(tmp_path)
    space = Teamspace("prj", "team", "team", known.user_id, "user")
    known.teamspaces["prj"] = space
    in_the_sdk(tmp_path / "sdk", _PLAIN, OWNER=known.username)
    (stream,) = space.streams.values()
    assert (stream.name, stream.phase) == ("plain", "COMPLETED")
    values = stream.metrics()["m/loss"]
    assert (values.steps, values.numbers) == ([*range(0, 20, 2)], [i / 8 for i in range(10)])
    assert all(values.times)
    assert {tag["name"]: tag["value"] for tag in stream.tags} == {"a": "1", "p": "q"}
    assert space.blobs["experiments/plain/conf"] == b"hello"
    assert space.blobs["experiments/plain/nothing"] == b""
    ((medium,),) = [list(stream.media.values())]
    assert (medium["name"], medium["uploadComplete"]) == ("notes", True)
    assert space.blobs[medium["storagePath"]] == b"some text"


def test_litlogger_reads_what_was_loaded(tmp_path: Path) -> None:
    assert load(make(tmp_path), one_run(tmp_path)) == []
    name, owner = experiment_name(KEY, MAPPING), account(tmp_path).username
    said = in_the_sdk(tmp_path / "sdk", _RESUME, NAME=name, OWNER=owner)
    found = json.loads(said[said.index("SAID ") + 5 :].splitlines()[0])
    assert found == [[0.5, 0.25, 1e300], "0.1", "weights"]


USED = {
    "auth_service_get_user",
    "lit_logger_service_create_logger_artifact",
    "lit_logger_service_create_metrics_stream",
    "lit_logger_service_delete_metrics_stream",
    "lit_logger_service_get_logger_metrics_summary",
    "lit_logger_service_get_metrics_stream",
    "lit_logger_service_list_logger_artifacts",
    "lit_logger_service_list_metrics_streams",
    "lit_logger_service_update_metrics_stream",
    "organizations_service_list_organizations",
    "projects_service_create_project",
    "projects_service_list_memberships",
}


def test_calls_are_those_of_the_installed_sdk(tmp_path: Path) -> None:
    """Each call that a load, a listing and a removal make, by name and arguments."""
    ((owner, _),) = account(tmp_path).organizations.items()
    target = LitloggerTarget(configuration(tmp_path, owner=owner))
    to, made = target._to, list[tuple[str, dict[str, Any]]]()
    for kind in ("call", "once"):
        asking = getattr(to, kind)

        def watched(name: str, doing: str, /, _asking: Any = asking, **arguments: Any) -> Any:
            made.append((name, arguments))
            return _asking(name, doing, **arguments)

        setattr(to, kind, watched)
    assert load(target, one_run(tmp_path)) == []
    assert list(target.runs(PROJECT, MAPPING)) == [KEY]
    target.discard(KEY, MAPPING)
    assert {name for name, _ in made} == USED
    for name, arguments in made:
        method = getattr(type(to._sdk), name)
        inspect.signature(method).bind(None, **arguments)
        # Those that are not required are taken as keywords, and looked at in the method itself.
        asked = inspect.getsource(getattr(type(to._sdk), f"{name}_with_http_info"))
        assert all(f"'{argument}'" in asked for argument in arguments), name


def test_bodies_have_the_fields_of_the_sdks_models(tmp_path: Path) -> None:
    models = make(tmp_path)._to.models
    body = json.loads(requests_of([piece("a", [1], [2], [3.0])], 1000)[0][0])

    def fields(model: str) -> set[str]:
        return set(getattr(models, model).attribute_map.values())

    assert set(body) == fields("LitLoggerServiceAppendLoggerMetricsBody")
    assert set(body["metrics"][0]) <= fields("V1Metrics")
    assert set(body["metrics"][0]["values"][0]) <= fields("V1MetricValue")


def test_endpoints_of_ours_are_those_of_the_sdk(tmp_path: Path) -> None:
    """Points and their reading go past the generated client, to the same addresses."""
    target = make(tmp_path)
    sdk, asked = target._to._sdk, []
    sdk.api_client.request = lambda method, url, **what: asked.append(
        (method, url, dict(what.get("query_params") or ()))
    )
    body = target._to.models.LitLoggerServiceAppendLoggerMetricsBody(metrics=[])
    sdk.lit_logger_service_append_logger_metrics(
        body=body, project_id="p", id="s", _preload_content=False
    )
    sdk.lit_logger_service_get_logger_metrics(
        project_id="p", ids=["s"], min_step="1", max_step="2", _preload_content=False
    )
    ours: list[Any] = []
    target._to._exchange = lambda method, url, **what: (  # type: ignore[method-assign]
        ours.append((method, url, what.get("fields") or {})) or b"{}"
    )
    target._to.append("p", "s", b"{}")
    target._to.points("p", {"ids": "s", "minStep": "1", "maxStep": "2"}, 10)
    assert ours == asked


def test_files_go_as_the_sdk_sends_them(
    tmp_path: Path, server: LitloggerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drive's endpoints are not in the generated client: the SDK's own uploads tell them."""
    target = of_its_own(server, tmp_path)
    assert load(target, one_run(tmp_path)) == []
    space, stream = the_experiment(tmp_path, server)
    from lightning_sdk.api import utils

    large = tmp_path / "large"
    large.write_bytes(b"0123456789" * 300)
    monkeypatch.setattr(sending, "PART_BYTES", 1000)
    monkeypatch.setenv("LIGHTNING_MULTIPART_THRESHOLD", "1000")
    monkeypatch.setenv("LIGHTNING_MULTI_PART_PART_SIZE", "1000")
    monkeypatch.setenv("LIGHTNING_API_KEY", account_key(tmp_path))
    monkeypatch.setenv("LIGHTNING_USER_ID", server.account(account_key(tmp_path)).user_id)
    server.recorder.on = True

    def recorded() -> list[Any]:
        found = []
        for one in server.recorder.requests:
            numbered = re.sub(r"\d{6}", "…", f"{one.method} {one.path} {one.body.decode()}")
            found.append(numbered if one.method == "PUT" else json.loads(one.body))
        server.recorder.requests.clear()
        return sorted(found, key=str)

    path = f"experiments/{stream.name}/files/large"
    endpoint = f"{server.url}/v1/projects/{space.id}/artifacts"
    utils._BlobUploader(None, endpoint, str(large), path, False, "cloud-1")()
    theirs = recorded()
    found = target._find(KEY, MAPPING)
    assert found
    server.recorder.requests.clear()
    upload = sending.Upload(large, "files/large", 3000)
    sender = object.__new__(sending.Sender)
    sender._to, sender._records, sender._experiment = target._to, target._records, found
    sender._put_file(upload)
    ours = recorded()
    for known in (ours, theirs):
        for one in known:
            if isinstance(one, dict):
                one["blobs"][0].pop("upload_id", None)
    assert ours == theirs
    assert space.blobs[path] == large.read_bytes()
