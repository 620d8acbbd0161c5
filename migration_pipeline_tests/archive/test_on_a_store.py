"""An archive on a store of each kind is written, read and swapped as one in a folder is."""

from __future__ import annotations

import pytest

from migration_pipeline.archive import lease
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import StoppedWriterError
from migration_pipeline_tests.archive.making import KEY, archive_in, fill, read_rows, write_run
from migration_pipeline_tests.archive.rivals import (
    assert_one_whole_run,
    die_while_writing,
    rows_of,
    small_parts,
    write_in_processes,
    write_in_threads,
)
from migration_pipeline_tests.archive.test_writing import EVERYTHING
from migration_pipeline_tests.stores import Server, left_over, on_every_store

__all__ = ["small_parts"]
pytestmark = on_every_store


@pytest.fixture
def archive(bucket: StorePath) -> Archive:
    return archive_in(bucket)


def test_every_type_comes_back_as_it_was(archive: Archive) -> None:
    written = write_run(archive, KEY, EVERYTHING)
    assert read_rows(archive, KEY) == EVERYTHING
    run = archive.find(KEY)
    assert run is not None
    assert run.manifest == written
    assert run.sums().digest() == written.digest
    assert archive.projects() == [KEY.project]
    assert archive.runs(KEY.project).keys() == {KEY}
    assert archive.manifests(KEY.project, [KEY]) == {KEY: written}
    assert left_over(archive) == []


@pytest.mark.usefixtures("small_parts")
def test_threads_that_write_one_run(archive: Archive) -> None:
    write_in_threads(archive, 3, 3)
    assert_one_whole_run(archive)


@pytest.mark.usefixtures("small_parts")
def test_processes_that_write_one_run(archive: Archive, bucket: StorePath, store: Server) -> None:
    write_in_processes(bucket, 2, 2, store.environment)
    assert_one_whole_run(archive)


@pytest.mark.usefixtures("small_parts")
def test_recovery_removes_what_a_killed_writer_left_and_nothing_of_a_living_one(
    archive: Archive, bucket: StorePath, store: Server
) -> None:
    write_run(archive, KEY, rows_of(1, 1))
    die_while_writing(bucket, store.environment)
    assert left_over(archive), "it left nothing to remove"
    with RunWriter(archive, KEY, "test") as living:
        fill(living, rows_of(2, 3)[:50])
        fill(living, rows_of(2, 3)[50:100])
        assert recover(archive, KEY.project) == []
        fill(living, rows_of(2, 3)[100:])
        living.commit()
    assert_one_whole_run(archive)
    assert len(archive.find(KEY).parts) == 3  # type: ignore[union-attr]


@pytest.mark.usefixtures("small_parts")
def test_a_writer_that_stood_still_for_too_long_gives_up(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one takes it for dead, removes what it had, and it must not publish the rest."""
    write_run(archive, KEY, rows_of(1, 1))
    with RunWriter(archive, KEY, "test") as stopped:
        fill(stopped, rows_of(2, 3)[:50])
        fill(stopped, rows_of(2, 3)[50:100])
        clock = lease._clock
        monkeypatch.setattr(lease, "_clock", lambda: clock() + 2 * lease.LEASE_SECONDS)
        monkeypatch.setattr(lease, "is_dead", lambda path, now: True)
        recover(archive, KEY.project)
        fill(stopped, rows_of(2, 3)[100:])
        with pytest.raises(StoppedWriterError, match="stood still"):
            stopped.commit()
    assert_one_whole_run(archive)


def test_a_turn_whose_holder_is_on_another_machine_ends_when_it_is_not_renewed(
    bucket: StorePath,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (bucket / "turns/turn.1").write_bytes(b"elsewhere 1 1 x")
    monkeypatch.setattr(lease, "store_clock", lambda folder: lambda: 1e12)
    with lease.turn(bucket / "turns") as still_ours:
        still_ours()
        assert list(bucket.walk()) == ["turns/turn.2"]
    assert (bucket / "turns/turn.2").read_bytes() == b"free"
