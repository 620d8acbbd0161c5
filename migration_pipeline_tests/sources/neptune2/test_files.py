"""Files of every kind: their bytes, names and places, and what happens when they are not there."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest

from migration_pipeline.errors import MissingFilesError, SourceUnavailableError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2 import artifacts as server_artifacts
from migration_pipeline.neptune_server.neptune2 import creation, file_sets
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import ArtifactFile, FileValue, Project, Run
from migration_pipeline.sources import fetching
from migration_pipeline.sources.neptune2 import artifacts, files, series
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    exporting,
    long_ago,
)

BIG = random.Random(3).randbytes(3 << 20)
RUNS = Selection(kinds=("run",))


@pytest.fixture
def run(project: Project) -> Run:
    with long_ago(project.store):
        return creation.create_run(project)


def add_file(run: Run, path: str, content: bytes, name: str) -> FileValue:
    destination = f"{run.uuid}/{path}"
    run.project.store.blobs.write(PROJECT, destination, content)
    extension = Path(name).suffix[1:]
    value = FileValue(destination, len(content), "application/octet-stream", name, extension)
    run.set(path, "file", value)
    return value


def add_set(run: Run, path: str, members: dict[str, bytes]) -> None:
    stored = {}
    for name, content in members.items():
        destination = f"{run.uuid}/{path}/{name}"
        run.project.store.blobs.write(PROJECT, destination, content)
        stored[name] = FileValue(destination, len(content), "", name.rpartition("/")[2])
    file_sets.add_files(run, path, stored)


def local_file(file: Path, name: str, content: bytes) -> ArtifactFile:
    """As the client tracks a file that lies on this machine."""
    file.write_bytes(content)
    metadata = (("file_path", f"file://{file}"), ("last_modified", "2024-01-01 00:00:00"))
    sha1 = hashlib.sha1(content).hexdigest()
    return ArtifactFile(name, sha1, "Local", len(content), metadata)


def add_artifact(run: Run, path: str, *files: ArtifactFile) -> str:
    hash_ = server_artifacts.artifact_hash(files)
    run.project.artifacts[hash_] = files
    run.set(path, "artifact", hash_)
    return hash_


def parts(exported: Exported, path: str, run: str = "TAB-1") -> dict[str, bytes]:
    """Extension → content of the two files of a set or an artifact."""
    found = {}
    for key, archived in exported.archive.runs(PROJECT).items():
        if key.run != run:
            continue
        for batch in archived.batches():
            for one in batch.to_pylist():
                if one["attribute_path"] == path:
                    file = archived.file(one["file_value"]["path"])
                    found[file.suffix] = file.read_bytes()
                    assert (one["step"], one["timestamp"]) == (None, None)
    return found


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {one: archive.read(one) for one in archive.namelist() if not one.endswith("/")}


def test_single_files_keep_bytes_name_extension_and_size(exported: Exported, run: Run) -> None:
    add_file(run, "table", b"a,b\n", "table.csv")
    add_file(run, "empty", b"", "empty.txt")
    add_file(run, "big", BIG, "big.bin")
    add_file(run, "bare", b"no extension", "bare")
    add_file(run, "a.b", b"dot", "a.b.txt")
    add_file(run, "a_b", b"underscore", "a_b.txt")
    add_file(run, "A_b", b"capital", "größe ü.tar.gz")
    exported.export_all(RUNS)
    assert exported.values("TAB-1") == {
        "table": b"a,b\n",
        "empty": b"",
        "big": BIG,
        "bare": b"no extension",
        "a.b": b"dot",
        "a_b": b"underscore",
        "A_b": b"capital",
    }
    manifest = exported.manifest("TAB-1")
    assert {(e.name, Path(e.path).suffix, e.size) for e in manifest.files} == {
        ("table.csv", ".csv", 4),
        ("empty.txt", ".txt", 0),
        ("big.bin", ".bin", len(BIG)),
        ("bare", "", 12),
        ("a.b.txt", ".txt", 3),
        ("a_b.txt", ".txt", 10),
        ("größe ü.tar.gz", ".gz", 7),
    }
    assert manifest.notes == []
    assert not list((exported.archive.files_root(PROJECT) / ".staging").iterdir())


def test_a_set_is_had_as_zip_and_as_listing(exported: Exported, run: Run) -> None:
    members = {"top.txt": b"top", "deep/er/inner.bin": bytes(1000), "deep/empty": b"", "ä b": b"x"}
    add_set(run, "some/set", members)
    exported.export_all(RUNS)
    found = parts(exported, "some/set")
    assert unpacked(found[".zip"]) == members
    listing = json.loads(found[".json"])
    assert listing == [
        {"path": "deep/empty", "size": 0},
        {"path": "deep/er/inner.bin", "size": 1000},
        {"path": "top.txt", "size": 3},
        {"path": "ä b", "size": 1},
    ]
    asked = [name for name in exported.server.requests if "FileSet" in name or "/ls" in name]
    assert asked == ["POST /api/leaderboard/v1/attributes/downloadFileSetZipRequest"]
    manifest = exported.manifest("TAB-1")
    assert manifest.notes == []
    assert {e.name for e in manifest.files} == {"set.zip", None}
    assert manifest.types["file_set"].attributes == 1
    assert manifest.types["file_set"].rows == 2


def test_an_empty_set(exported: Exported, run: Run) -> None:
    add_set(run, "set", {})
    exported.export_all(RUNS)
    found = parts(exported, "set")
    assert unpacked(found[".zip"]) == {}
    assert json.loads(found[".json"]) == []


def test_a_zip_of_another_size_than_announced_is_noted(exported: Exported, run: Run) -> None:
    """And the dates that a zip has are listed: they have no zone."""
    add_set(run, "set", {"a": b"a", "b": b"bb"})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a", (2024, 2, 29, 23, 59, 58)), b"a")
    exported.server.faults.add(Fault("^/dl/", status=200, content=packed.getvalue()))
    exported.export_all(RUNS)
    found = parts(exported, "set")
    assert json.loads(found[".json"]) == [{"path": "a", "size": 1, "mtime": "2024-02-29T23:59:58"}]
    assert unpacked(found[".zip"]) == {"a": b"a"}
    assert exported.manifest("TAB-1").notes == [
        "file sets whose files have another total size than announced: set: 1 bytes, announced 3"
    ]


@pytest.mark.parametrize("polls", [0, 2])
def test_a_zip_that_takes_time_is_waited_for(exported: Exported, run: Run, polls: int) -> None:
    exported.server.faults.limits.zip_polls = polls
    add_set(run, "set", {"a": b"a"})
    exported.export_all(RUNS)
    assert unpacked(parts(exported, "set")[".zip"]) == {"a": b"a"}
    asked = exported.server.requests["GET /api/leaderboard/v1/download/downloadRequest"]
    assert asked == polls + 1


def test_a_zip_that_is_never_made_fails_the_run_by_name(
    exported: Exported, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_POLLS", 2)
    exported.server.faults.limits.zip_polls = 99
    add_set(run, "set", {"a": b"a"})
    exported.export(RUNS)
    error = exported.failed["TAB-1"]
    assert isinstance(error, SourceUnavailableError)
    assert "did not finish the zip of file set 'set'" in str(error)


@pytest.mark.parametrize("per_task", [1, 2, 20])
def test_elements_of_a_series_by_their_index(
    exported: Exported, run: Run, monkeypatch: pytest.MonkeyPatch, per_task: int
) -> None:
    monkeypatch.setattr(series, "_IMAGES_PER_TASK", per_task)
    stored = []
    for i, kind in enumerate(("png", "jpeg", "svg+xml", "png", "gif")):
        run.project.store.blobs.write(PROJECT, f"image {i}", b"%d" % i)
        stored.append(FileValue(f"image {i}", 1, f"image/{kind}"))
    run.extend_series(
        "images", "file_series", [(10.5 * i, NOON + i, f) for i, f in enumerate(stored)]
    )
    exported.export_all(RUNS)
    assert exported.series("TAB-1", "images") == [(i * 10**6, None, b"%d" % i) for i in range(5)]
    manifest = exported.manifest("TAB-1")
    assert manifest.notes == [
        "1 file series have the index of each file as its step, because 2.x does not give the "
        "step that it was logged at: images"
    ]
    assert {(e.name, Path(e.path).suffix) for e in manifest.files} == {
        ("0.png", ".png"),
        ("1.jpeg", ".jpeg"),
        ("2.svg+xml", ".svg"),
        ("3.png", ".png"),
        ("4.gif", ".gif"),
    }


def test_an_artifact_is_had_as_list_and_as_zip(
    exported: Exported, run: Run, tmp_path: Path
) -> None:
    one = local_file(tmp_path / "a b%20.csv", "deep/ä.csv", b"x,y\n")
    two = local_file(tmp_path / "two", "two", BIG)
    hash_ = add_artifact(run, "data", one, two)
    exported.export_all(RUNS)
    found = parts(exported, "data")
    assert unpacked(found[".zip"]) == {"deep/ä.csv": b"x,y\n", "two": BIG}
    listing = json.loads(found[".json"])
    assert listing["hash"] == hash_
    assert listing["files"][0] == {
        "filePath": "deep/ä.csv",
        "fileHash": one.hash,
        "type": "Local",
        "size": 4,
        "metadata": [{"key": k, "value": v} for k, v in one.metadata],
    }
    assert exported.manifest("TAB-1").notes == []

    run.set("touched", "int", 1)
    exported.export_all(RUNS)
    assert parts(exported, "data") == found  # the same files give the same bytes


def test_files_of_artifacts_that_cannot_be_had_are_named_and_cost_no_other(
    exported: Exported, run: Run, tmp_path: Path
) -> None:
    good = local_file(tmp_path / "good", "good", b"good")
    gone = local_file(tmp_path / "gone", "gone", b"gone")
    (tmp_path / "gone").unlink()
    longer = local_file(tmp_path / "longer", "longer", b"long")
    (tmp_path / "longer").write_bytes(b"longer")
    other = local_file(tmp_path / "other", "other", b"this")
    (tmp_path / "other").write_bytes(b"that")
    elsewhere = ArtifactFile("ftp", "h", "S3", 1, (("location", "ftp://x/y"),))
    nowhere = ArtifactFile("nowhere", "h", "Local", 1)
    add_artifact(run, "data", good, gone, longer, other, elsewhere, nowhere)
    add_artifact(run, "lost", gone)
    exported.export_all(RUNS)
    assert unpacked(parts(exported, "data")[".zip"]) == {"good": b"good"}
    assert set(parts(exported, "lost")) == {".json"}
    (note,) = exported.manifest("TAB-1").notes
    head, _, tail = note.partition(": ")
    assert head == "6 files of artifacts could not be read where they are stored"
    said = dict(one.split(": ", 2)[1:] for one in tail.split("; ") if one.startswith("data: "))
    assert list(said) == ["ftp", "gone", "longer", "nowhere", "other"]
    assert said["gone"].startswith(f"file://{tmp_path}/gone (FileNotFoundError: ")
    assert said["longer"] == f"file://{tmp_path}/longer (6 bytes, 4 when it was tracked)"
    assert said["other"] == (
        f"file://{tmp_path}/other (its content is another than when it was tracked)"
    )
    assert said["ftp"] == "ftp://x/y (neither file://, s3:// nor gs://)"
    assert said["nowhere"] == "no location (neither file://, s3:// nor gs://)"
    assert f"lost: gone: file://{tmp_path}/gone" in tail


class ObjectStore(BaseHTTPRequestHandler):
    """As much of S3 as reading an object takes."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        content = self.objects.get(unquote(self.path))
        missing = 403 if self.path.endswith("/forbidden") else 404
        self.send_response(missing if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ObjectStore)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(artifacts, "_STORES", artifacts._Stores())
    ObjectStore.objects = {}
    yield ObjectStore.objects
    server.shutdown()
    server.server_close()


