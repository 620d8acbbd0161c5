"""Files: three stores, missing objects, URLs that run out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from neptune_query import runs
from neptune_query.exceptions import NeptuneFileDownloadError

from migration_pipeline.neptune_server import RunningServer, Store
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.store import FileValue

from .conftest import NOON, PROJECT, Api

CONTENT = bytes(range(256)) * 4000
Serve = Callable[[Store], RunningServer]


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    store = Store()
    run = store.project(PROJECT).create_run("run")
    run.set_file("weights", CONTENT, "odd/päth ?#%2F/../w.bin", "application/octet-stream")
    run.set_file("empty", b"", "empty.txt", "text/plain")
    run.set("gone", "file", FileValue("not/there", 5, "text/plain"))
    store.blobs.write(PROJECT, "step/0", b"zero")
    image = FileValue("step/0", 4, "image/png")
    run.extend_series("images", "file_series", [(0, NOON, image), (0.5, NOON + 1, image)])
    return serve(store)


def download(folder: Path, attribute: str) -> list[bytes | None]:
    """The contents of the files of one attribute, None for one that the server has not."""
    fetch = runs.fetch_series if attribute == "images" else runs.fetch_runs_table
    files = fetch(project=PROJECT, runs=["run"], attributes=[attribute])
    paths = runs.download_files(files=files, destination=folder)
    return [Path(p).read_bytes() if isinstance(p, str) else None for p in paths[attribute]]


@pytest.mark.parametrize("provider", ["gcp", "aws", "azure"])
def test_downloads(server: RunningServer, tmp_path: Path, provider: str) -> None:
    server.object_stores.provider = provider
    assert download(tmp_path, "weights") == [CONTENT]
    assert download(tmp_path, "empty") == [b""]
    assert download(tmp_path, "gone") == [None]
    assert download(tmp_path, "images") == [b"zero", b"zero"]
    assert server.requests[f"GET /storage/{provider}"] >= 5


@pytest.mark.parametrize("provider", ["gcp", "azure"])
def test_a_url_that_ran_out_is_signed_again(
    server: RunningServer, tmp_path: Path, provider: str
) -> None:
    server.object_stores.provider = provider
    server.object_stores.lifetime = -1
    with pytest.raises(NeptuneFileDownloadError):
        download(tmp_path, "weights")
    assert server.requests["POST /api/storagebridge/v1/signedUrl"] == 4
    server.object_stores.lifetime = 3600
    assert download(tmp_path, "weights") == [CONTENT]


def test_amazon_answers_403_for_a_url_that_ran_out(server: RunningServer, tmp_path: Path) -> None:
    server.object_stores.provider = "aws"
    server.object_stores.lifetime = -1
    with pytest.raises(NeptuneFileDownloadError, match="403"):
        download(tmp_path, "weights")


def test_all_urls_can_be_made_to_run_out(server: RunningServer) -> None:
    api = Api(server)
    file = {"path": "step/0", "permission": "read", "project_identifier": PROJECT}
    signed = api.http.post("/api/storagebridge/v1/signedUrl", json={"files": [file]}).json()
    url = signed["files"][0]["url"]
    assert api.http.get(url).content == b"zero"
    assert api.http.get(url + "0").status_code == 400
    assert api.http.put(url, content=b"x").status_code == 400
    server.object_stores.expire_urls()
    assert api.http.get(url).status_code == 400


def test_a_download_can_be_cut_short(server: RunningServer) -> None:
    api = Api(server)
    file = {"path": "step/0", "permission": "read", "project_identifier": PROJECT}
    signed = api.http.post("/api/storagebridge/v1/signedUrl", json={"files": [file]}).json()
    server.faults.add(Fault("^/storage/", truncate=0.5, times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        api.http.get(signed["files"][0]["url"])
    assert api.http.get(signed["files"][0]["url"]).content == b"zero"


def test_urls_come_in_the_order_of_the_request(server: RunningServer) -> None:
    names = [f"file {n}" for n in range(50)]
    files = [{"path": n, "permission": "read", "project_identifier": PROJECT} for n in names]
    answer = Api(server).http.post("/api/storagebridge/v1/signedUrl", json={"files": files})
    assert [file["path"] for file in answer.json()["files"]] == names
