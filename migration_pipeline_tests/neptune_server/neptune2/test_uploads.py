"""Single files: names, replacement, parts and their ranges; nothing unfinished is seen."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from neptune.exceptions import MetadataInconsistency
from neptune.types import File

from migration_pipeline.neptune_server import Fault, RunningServer

from .clients import PROJECT, Raw, open_run, tree

MIB = 1 << 20
MANY = random.Random(5).randbytes(13 * MIB + 7)


def test_a_file_keeps_bytes_and_extension_and_is_named_after_its_field(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "Makefile").write_bytes(b"all:\n")
    (tmp_path / "out").mkdir()
    with open_run(server) as run:
        run["data/train"].upload("data.csv")
        run["build/rules"].upload("Makefile")
        run["raw"].upload(File.from_content(b"\0\1"))
        run["note"].upload(File.from_content("schön"))
        run["mit leer/gewichte ä"].upload(File.from_content(b"w", extension="tar.gz"))
        fields = ("data/train", "build/rules", "raw", "note", "mit leer/gewichte ä")
        for field in fields:
            run[field].download("out")
        extensions = [run[field].fetch_extension() for field in fields]
    assert extensions == ["csv", "", "bin", "txt", "tar.gz"]
    assert tree(tmp_path / "out") == {
        "train.csv": b"a,b\n1,2\n",
        "rules": b"all:\n",
        "raw.bin": b"\0\1",
        "note.txt": "schön".encode(),
        "gewichte _.tar.gz": b"w",
    }


@pytest.mark.parametrize("deleted_between", [False, True])
def test_a_second_upload_replaces_content_and_extension(
    server: RunningServer, tmp_path: Path, deleted_between: bool
) -> None:
    (tmp_path / "out").mkdir()
    with open_run(server) as run:
        run["file"].upload(File.from_content(b"first", extension="one"))
        if deleted_between:
            del run["file"]
        run["file"].upload(File.from_content(b"2nd", extension="two"))
        run["file"].download("out")
        assert run["file"].fetch_extension() == "two"
    assert tree(tmp_path / "out") == {"file.two": b"2nd"}


def test_a_large_file_comes_in_parts(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(MANY)
    with open_run(server) as run:
        run["model"].upload("model.pt")
        run["model"].download("back")
    asked = {path.rsplit("/", 1)[-1]: n for path, n in server.requests.items() if "/file/" in path}
    assert asked == {"start": 1, "part": 3, "finish": 1}
    assert (tmp_path / "back").read_bytes() == MANY


def test_the_client_starts_over_when_the_length_is_wrong(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(MANY)
    refusal = b'{"message": "Length of stream does not match given range"}'
    server.faults.add(Fault(r"/file/upload/part", status=400, content=refusal, times=1))
    with open_run(server) as run:
        run["model"].upload("model.pt")
        run["model"].download("back")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == _digest(MANY)
    assert server.requests["POST /api/leaderboard/v1/attributes/storage/file/upload/start"] == 2


def test_an_unfinished_upload_is_not_seen(server: RunningServer) -> None:
    with open_run(server) as run:
        raw = Raw(server, run, "file")
        first = raw.post("/storage/file/upload/start", totalLength=6, ext="txt").json()
        raw.post("/storage/file/upload/part", b"abc", "bytes=0-2/6", **_part(first, 0))
        assert raw.get("/download").status_code == 404
        raw.post("/storage/file/upload", b"whole", ext="bin")
        raw.post("/storage/file/upload/part", b"def", "bytes=3-5/6", **_part(first, 1))
        assert raw.get("/download").content == b"whole"
        finish = raw.post("/storage/file/upload/finish", uploadId=first["uploadId"])
        assert finish.json() == {"errors": []}
        assert raw.get("/download").content == b"abcdef"
        assert raw.get("/files").json()["ext"] == "txt"


@pytest.mark.parametrize(
    ("body", "x_range"),
    [(b"abcd", "bytes=0-2/6"), (b"abc", "bytes=0-2/7"), (b"abc", "bytes=4-6/6"), (b"abc", "0-2/6")],
)
def test_a_part_must_fit_its_range(server: RunningServer, body: bytes, x_range: str) -> None:
    with open_run(server) as run:
        raw = Raw(server, run, "file")
        started = raw.post("/storage/file/upload/start", totalLength=6, ext="").json()
        refused = raw.post("/storage/file/upload/part", body, x_range, **_part(started, 0))
        assert refused.status_code == 400
        if x_range.startswith("bytes"):
            assert refused.json()["message"] == "Length of stream does not match given range"


def test_parts_may_come_twice_and_in_any_order_but_must_not_leave_gaps(
    server: RunningServer,
) -> None:
    with open_run(server) as run:
        raw = Raw(server, run, "file")
        started = raw.post("/storage/file/upload/start", totalLength=6, ext="").json()
        raw.post("/storage/file/upload/part", b"ef", "bytes=4-5/6", **_part(started, 2))
        raw.post("/storage/file/upload/part", b"xx", "bytes=0-1/6", **_part(started, 0))
        gap = raw.post("/storage/file/upload/finish", uploadId=started["uploadId"])
        assert (gap.status_code, gap.json()["message"]) == (
            400,
            "Bytes from 2 of 6 were not received",
        )
        raw.post("/storage/file/upload/part", b"cd", "bytes=2-3/6", **_part(started, 1))
        raw.post("/storage/file/upload/part", b"ab", "bytes=0-1/6", **_part(started, 0))
        for _ in range(2):  # the first answer may have been lost
            done = raw.post("/storage/file/upload/finish", uploadId=started["uploadId"])
            assert (done.status_code, done.json()) == (200, {"errors": []})
        assert raw.get("/download").content == b"abcdef"
        unknown = raw.post("/storage/file/upload/finish", uploadId="none")
        assert unknown.status_code == 404


def test_a_field_of_another_type_takes_no_file(server: RunningServer) -> None:
    with open_run(server) as run, open_run(server, with_id=run["sys/id"].fetch()) as other:
        run["lr"] = 0.5
        with pytest.raises(MetadataInconsistency, match="lr"):
            other["lr"].upload(File.from_content(b"x"))
        assert run["lr"].fetch() == 0.5
        raw = Raw(server, run, "lr")
        started = raw.post("/storage/file/upload/start", totalLength=1, ext="").json()
        assert started["errors"][0]["errorType"] == "metadata_inconsistency"
        raw = Raw(server, run, "other")
        raw.about["experimentIdentifier"] = f"{PROJECT}/TAB-99"
        missing = raw.post("/storage/file/upload", b"x", ext="")
        assert (missing.status_code, missing.json()["errorType"]) == (404, "EXPERIMENT_NOT_FOUND")


def _part(started: dict[str, str], number: int) -> dict[str, object]:
    return {"uploadId": started["uploadId"], "uploadPartIdx": number}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
