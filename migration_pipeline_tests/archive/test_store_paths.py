"""Paths on a store of each kind say what those of a folder say, and name what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from migration_pipeline.archive.location import Location, files_below, folders_in, names_in, replace
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_errors import PACKAGES
from migration_pipeline.archive.store_files import arrow_file
from migration_pipeline.errors import ObjectStoreRefusedError
from migration_pipeline.neptune_server.running import HOST
from migration_pipeline_tests.servers.emulators import AZURE_KEY, answering, azure_connection
from migration_pipeline_tests.stores import Server, new_file_systems, on_every_store

OBJECTS = {
    "data/run_part_0.parquet": b"part",
    "data/models/one": b"model",
    "data/models/deep/er/two": b"",
    "data-2/of a neighbour": b"x",
    "data.txt": b"a name that begins like a folder's",
    "odd/ö ü #1?&a=b+c%20.bin": b"odd",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in OBJECTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def filled(bucket: StorePath) -> StorePath:
    root = bucket / "archive"
    for name, content in OBJECTS.items():
        (root / name).write_bytes(content)
    return root


def listed(root: Location, name: str) -> list[object]:
    """Everything that is said of a path, but for places and times."""
    path = root / name if name else root
    if not path.is_dir():
        return [path.exists(), path.is_file(), path.stat().st_size if path.exists() else None]
    return [
        sorted(names_in(path)),
        [found.name for found in folders_in(path)],
        files_below(path),
        sorted(str(found.name) for found in path.rglob("*e*") if found.is_file()),
    ]


@on_every_store
def test_listings_are_those_of_a_folder(filled: StorePath, folder: Path) -> None:
    names = {"", "data", "data-2", "dat", "data/models", "data/models/deep", "odd", "none/none"}
    for name in sorted(names | OBJECTS.keys()):
        assert listed(filled, name) == listed(folder, name), name


@on_every_store
def test_bytes_are_those_that_were_written(filled: StorePath, tmp_path: Path) -> None:
    for name, content in OBJECTS.items():
        assert (filled / name).read_bytes() == content
    content = random.Random(1).randbytes((9 << 20) + 1)
    (tmp_path / "big").write_bytes(content)
    big, moved = filled / "data/big.bin", filled / "data/moved"
    big.put(tmp_path / "big")
    assert big.stat().st_size == len(content)
    assert big.read_range(8 << 20, len(content)) == content[8 << 20 :]
    replace(big, moved)
    assert not big.exists()
    moved.fetch(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    with arrow_file(moved) as file:
        file.seek(5 << 20)
        assert file.read(1 << 10) == content[5 << 20 :][: 1 << 10]


@on_every_store
def test_only_one_creates_an_object(bucket: StorePath) -> None:
    path = bucket / "turn"
    assert path.create(b"first")
    assert not path.create(b"second")
    assert path.read_bytes() == b"first"
    path.unlink()
    assert path.create(b"third")


@on_every_store
def test_what_is_not_there(bucket: StorePath) -> None:
    path = bucket / "folder/none"
    for ask in (path.stat, path.read_bytes, lambda: path.read_range(0, 9)):
        with pytest.raises(FileNotFoundError):
            ask()
    with pytest.raises(FileNotFoundError):
        path.copy_to(bucket / "other")
    path.unlink(missing_ok=True)
    assert path.walk() == {}
    assert names_in(path) == []
    assert not path.exists()


ASKED: dict[str, Callable[[StorePath], object]] = {
    "stat": lambda path: path.stat(),
    "exists": lambda path: path.exists(),
    "names": names_in,
    "walk": lambda path: path.walk(),
    "folders": lambda path: list(path.folders()),
    "read": lambda path: path.read_bytes(),
    "range": lambda path: path.read_range(0, 9),
    "write": lambda path: path.write_bytes(b"x"),
    "create": lambda path: path.create(b"x"),
    "put": lambda path: path.put(Path(__file__)),
    "copy": lambda path: path.copy_to(path.parent / "other"),
    "unlink": lambda path: path.unlink(missing_ok=True),
    "require": lambda path: path.require_bucket(),
}


@pytest.mark.usefixtures("store")
@on_every_store
def test_a_bucket_that_is_not_there_is_named(protocol: str) -> None:
    path = StorePath(protocol, "of-nobody/folder/name")
    for name, ask in ASKED.items():
        with pytest.raises(ObjectStoreRefusedError) as refused:
            ask(path)
        assert "there is no such bucket" in str(refused.value), name
        assert f"{protocol}://of-nobody" in str(refused.value), name


GOOGLE = b'{"error": {"code": %d, "message": "It has no storage.objects.list access."}}'
_CODE = "AuthorizationPermissionMismatch"
AZURE = f"<Error><Code>{_CODE}</Code><Message>Not permitted.</Message></Error>".encode()


@pytest.mark.parametrize(
    ("protocol", "status", "body"),
    [("gs", 401, GOOGLE % 401), ("gs", 403, GOOGLE % 403), ("az", 403, AZURE)],
    ids=["gs-401", "gs-403", "az-403"],
)
def test_a_store_that_does_not_permit_it(
    protocol: str, status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {"x_ms_error_code": _CODE} if protocol == "az" else {}
    with answering(status, body, **code) as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{HOST}:{port}")
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_connection(port))
        with new_file_systems(protocol):
            for name in ("names", "stat", "read", "create", "require"):
                with pytest.raises(ObjectStoreRefusedError) as refused:
                    ASKED[name](StorePath(protocol, "bucket/folder/name"))
                assert "access is refused" in str(refused.value), name
                assert PACKAGES[protocol].variables in str(refused.value), name


def test_a_wrong_key_is_refused_and_not_told(
    store_servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = store_servers("az").environment["AZURE_STORAGE_CONNECTION_STRING"]
    wrong = AZURE_KEY.replace("E", "F")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", right.replace(AZURE_KEY, wrong))
    with (
        new_file_systems("az"),
        pytest.raises(ObjectStoreRefusedError, match="access is refused") as refused,
    ):
        StorePath("az", "bucket/folder").write_bytes(b"x")
    assert wrong not in str(refused.value)