def test_files_of_artifacts_in_an_object_store(
    exported: Exported, run: Run, object_store: dict[str, bytes]
) -> None:
    object_store |= {"/bucket/data/a b%20/ü.csv": b"x,y\n", "/bucket/changed": b"longer"}
    tracked = [
        ArtifactFile(name, "etag", "S3", 4, (("location", f"s3://bucket/{key}"),))
        for name, key in (("ü.csv", "data/a b%20/ü.csv"), ("changed", "changed"), ("no", "no"))
    ]
    add_artifact(run, "data", *tracked)
    exported.export_all(RUNS)
    assert unpacked(parts(exported, "data")[".zip"]) == {"ü.csv": b"x,y\n"}
    (note,) = exported.manifest("TAB-1").notes
    assert "data: changed: s3://bucket/changed (6 bytes, 4 when it was tracked)" in note
    assert "data: no: s3://bucket/no (FileNotFoundError" in note


@pytest.mark.parametrize("patience", [-1.0, 60.0])
def test_a_store_that_is_slow_to_fail_is_left_alone_for_a_while(
    exported: Exported,
    run: Run,
    object_store: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
) -> None:
    """Without a network each file of an artifact would take seconds to fail."""
    monkeypatch.setattr(artifacts, "_PATIENCE", patience)
    object_store["/bucket/there"] = b"data"
    tracked = [
        ArtifactFile(key, "etag", "S3", 4, (("location", f"s3://bucket/{key}"),))
        for key in ("forbidden", "there")
    ]
    add_artifact(run, "data", *tracked)
    exported.export_all(RUNS)
    (note,) = exported.manifest("TAB-1").notes
    assert "data: forbidden: s3://bucket/forbidden (" in note
    assert "ACCESS_DENIED" in note
    assert ("data: there: s3://bucket/there (" in note) == (patience < 0)
    assert (".zip" in parts(exported, "data")) == (patience > 0)


