"""Whatever stops an export, what is published is whole, and the next export makes up the rest."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.errors import ArchiveNotWritableError
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.source import Neptune2Source
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.neptune3.source import Neptune3Source
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline_tests.machine import lacks
from migration_pipeline_tests.stores import left_over
from migration_pipeline_tests.trust.crashes import (
    Moment,
    contents,
    export_everything,
    random_moments,
    run_export,
)

SEED = 20261121


def make_neptune3(token: str) -> Neptune3Source:
    return Neptune3Source(Neptune3Config(api_token=token, workers=3, retry_seconds=20))


def make_neptune2(token: str) -> Neptune2Source:
    return Neptune2Source(Neptune2Config(api_token=token, workers=3, retry_seconds=20))


SOURCES = {"neptune3": make_neptune3, "neptune2": make_neptune2}
OBJECTS = {"neptune3": 35, "neptune2": 11}
"""So many each source finds."""


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(sample_stores: dict[str, Store], name: str) -> Iterator[RunningServer]:
    """The sample workspace for a source, without faults."""
    with running_server(sample_stores[name]) as running:
        yield running


@pytest.mark.timeout(3600)
def test_stopped_exports_publish_only_whole_runs_and_converge(
    name: str, server: RunningServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    make, arguments = SOURCES[name], (server.token,)
    whole = tmp_path / "whole"
    code, last, seconds = run_export(make, arguments, whole)
    failures, operations = last
    assert (code, failures) == (0, [])
    expected = contents(whole)
    assert len(expected) == OBJECTS[name]

    count = pytestconfig.getoption("--crashes")
    for i, moment in enumerate(random_moments(count, SEED, operations)):
        folder = tmp_path / f"stopped-{i}"
        code, last, _ = run_export(make, arguments, folder, moment, seconds)
        left = contents(folder)
        assert left.items() <= expected.items(), f"{moment}: something published is not whole"
        if moment.how == "exception" and last is not None:
            # Raised in a worker's thread, it is one run's, which fails by name.
            assert "stopped by the test" in str(last[0]), f"{moment}: nothing failed"
        elif not moment.how.endswith("later"):
            assert last is None, f"{moment}: the export was not stopped"
            assert code != 0

        code, last, _ = run_export(make, arguments, folder)
        assert (code, last[0]) == (0, []), f"{moment}: the next export failed"
        assert contents(folder) == expected, f"{moment}: the next export did not converge"
        assert not left_over(archive_in(folder)), f"{moment}: something was left behind"
        shutil.rmtree(folder)


def test_a_run_that_changed_is_swapped_and_a_cut_off_swap_is_finished(
    name: str, server: RunningServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The old export stays until the new one is whole, at every operation of the swap."""
    every = 1 if pytestconfig.getoption("--crashes") >= 100 else 5
    make = SOURCES[name]
    source = make(server.token)
    archive = archive_in(tmp_path)
    assert export_everything(source, archive) == []
    key = next(iter(archive.runs(archive.projects()[0])))
    before = contents(tmp_path)

    project = server.store.projects[key.project]
    run = project.find(key.run) or project.runs[key.run]
    run.set("config/added_later", "int", 42)
    for operations in range(1, 21, every):
        stopped = tmp_path / "copy"
        shutil.copytree(tmp_path / "data", stopped / "data")
        shutil.copytree(tmp_path / "files", stopped / "files")
        run_export(make, (server.token,), stopped, Moment("kill", operations))
        left = contents(stopped)
        assert {k: v for k, v in left.items() if k != key} == {
            k: v for k, v in before.items() if k != key
        }
        _, last, _ = run_export(make, (server.token,), stopped)
        assert last[0] == []
        after = contents(stopped)
        assert after.keys() == before.keys()
        assert after[key] != before[key]
        assert not left_over(archive_in(stopped))
        shutil.rmtree(stopped)


@pytest.mark.parametrize("size", ["120k", "200k", "300k", "500k"])
def test_a_disk_that_is_really_full(
    name: str, server: RunningServer, tmp_path: Path, size: str
) -> None:
    source = SOURCES[name](server.token)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)])
    if mounted.returncode:
        lacks("this machine does not let us mount a file system")
    try:
        archive = archive_in(disk)
        with pytest.raises(ArchiveNotWritableError, match=os.strerror(errno.ENOSPC)):
            export_everything(source, archive)
        published = contents(disk)
        assert not left_over(archive)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert export_everything(source, archive) == []
        assert published.items() <= contents(disk).items()
        assert not left_over(archive)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
