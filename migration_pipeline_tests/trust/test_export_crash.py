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
from migration_pipeline_tests.archive.making import archive_in, contents
from migration_pipeline_tests.machine import lacks
from migration_pipeline_tests.sources.contract.backends import BACKENDS
from migration_pipeline_tests.sources.contract.place import Place
from migration_pipeline_tests.stores import left_over
from migration_pipeline_tests.trust.crashes import (
    Moment,
    export_everything,
    random_moments,
    run_export,
)

SEED = 20261121


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Runs of all kinds for a source, without faults."""
    with BACKENDS[request.param].many(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.mark.timeout(3600)
def test_stopped_exports_publish_only_whole_runs_and_converge(
    place: Place, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    make, arguments = place.make, place.arguments
    code, last, seconds = run_export(make, arguments, tmp_path / "whole")
    failures, operations = last
    assert (code, failures) == (0, [])
    expected = contents(archive_in(tmp_path / "whole"))
    assert len(expected) == place.count

    count = pytestconfig.getoption("--crashes")
    for i, moment in enumerate(random_moments(count, SEED, operations)):
        folder = tmp_path / f"stopped-{i}"
        archive = archive_in(folder)
        code, last, _ = run_export(make, arguments, folder, moment, seconds)
        left = contents(archive)
        assert left.items() <= expected.items(), f"{moment}: something published is not whole"
        if moment.how == "exception" and last is not None:
            # Raised in a worker's thread, it is one run's, which fails by name.
            assert "stopped by the test" in str(last[0]), f"{moment}: nothing failed"
        elif not moment.how.endswith("later"):
            assert last is None, f"{moment}: the export was not stopped"
            assert code != 0

        code, last, _ = run_export(make, arguments, folder)
        assert (code, last[0]) == (0, []), f"{moment}: the next export failed"
        assert contents(archive) == expected, f"{moment}: the next export did not converge"
        assert not left_over(archive), f"{moment}: something was left behind"
        shutil.rmtree(folder)


def test_a_disk_that_is_really_full(place: Place, tmp_path: Path) -> None:
    source = place.open()
    assert export_everything(source, archive_in(tmp_path)) == []
    expected = contents(archive_in(tmp_path))
    blocks = sum(path.stat().st_blocks for path in tmp_path.rglob("*") if path.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    for share in (0.1, 0.25, 0.5, 0.75):
        size = f"size={int(512 * blocks * share)}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)])
        if mounted.returncode:
            lacks("this machine does not let us mount a file system")
        try:
            archive = archive_in(disk)
            with pytest.raises(ArchiveNotWritableError, match=os.strerror(errno.ENOSPC)):
                export_everything(source, archive)
            published = contents(archive)
            assert published.items() <= expected.items()
            assert not left_over(archive)
            subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
            assert export_everything(source, archive) == []
            assert contents(archive) == expected
            assert not left_over(archive)
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_run_that_changed_is_swapped_and_a_cut_off_swap_is_finished(
    place: Place, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The old export stays until the new one is whole, at every operation of the swap."""
    every = 1 if pytestconfig.getoption("--crashes") >= 100 else 5
    archive = archive_in(tmp_path)
    assert export_everything(place.open(), archive) == []
    key = next(iter(archive.runs(archive.projects()[0])))
    before = contents(archive)

    place.change(key)
    for operations in range(1, 21, every):
        folder = tmp_path / "copy"
        stopped = archive_in(folder)
        shutil.copytree(tmp_path / "data", folder / "data")
        shutil.copytree(tmp_path / "files", folder / "files")
        run_export(place.make, place.arguments, folder, Moment("kill", operations))
        left = contents(stopped)
        assert {k: v for k, v in left.items() if k != key} == {
            k: v for k, v in before.items() if k != key
        }
        _, last, _ = run_export(place.make, place.arguments, folder)
        assert last[0] == []
        after = contents(stopped)
        assert after.keys() == before.keys()
        assert after[key] != before[key]
        assert not left_over(stopped)
        shutil.rmtree(folder)
