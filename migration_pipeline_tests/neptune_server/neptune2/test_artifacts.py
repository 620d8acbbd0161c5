"""Artifacts: hashes that do not depend on the way of tracking, lists of files, copies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import neptune
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neptune.exceptions import MetadataInconsistency
from neptune.internal.artifacts.file_hasher import FileHasher
from neptune.internal.artifacts.types import ArtifactFileData
from neptune.types.atoms.artifact import Artifact

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.neptune2.artifacts import artifact_hash
from migration_pipeline.neptune_server.store import ArtifactFile

from .clients import PROJECT, Raw, open_run, tree

ARTIFACT = "/api/artifacts/v1/artifact"
FILES = {"train.csv": b"1,2\n", "sub/test.csv": b"3\n", "sub/deep/ä.bin": bytes(300)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`data`, with files in three directories, last changed in 2023."""
    for name, content in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path / "data"


def paths_and_sizes(run: object, field: str) -> list[tuple[str, int]]:
    files = run[field].fetch_files_list()  # type: ignore[index]
    return [(file.file_path, file.size) for file in files]


def test_the_hash_does_not_depend_on_how_files_are_tracked(
    server: RunningServer, data: Path
) -> None:
    with open_run(server) as run:
        run["relative"].track_files("data")
        run["address"].track_files(f"file://{data}")
        run["absolute"].track_files(str(data))
        for path in data.rglob("*"):
            os.utime(path, (1_800_000_000, 1_800_000_000))
        run["later"].track_files("data")
        fields = ("relative", "address", "absolute", "later")
        (hash_,) = {run[field].fetch_hash() for field in fields}
        lists = [run[field].fetch_files_list() for field in fields]
    assert hash_ == artifact_hash(server.store.projects[PROJECT].artifacts[hash_] or ())
    assert lists == [lists[0]] * 4
    assert [file.file_path for file in lists[0]] == sorted(FILES)
    first = lists[0][-1]
    assert (first.size, first.type, first.metadata["file_path"]) == (
        4,
        "Local",
        f"file://{data}/train.csv",
    )


def test_added_files_give_the_hash_of_all_tracked_at_once(
    server: RunningServer, data: Path
) -> None:
    with open_run(server) as run, open_run(server) as other:
        run["growing"].track_files("data/train.csv")
        alone = run["growing"].fetch_hash()
        run["growing"].track_files("data/sub", destination="sub")
        other["whole"].track_files("data")
        assert run["growing"].fetch_hash() == other["whole"].fetch_hash() != alone
        assert paths_and_sizes(run, "growing") == [
            ("sub/deep/ä.bin", 300),
            ("sub/test.csv", 2),
            ("train.csv", 4),
        ]
        (data / "train.csv").write_bytes(b"changed")
        run["growing"].track_files("data/train.csv")
        assert paths_and_sizes(run, "growing")[-1] == ("train.csv", 7)
        assert paths_and_sizes(other, "whole")[-1] == ("train.csv", 4)


def test_files_land_where_the_artifact_says_and_come_from_where_they_were(
    server: RunningServer, data: Path, tmp_path: Path
) -> None:
    with open_run(server) as run:
        run["set"].track_files("data/sub", destination="inside")
        run["set"].download("out")
    assert tree(tmp_path / "out") == {
        "inside/test.csv": b"3\n",
        "inside/deep/ä.bin": bytes(300),
    }


def test_an_artifact_is_copied_by_its_hash(server: RunningServer, data: Path) -> None:
    with (
        open_run(server) as run,
        neptune.init_model(
            project=PROJECT, api_token=server.token, key="MOD", mode="sync"
        ) as model,
    ):
        run["set"].track_files("data")
        run["copy"] = run["set"].fetch()
        model["data"] = run["set"].fetch()
        assert model["data"].fetch_files_list() == run["set"].fetch_files_list()
        assert run["copy"].fetch_hash() == run["set"].fetch_hash()
        with pytest.raises(MetadataInconsistency, match="no artifact ffff"):
            run["unknown"] = Artifact("f" * 64)
        run["lr"] = 0.5
        raw = Raw(server, run, "unknown")
        assert raw.get("/artifacts").status_code == 404
        operations = [
            {"path": "lr", "assignArtifact": {"hash": run["set"].fetch_hash()}},
            {"path": "lr", "clearArtifact": {}},
            {"path": "set", "clearArtifact": {}},
        ]
        refused = raw.post("/operations", json.dumps(operations).encode()).json()
        assert [error["errorType"] for error in refused] == ["metadata_inconsistency"] * 2
        assert (run["lr"].fetch(), run.exists("copy")) == (0.5, True)
        raw.about["attribute"] = "set"
        assert raw.get("/artifacts").status_code == 404


def test_an_announced_artifact_waits_for_its_files(server: RunningServer) -> None:
    project = server.store.projects[PROJECT]
    with open_run(server) as run:
        http = Raw(server, run, "").http
    about = {"projectIdentifier": project.uuid, "hash": "abc"}
    assert http.get(f"{ARTIFACT}/files", params=about).status_code == 404
    assert http.put(f"{ARTIFACT}/files", params=about, json={"files": []}).status_code == 404
    described = http.put(ARTIFACT, params=about).json()
    assert (described["receivedMetadata"], described["size"]) == (False, None)
    assert http.get(f"{ARTIFACT}/files", params=about).json() == {"files": []}
    files = [
        {"filePath": "b", "fileHash": "1", "type": "S3", "size": None, "metadata": []},
        {
            "filePath": "a",
            "fileHash": "2",
            "type": "Local",
            "size": 3,
            "metadata": [{"key": "file_path", "value": "file:///a"}],
        },
    ]
    assert http.put(f"{ARTIFACT}/files", params=about, json={"nothing": 1}).status_code == 400
    http.put(f"{ARTIFACT}/files", params=about, json={"files": files})
    assert http.get(f"{ARTIFACT}/files", params=about).json() == {"files": files[::-1]}
    assert http.put(ARTIFACT, params=about).json() == {
        "artifactHash": "abc",
        "receivedMetadata": True,
        "size": None,
        "projectId": project.uuid,
    }


FILE = st.builds(
    ArtifactFile,
    path=st.text(min_size=1, max_size=8),
    hash=st.text("0123456789abcdef", max_size=40),
    type=st.sampled_from(["Local", "S3"]),
    size=st.none() | st.integers(0, 2**40),
)


@settings(max_examples=50)
@given(st.lists(FILE, max_size=4, unique_by=lambda file: file.path))
def test_the_hash_is_the_clients(files: list[ArtifactFile]) -> None:
    theirs = [ArtifactFileData(file.path, file.hash, file.type, {}, file.size) for file in files]
    assert artifact_hash(files) == FileHasher.get_artifact_hash_without_metadata(theirs)