def gone_files(project: Project) -> None:
    """Run `TAB-1` lacks one of each kind of file, `TAB-2` lacks nothing."""
    with long_ago(project.store):
        for _ in range(2):
            run = creation.create_run(project)
            run.set("n", "int", 1)
            stored = [add_file(run, f"f{i}", b"%d" % i, f"{i}.txt") for i in range(3)]
            images = [FileValue(f.path, 1, "image/png") for f in stored]
            run.extend_series("images", "file_series", [(i, NOON, f) for i, f in enumerate(images)])
            add_set(run, "set", {"a": b"a"})
    lacking = project.runs["TAB-1"]
    project.store.blobs.delete(PROJECT, f"{lacking.uuid}/f1")
    project.store.blobs.delete(PROJECT, f"{lacking.uuid}/set/a")
    lacking.set("lost", "artifact", "unknown hash")


def test_a_missing_file_fails_its_run_by_name(exported: Exported, project: Project) -> None:
    gone_files(project)
    exported.export(RUNS)
    assert exported.runs == {"TAB-2"}
    error = exported.failed["TAB-1"]
    assert isinstance(error, MissingFilesError)
    assert sorted(error.paths) == [
        "f1",
        "images (step 1)",
        "lost (list of artifact unknown hash)",
        "set",
    ]
    assert "MIGRATION_ACCEPT_MISSING_FILES=1" in error.remedy


