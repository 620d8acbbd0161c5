"""Fixtures of tests whose archive lies on an object store: a server for all, a bucket for each.

The server's package is imported only where it is used: every test of the project loads this.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import files_below
from migration_pipeline.archive.staging import work_root
from migration_pipeline.archive.store import StorePath, file_system

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.s3 import S3Server

_NUMBERS = itertools.count()
on_every_store = pytest.mark.parametrize("protocol", ["s3", "gs", "az"])
"""Of a test, or as `pytestmark`: once on each kind of store, instead of on S3 alone."""


class Server(Protocol):
    """A store that answers, for the time of one test.

    Args:
        folder: for the temporary files of its clients.
    """

    folder: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""


@contextlib.contextmanager
def new_file_systems(protocol: str) -> Iterator[None]:
    """In the block, and after it, none is used that was made in another environment."""
    systems = type(file_system(protocol))
    systems.clear_instance_cache()
    yield
    systems.clear_instance_cache()


@pytest.fixture(scope="session")
def store_servers() -> Iterator[Callable[[str], Server]]:
    """The server of a kind of store, started when the first test asks for it."""
    started: dict[str, Server] = {}
    with contextlib.ExitStack() as running:

        def server(protocol: str) -> Server:
            from migration_pipeline_tests.servers.emulators import az_server, gs_server
            from migration_pipeline_tests.servers.s3 import s3_server

            if protocol not in started:
                start = {"s3": s3_server, "gs": gs_server, "az": az_server}[protocol]
                started[protocol] = running.enter_context(start())
            return started[protocol]

        yield server


@pytest.fixture
def protocol() -> str:
    """`on_every_store` says others."""
    return "s3"


@pytest.fixture
def store(
    protocol: str,
    store_servers: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The server, and the environment in which it is found."""
    server = store_servers(protocol)
    server.folder = str(tmp_path_factory.mktemp("temporary"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", server.folder)
    with new_file_systems(protocol):
        yield server


@pytest.fixture
def s3(store: S3Server) -> Iterator[S3Server]:
    """The server of S3, without faults until the test sets some."""
    store.requests.clear()
    store.status = "403 Forbidden"
    yield store
    store.before = lambda request: None


@pytest.fixture
def bucket(store: Server, protocol: str) -> StorePath:
    """A new, empty one."""
    name = f"archive-{next(_NUMBERS)}"
    file_system(protocol).mkdir(name)
    return StorePath(protocol, name)


def left_over(archive: Archive) -> list[str]:
    """All that is no part, no file that a manifest names, and not the mark of whose turn it is;
    also staging folders, and what writers on stores left there unfinished or on this machine."""
    named = {
        run.file(entry.path)
        for project in archive.projects()
        for run in archive.runs(project).values()
        for entry in (run.manifest.files if run.manifest else [])
    }
    others = [
        str(archive.data / path)
        for path in files_below(archive.data)
        if not path.endswith(".parquet") and "/.staging/turns/turn." not in path
    ]
    files = (archive.files / path for path in files_below(archive.files))
    others += [str(path) for path in files if path not in named]
    if isinstance(archive.files, Path):
        return others + [str(path) for path in archive.files.glob("*/.staging/*")]
    for root in (archive.data, archive.files):
        assert isinstance(root, StorePath)
        others += [f"pieces of {path}" for path, _ in root.unfinished()]
    return others + [str(path) for path in work_root().iterdir()]


def upload(folder: Path, to: StorePath) -> StorePath:
    """A folder as it lies, onto a store."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder).as_posix()).put(path)
    return to
