"""Two writers of one run, in threads or processes: one of them wins whole, nobody's files go."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.staging import scratch_directory
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import KEY, archive_in, fill, read_rows, write_run
from migration_pipeline_tests.archive.rivals import (
    assert_one_whole_run,
    die_while_writing,
    rows_of,
    small_parts,
    write_in_processes,
    write_in_threads,
)

__all__ = ["small_parts"]


@pytest.fixture
def archive(tmp_path: Path, small_parts: None) -> Archive:
    return archive_in(tmp_path)


def test_threads(archive: Archive) -> None:
    write_in_threads(archive, 4, 6)
    assert_one_whole_run(archive)


def test_processes(archive: Archive, tmp_path: Path) -> None:
    write_in_processes(tmp_path, 3, 6, {})
    assert_one_whole_run(archive)


def test_the_last_to_commit_wins_whole(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as one, RunWriter(archive, KEY, "test") as two:
        for start in range(0, 150, 50):
            fill(one, rows_of(1, 3)[start : start + 50])
            fill(two, rows_of(2, 2)[start : start + 50])
        two.commit()
        one.commit()
    assert_one_whole_run(archive)
    assert len(archive.find(KEY).parts) == 3  # type: ignore[union-attr]


def test_a_writer_that_gives_up_takes_no_file_of_the_one_that_committed(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as gives_up:
        fill(gives_up, rows_of(1, 1))
        write_run(archive, KEY, rows_of(2, 1))
    assert_one_whole_run(archive)


def test_a_commit_takes_no_file_of_one_that_commits_later(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as later:
        fill(later, rows_of(1, 1))
        write_run(archive, KEY, rows_of(2, 1))
        later.commit()
    assert_one_whole_run(archive)
    assert {r["value"] for r in read_rows(archive, KEY) if r["path"] == "own"} == {b"1"}


def test_recovery_leaves_a_living_writer_alone(archive: Archive) -> None:
    with (
        scratch_directory(archive, KEY.project) as scratch,
        RunWriter(archive, KEY, "test") as writer,
    ):
        (scratch / "download").write_bytes(b"half")
        fill(writer, rows_of(1, 2)[:50])
        writer.flush()
        assert recover(archive, KEY.project) == []
        assert (scratch / "download").read_bytes() == b"half"
        fill(writer, rows_of(1, 2)[50:])
        writer.commit()
        assert recover(archive, KEY.project) == []
    assert_one_whole_run(archive)


def test_recovery_removes_what_a_killed_writer_left(archive: Archive, tmp_path: Path) -> None:
    write_run(archive, KEY, rows_of(1, 1))
    die_while_writing(tmp_path, {})
    assert list(archive.data.rglob("*.tmp")), "it left nothing to remove"
    assert recover(archive, KEY.project) == []
    assert_one_whole_run(archive)


def test_what_another_tool_writes_is_not_touched(archive: Archive) -> None:
    directory = archive.project_directory(KEY.project)
    directory.mkdir(parents=True)
    theirs = [directory / name for name in ("x_part_0.parquet.tmp", "x_part_1.parquet", "x.tmp")]
    for path in theirs:
        path.write_bytes(b"theirs")
    recover(archive, KEY.project)
    write_run(archive, KEY, rows_of(1, 1))
    assert [path.read_bytes() for path in theirs] == [b"theirs"] * 3