def test_missing_files_can_be_accepted_and_are_named_in_the_manifest(
    server: RunningServer, project: Project, tmp_path: Path
) -> None:
    gone_files(project)
    exported = exporting(server, tmp_path, "neptune2", accept_missing_files=True)
    exported.export_all(RUNS)
    assert sorted(exported.manifest("TAB-1").missing_files) == [
        "f1",
        "images (step 1)",
        "lost (list of artifact unknown hash)",
        "set",
    ]
    assert exported.values("TAB-1") == {"n": 1, "f0": b"0", "f2": b"2"}
    images = exported.series("TAB-1", "images")
    assert images == [(0, None, b"0"), (2 * 10**6, None, b"2")]
    assert exported.manifest("TAB-2").missing_files == []
    assert exported.export_all(RUNS).due == []


FAULTS: dict[str, Any] = {
    "reset": {"reset": True},
    "truncated": {"truncate": 0.5},
    "500": {"status": 500},
    "503": {"status": 503, "retry_after": 0.2},
    "another size": {"status": 200, "content": b"<html>"},
}
PLACES = {
    "file": r"attributes/download$",
    "set": r"^/dl/",
    "preparing": r"downloadFileSetZipRequest",
    "image": r"image/single",
    "count": r"series/image$",
    "artifact": r"artifact/files",
}


