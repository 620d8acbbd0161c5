"""Fixtures of tests whose archive lies on an object store: a server for all, a bucket for each.

The server's package is imported only where it is used: every test of the project loads this.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.writer import work_root

if TYPE_CHECKING:
    from migration_pipeline_tests.servers.s3 import S3Server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    from migration_pipeline_tests.servers.s3 import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(
    s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    """The server, without faults, and the environment in which it is found."""
    import fsspec

    s3_process.folder = str(tmp_path_factory.mktemp("temporary"))
    for name, value in s3_process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", s3_process.folder)
    s3_process.requests.clear()
    s3_process.status = "403 Forbidden"
    systems = fsspec.get_filesystem_class("s3")
    systems.clear_instance_cache()
    yield s3_process
    s3_process.before = lambda request: None
    systems.clear_instance_cache()


@pytest.fixture
def bucket(s3: S3Server) -> StorePath:
    """A new, empty one."""
    import fsspec

    name = f"archive-{next(_NUMBERS)}"
    fsspec.filesystem("s3", use_listings_cache=False, anon=False).mkdir(name)
    return StorePath("s3", name)


def archive_on(place: StorePath) -> Archive:
    return Archive(place / "data", place / "files")


def left_over(archive: Archive) -> list[str]:
    """All that is no part, no file that a manifest names, and not the mark of whose turn it is;
    also what writers on stores left on this machine."""
    assert isinstance(archive.data, StorePath)
    assert isinstance(archive.files, StorePath)
    named = {
        run.file(entry.path)
        for project in archive.projects()
        for run in archive.runs(project).values()
        for entry in (run.manifest.files if run.manifest else [])
    }
    others = [
        str(archive.data / path)
        for path in archive.data.walk()
        if not path.endswith(".parquet") and "/.staging/turns/turn." not in path
    ]
    others += [str(path) for path in archive.files.rglob("*") if path not in named]
    return others + [str(path) for path in work_root().iterdir()]


def upload(folder: Path, to: StorePath) -> StorePath:
    """A folder as it lies, onto a store."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder).as_posix()).put(path)
    return to
