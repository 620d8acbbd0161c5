"""The server as its own process."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import neptune_query
import pytest
from neptune_query import runs
from neptune_query.internal import client as query_client

from migration_pipeline.neptune_server import Store, __main__, spawn_server
from migration_pipeline.neptune_server.__main__ import load_sample, main

from .conftest import PROJECT, add_points, forget_query
from .test_archive_store import row, write_run


def small_store() -> Store:
    """What `--store` serves below."""
    store = Store()
    add_points(store.project(PROJECT).create_run("from a function"), "loss", range(3))
    return store


def test_serves_until_it_is_stopped() -> None:
    with spawn_server(["--store", f"{__name__}:small_store"]) as server:
        content = json.loads(base64.b64decode(server.token))
        assert content["api_url"] == content["api_address"] == server.url
        query_client.clear_cache()
        neptune_query.set_api_token(server.token)
        assert runs.list_runs(project=PROJECT) == ["from a function"]
        forget_query()
        traffic = server.traffic()
        assert traffic["requests"]["GET /api/backend/v1/authorization/oauth-token"] == 1
        assert traffic["violations"] == []
    assert server.process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{tmp}/none", "--files", "{tmp}"], "none is not a directory"),
        (["--store", "no.such.module:f"], "No module named 'no'"),
        (["--sample"], "there is no sample workspace"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(__main__, "SAMPLE", tmp_path / "sample")
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    "arguments", [["--data", "x"], ["--sample", "--data", "x", "--files", "y"], ["--port", "many"]]
)
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_a_packed_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "made", "run", [row("n", "int", 1)])
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        for file in (tmp_path / "made").rglob("*.parquet"):
            archive.write(file, file.relative_to(tmp_path / "made"))
    monkeypatch.setattr(__main__, "SAMPLE", tmp_path / "sample")
    (tmp_path / "scratch").mkdir()
    store = Store()
    load_sample(store, tmp_path / "scratch")
    assert [run.run_id for run in store.project(PROJECT)] == ["run"]