GOING_WRONG = [
    *(("file", fault) for fault in FAULTS),
    *(("set", fault) for fault in ("truncated", "another size")),
    ("preparing", "503"),
    ("image", "truncated"),
    ("count", "500"),
    ("artifact", "truncated"),
]


@pytest.mark.parametrize(("place", "fault"), GOING_WRONG)
def test_a_download_that_goes_wrong_is_repeated(
    exported: Exported, run: Run, tmp_path: Path, place: str, fault: str
) -> None:
    add_file(run, "model", BIG, "model.bin")
    add_set(run, "set", {"a": b"a" * 1000})
    add_artifact(run, "data", local_file(tmp_path / "tracked", "tracked", b"t"))
    run.project.store.blobs.write(PROJECT, "image", b"pixels")
    run.extend_series("images", "file_series", [(0.0, NOON, FileValue("image", 6, "image/png"))])
    before = sum(exported.server.faults.injected.values())
    exported.server.faults.add(Fault(PLACES[place], times=2, **FAULTS[fault]))
    exported.export_all(RUNS)
    assert exported.values("TAB-1")["model"] == BIG
    assert unpacked(parts(exported, "set")[".zip"]) == {"a": b"a" * 1000}
    assert unpacked(parts(exported, "data")[".zip"]) == {"tracked": b"t"}
    assert exported.series("TAB-1", "images") == [(0, None, b"pixels")]
    assert len(exported.manifest("TAB-1").notes) == 1  # of the index
    assert sum(exported.server.faults.injected.values()) == before + 2


def test_a_size_that_stays_another_is_noted(exported: Exported, run: Run) -> None:
    add_file(run, "model", b"weights", "model.bin")
    exported.server.faults.add(Fault("attributes/download$", status=200, content=b"other"))
    exported.export_all(RUNS)
    assert exported.values("TAB-1") == {"model": b"other"}
    assert exported.manifest("TAB-1").notes == [
        "files of another size than announced: model: 5 bytes, announced 7"
    ]


def test_a_file_that_never_arrives_fails_its_run_by_name(
    exported: Exported, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    with long_ago(project.store):
        add_file(creation.create_run(project), "model", b"m", "m.bin")
        add_points(creation.create_run(project), "loss", [0.0])
    exported.server.faults.add(Fault("attributes/download$", status=500))
    exported.export(RUNS)
    assert exported.runs == {"TAB-2"}
    error = exported.failed["TAB-1"]
    assert isinstance(error, SourceUnavailableError)
    assert "run acme/vision|TAB-1: file 'model' could not be downloaded" in str(error)
    assert "500" in str(error)
    assert [p for p in exported.archive.files.rglob("*") if p.is_file()] == []
