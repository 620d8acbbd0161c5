"""One store under both protocols: what the 2.x client wrote, neptune-query reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import neptune
import numpy as np
import pytest
from neptune.types import File
from neptune_query import runs
from PIL import Image

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline_tests.neptune_server.conftest import forget_query, point_query_at

from .clients import PROJECT, open_run

NOON = 1_700_000_000


@pytest.fixture
def written(server: RunningServer, tmp_path: Path) -> Iterator[RunningServer]:
    """One run with every type that the client writes, and a model."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"a")
    image = File.as_image(Image.fromarray(np.zeros((2, 2), np.uint8)))
    with open_run(server, custom_run_id="shared", tags=["x", "y"]) as run:
        run["lr"] = 0.5
        run["epochs"] = 2**31 - 1
        run["note"] = "schön"
        run["file"].upload(File.from_content(b"bytes", extension="txt"))
        run["set"].upload_files("d")
        run["tracked"].track_files("d")
        for step in range(3):
            run["loss"].append(float(step), step=step + 0.5, timestamp=NOON + step)
            run["log"].append(f"line {step}", step=step)
            run["images"].append(image, step=10 * step)
    settings = {"project": PROJECT, "api_token": server.token, "mode": "sync"}
    with neptune.init_model(key="MOD", **settings) as model:
        model["lr"] = 0.25
    point_query_at(server)
    yield server
    forget_query()


def test_3x_reads_what_2x_wrote(written: RunningServer, tmp_path: Path) -> None:
    assert runs.list_runs(project=PROJECT) == ["shared"]
    asked: dict[str, Any] = {"project": PROJECT, "runs": ["shared"]}
    paths = ["lr", "epochs", "note", "sys/tags"]
    row = runs.fetch_runs_table(**asked, attributes=paths).loc["shared"]
    assert [row[path] for path in paths] == [0.5, 2**31 - 1, "schön", {"x", "y"}]
    loss = runs.fetch_metrics(**asked, attributes="^loss$", include_time="absolute")
    assert loss.index.tolist() == [("shared", 0.5), ("shared", 1.5), ("shared", 2.5)]
    assert loss["loss", "value"].tolist() == [0.0, 1.0, 2.0]
    times = [time.timestamp() for time in loss["loss", "absolute_time"]]
    assert times == [NOON, NOON + 1, NOON + 2]
    log = runs.fetch_series(**asked, attributes="^log$")
    assert log["log"].tolist() == ["line 0", "line 1", "line 2"]


def test_3x_downloads_what_2x_uploaded(written: RunningServer, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"project": PROJECT, "runs": ["shared"]}
    files = runs.fetch_runs_table(**asked, attributes="^file$")
    (path,) = runs.download_files(files=files, destination=tmp_path / "out")["file"]
    assert (Path(path).suffix, Path(path).read_bytes()) == (".txt", b"bytes")
    images = runs.fetch_series(**asked, attributes="^images$")
    assert [step for _, step in images.index] == [0, 10, 20]
    downloaded = runs.download_files(files=images, destination=tmp_path / "out")["images"]
    with Image.open(downloaded.iloc[2]) as image:
        assert (image.format, image.size) == ("PNG", (2, 2))


def test_what_3x_does_not_have_is_not_there(written: RunningServer) -> None:
    found = set(runs.list_attributes(project=PROJECT))
    assert {"lr", "loss", "log", "images", "file", "sys/tags"} <= found
    assert found.isdisjoint({"set", "tracked", "sys/state"})


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_a_server_of_one_protocol(protocol: str) -> None:
    """What is not served is not found; about projects both ask at the same addresses."""
    of_2, of_3, of_both = (
        ("GET", "/api/leaderboard/v1/experiments"),
        ("POST", "/api/leaderboard/v1/leaderboard/attributes/definitions/query"),
        ("GET", "/api/backend/v1/projects"),
    )
    with running_server(Store(), protocols=(protocol,)) as server:
        statuses = [
            httpx.request(method, server.url + path).status_code
            for method, path in (of_2, of_3, of_both)
        ]
        swagger = httpx.get(f"{server.url}/api/leaderboard/swagger.json").status_code
    assert statuses == {"2": [401, 404, 401], "3": [404, 401, 401]}[protocol]
    assert swagger == {"2": 200, "3": 404}[protocol]
