"""File sets: paths within, listings, zips, replacement and removal."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from neptune.exceptions import FileSetNotFound, MetadataInconsistency
from neptune.types import FileSet

from migration_pipeline.neptune_server import RunningServer

from .clients import Raw, open_run

FILES = {
    "d/readme": b"read",
    "d/a/x.csv": b"1,2\n",
    "d/a/b/y.bin": bytes(2000),
    "d/ä ö/z": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`d`, with files in three directories."""
    write(tmp_path, FILES)
    return tmp_path / "d"


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def contents(run: object, field: str) -> dict[str, bytes]:
    """Entry of the zip that the client downloads → bytes."""
    run[field].download("downloaded.zip")  # type: ignore[index]
    with zipfile.ZipFile("downloaded.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_zip_has_all_files_and_an_entry_for_each_directory(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with open_run(server) as run:
        run["data/set"].upload_files("d")
        run["flat"].upload_files("d/readme")
        run["flat"].download("out")
        assert contents(run, "data/set") == {
            **FILES,
            **dict.fromkeys(["/", "d/", "d/a/", "d/a/b/", "d/ä ö/"], b""),
        }
        assert contents(run, "flat") == {"/": b"", "d/readme": b"read", "d/": b""}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["flat.zip"]


def test_the_same_files_give_the_same_zip(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d")
        run["set"].download("one.zip")
        run["set"].download("two.zip")
        run["set"].upload_files("d/a/x.csv")
        run["set"].download("three.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "three.zip").read_bytes()


def test_a_listing_is_of_one_directory(server: RunningServer, folder: Path) -> None:
    server.store.clock = lambda: 1_700_000_000_123
    with open_run(server) as run:
        run["set"].upload_files("d")
        top = run["set"].list_fileset_files()
        below = run["set"].list_fileset_files("d/a")
        with pytest.raises(FileSetNotFound):
            run["set"].list_fileset_files("d/none")
    assert [(one.name, one.size, one.file_type) for one in top] == [("d", 2008, "directory")]
    assert [(one.name, one.size, one.file_type) for one in below] == [
        ("b", 2000, "directory"),
        ("x.csv", 4, "file"),
    ]
    assert {one.mtime.timestamp() for one in [*top, *below]} == {1_700_000_000.123}


def test_uploads_add_and_replace_and_assigning_resets(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d/a")
        write(tmp_path, {"d/a/x.csv": b"new", "e": b"e", "f": b"f"})
        run["set"].upload_files(["d/a/x.csv", "e"])
        files = {name: data for name, data in contents(run, "set").items() if name[-1] != "/"}
        assert files == {"d/a/b/y.bin": bytes(2000), "d/a/x.csv": b"new", "e": b"e"}
        run["set"] = FileSet(["e", "f"])
        assert contents(run, "set") == {"/": b"", "e": b"e", "f": b"f"}
        run["set"] = FileSet(["f"])
        assert contents(run, "set") == {"/": b"", "f": b"f"}


def test_single_files_can_be_taken_out_until_the_set_is_empty(
    server: RunningServer, folder: Path
) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d")
        run["set"].delete_files(["d/readme", "never/there"])
        assert "d/readme" not in contents(run, "set")
        run["set"].delete_files("d")
        assert run["set"].list_fileset_files() == []
        assert contents(run, "set") == {"/": b""}
        raw = Raw(server, run, "set")
        del run["set"]
        assert raw.get("/ls", path="").status_code == 404
        assert raw.post("/downloadFileSetZipRequest").status_code == 404


def test_many_files_and_large_ones(server: RunningServer, tmp_path: Path) -> None:
    large = random.Random(3).randbytes(6 << 20)
    many = {f"many/{number:03d}": b"%d" % number for number in range(520)}
    write(tmp_path, {**many, "many/large": large})
    with open_run(server) as run:
        run["set"].upload_files("many")
        got = contents(run, "set")
    assert got == {**many, "many/large": large, "/": b"", "many/": b""}
    asked = {path.rsplit("/", 1)[-1] for path in server.requests if "/attributes/" in path}
    assert {"uploadFileSetTar", "start", "part", "finish"} <= asked


def test_a_zip_that_is_not_ready_is_polled_for(server: RunningServer, folder: Path) -> None:
    server.faults.limits.zip_polls = 1
    with open_run(server) as run:
        run["set"].upload_files("d/readme")
        assert contents(run, "set")["d/readme"] == b"read"
    polls = server.requests["GET /api/leaderboard/v1/download/downloadRequest"]
    assert (polls, server.requests["GET /dl"]) == (2, 1)


def test_a_zip_is_of_the_set_as_it_was_when_asked_for(server: RunningServer, folder: Path) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d/readme")
        raw = Raw(server, run, "set")
        asked = raw.post("/downloadFileSetZipRequest").json()
        assert asked["downloadUrl"] is None
        run["set"].delete_files("d/readme")
        poll = raw.http.get(
            "/api/leaderboard/v1/download/downloadRequest", params={"id": asked["id"]}
        )
        answer = raw.http.get(poll.json()["downloadUrl"])
    assert zipfile.ZipFile(io.BytesIO(answer.content)).read("d/readme") == b"read"
    assert answer.headers["content-disposition"] == 'attachment; filename="set.zip"'


def test_one_file_of_a_set(server: RunningServer, folder: Path) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d")
        raw = Raw(server, run, "set")
        answer = raw.get("/download", path="d/a/x.csv")
        assert answer.content == b"1,2\n"
        assert answer.headers["content-disposition"] == 'attachment; filename="x.csv"'
        assert raw.get("/download", path="d/a").status_code == 404


def packed(names: list[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"new"))
    return out.getvalue()


def test_a_package_adds_unless_it_says_reset(server: RunningServer, folder: Path) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d/readme")
        raw = Raw(server, run, "set")
        raw.post("/uploadFileSetTar", packed(["one", "./two/"]), reset="False")
        assert sorted(contents(run, "set")) == ["/", "d/", "d/readme", "one", "two"]
        raw.post("/uploadFileSetTar", packed(["three"]), reset="True")
        assert sorted(contents(run, "set")) == ["/", "three"]


def broken(body: bytes) -> bytes:
    return body[: len(body) // 2]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (lambda: b"no tar", 400),
        (lambda: broken(packed(["d/readme"] * 50)), 400),
        (lambda: packed(["d/readme", "../outside"]), 200),
    ],
)
def test_a_package_is_taken_whole_or_not_at_all(
    server: RunningServer, folder: Path, body: Callable[[], bytes], status: int
) -> None:
    with open_run(server) as run:
        run["set"].upload_files("d/readme")
        raw = Raw(server, run, "set")
        answer = raw.post("/uploadFileSetTar", body(), reset="True")
        assert answer.status_code == status
        if status == 200:
            assert "'../outside'" in answer.json()["errors"][0]["errorDescription"]
        assert contents(run, "set") == {"/": b"", "d/": b"", "d/readme": b"read"}
        assert not raw.post("/storage/fileset/upload", b"x", subPath="a/../../b").is_success


def test_a_field_of_another_type_takes_no_files(server: RunningServer, folder: Path) -> None:
    with open_run(server) as run, open_run(server, with_id=run["sys/id"].fetch()) as other:
        run["lr"] = 0.5
        with pytest.raises(MetadataInconsistency, match="lr"):
            other["lr"].upload_files(["d/readme", "d/a/x.csv"])
        run["set"].upload_files("d")
        raw = Raw(server, run, "none")
        operation = b'[{"path": "none", "deleteFiles": {"filePaths": ["x"]}}]'
        refused = raw.post("/operations", operation).json()
        assert "no file set none" in refused[0]["errorDescription"]
        assert run["lr"].fetch() == 0.5
