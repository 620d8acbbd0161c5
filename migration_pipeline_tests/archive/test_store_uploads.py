"""A file that goes to a store in pieces is there with all of them or not at all, and what is left
of one that was cut off is removed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.staging import STAGING, tmp_name
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import ObjectStoreRefusedError
from migration_pipeline_tests.archive.making import KEY, archive_in, write_run
from migration_pipeline_tests.archive.rivals import put_or_die, rows_of
from migration_pipeline_tests.servers.s3 import S3Server, refused
from migration_pipeline_tests.stores import Server, left_over, on_every_store

PIECES = {"s3": 5, "gs": 4, "az": 1}
"""Requests of the file below: of S3 also to begin and to complete, of Google's to begin."""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of three pieces."""
    file = tmp_path / "big"
    file.write_bytes(random.Random(1).randbytes((17 << 20) + 1))
    return file


@on_every_store
def test_a_put_that_is_killed_ahead_of_any_request_leaves_no_object(
    big: Path, bucket: StorePath, store: Server, protocol: str
) -> None:
    path = bucket / "data/big"
    limit = 1
    while not put_or_die(path, big, store.environment, limit):
        assert bucket.walk() == {}, f"killed ahead of request {limit}"
        limit += 1
    assert limit - 1 == PIECES[protocol]
    assert path.read_bytes() == big.read_bytes()


def test_a_put_of_which_any_request_fails_leaves_nothing(
    big: Path, bucket: StorePath, s3: S3Server
) -> None:
    path = bucket / "data/big"
    left = 0

    def refuse_one(request: str) -> bytes | None:
        nonlocal left
        if not request.startswith(("PUT ", "POST ")):
            return None
        left -= 1
        return None if left else refused(request)

    for number in range(1, PIECES["s3"] + 1):
        left, s3.before = number, refuse_one
        with pytest.raises(ObjectStoreRefusedError):
            path.put(big)
        s3.before = lambda request: None
        assert bucket.walk() == {}
        assert (bucket / "data").unfinished() == []


def test_pieces_that_a_dead_writer_left_are_removed_and_those_of_others_are_not(
    big: Path, bucket: StorePath, store: Server
) -> None:
    archive = archive_in(bucket)
    project, files = archive.project_directory(KEY.project), archive.files_root(KEY.project)
    assert isinstance(project, StorePath)
    assert isinstance(files, StorePath)
    dead = {
        project / tmp_name("run", 0, "deaddead"),
        project / "models" / tmp_name("model", 1, "deaddead"),
        files / STAGING / "run.deaddead" / "0123",
    }
    with RunWriter(archive, KEY, "test") as living:
        others = {
            project / tmp_name("run", 1, living._generation),
            project / "run_part_0.parquet.tmp",
            project / "notes.txt",
        }
        for path in dead | others:
            assert not put_or_die(path, big, store.environment, 3)
        assert {path for path, _ in unfinished(bucket)} == dead | others
        assert recover(archive, KEY.project) == []
        assert {path for path, _ in unfinished(bucket)} == others
    recover(archive, KEY.project)
    foreign = {project / "run_part_0.parquet.tmp", project / "notes.txt"}
    assert {path for path, _ in unfinished(bucket)} == foreign
    write_run(archive, KEY, rows_of(1, 1))
    assert sorted(left_over(archive)) == sorted(f"pieces of {path}" for path in foreign)


def unfinished(bucket: StorePath) -> list[tuple[StorePath, str]]:
    return [*(bucket / "data").unfinished(), *(bucket / "files").unfinished()]


def test_whoever_may_not_list_uploads_may_write_all_the_same(
    bucket: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def denied(path: StorePath) -> None:
        asked.append(path)
        raise ObjectStoreRefusedError(str(path), "access is refused")

    monkeypatch.setattr(StorePath, "unfinished", denied)
    archive = archive_in(bucket)
    assert recover(archive, KEY.project) == []
    assert asked == [archive.project_directory(KEY.project), archive.files_root(KEY.project)]
