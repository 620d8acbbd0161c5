"""A run, a model, a model version and a project's metadata may have one id: they never meet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.layout import name_on_disk
from migration_pipeline.archive.manifest import KINDS
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import (
    Row,
    archive_in,
    fill,
    row,
    values,
    write_run,
)

PROJECT = "acme/tabular"
KEYS = [RunKey(PROJECT, "TAB-1", kind) for kind in KINDS]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """All four, each with a file of one name and one of its own content."""
    made = archive_in(tmp_path)
    for key in KEYS:
        write_run(made, key, rows_of(key))
    return made


def rows_of(key: RunKey, note: bytes = b"first") -> list[Row]:
    return [
        row("kind", "string", key.kind),
        row("weights", "file", b"the same in all"),
        row("note", "file", key.kind.encode() + b" " + note),
    ]


def expected(key: RunKey, note: bytes = b"first") -> dict[str, object]:
    return {r["path"]: r["value"] for r in rows_of(key, note)}


def test_each_is_found_with_its_own_rows_and_files(archive: Archive) -> None:
    assert set(archive.runs(PROJECT)) == set(KEYS)
    assert archive.projects() == [PROJECT]
    found = archive.manifests(PROJECT, KEYS)
    assert {key: m.kind if m else None for key, m in found.items()} == {k: k.kind for k in KEYS}
    assert [values(archive, key) for key in KEYS] == [expected(key) for key in KEYS]


def test_messages_tell_them_apart() -> None:
    assert [str(key) for key in KEYS] == [
        "acme/tabular|TAB-1",
        "acme/tabular|TAB-1 (model)",
        "acme/tabular|TAB-1 (model version)",
        "acme/tabular|TAB-1 (project metadata)",
    ]


def test_each_has_a_directory_for_its_parts_and_one_for_its_files(archive: Archive) -> None:
    stem = name_on_disk("TAB-1")
    for root, below in ((archive.data, ""), (archive.files, f"{stem}/")):
        folder = root / name_on_disk(PROJECT)
        found = {p.relative_to(folder).as_posix() for p in folder.rglob(f"{below}*") if p.is_file()}
        directories = {name.rpartition(stem)[0] for name in found}
        assert directories == {"", "models/", "model_versions/", "project/"}


@pytest.mark.parametrize("again", KEYS, ids=lambda key: key.kind)
def test_exporting_one_again_removes_no_file_of_the_others(archive: Archive, again: RunKey) -> None:
    write_run(archive, again, rows_of(again, b"second"))
    for key in KEYS:
        note = b"second" if key == again else b"first"
        assert values(archive, key) == expected(key, note)
    root = archive.files_root(PROJECT)
    assert len([p for p in root.rglob("*") if p.is_file()]) == 2 * len(KEYS)


@pytest.mark.parametrize("cut", KEYS, ids=lambda key: key.kind)
def test_a_swap_that_was_cut_off_is_finished_for_its_own_kind(
    archive: Archive, cut: RunKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    writer = RunWriter(archive, cut, "test")
    fill(writer, rows_of(cut, b"second"))
    with monkeypatch.context() as dying:
        dying.setattr(writer_module, "publish", die)
        dying.setattr(writer_module, "remove_files", lambda files: None)
        with pytest.raises(Died):
            writer.commit()
    assert writer._alive is not None
    os.close(writer._alive)  # the lock of a process that is gone
    assert recover(archive, PROJECT) == [name_on_disk("TAB-1")]
    for key in KEYS:
        note = b"second" if key == cut else b"first"
        assert values(archive, key) == expected(key, note)
    files = {p for p in archive.files_root(PROJECT).rglob("*") if p.is_file()}
    assert len(files) == 2 * len(KEYS)


def test_four_writers_at_a_time_leave_each_other_alone(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "other")
    writers = [RunWriter(archive, key, "test") for key in KEYS]
    for writer in writers:
        fill(writer, rows_of(writer.key))
    assert recover(archive, PROJECT) == []
    for writer in writers:
        writer.commit()
        writer.discard()
    assert [values(archive, key) for key in KEYS] == [expected(key) for key in KEYS]


def test_a_run_called_like_a_directory_of_a_kind(archive: Archive) -> None:
    for name in ("models", "model_versions", "project", "models/TAB-1"):
        key = RunKey(PROJECT, name)
        write_run(archive, key, [row("f", "file", name.encode())])
        write_run(archive, key, [row("f", "file", b"again")])
        assert values(archive, key) == {"f": b"again"}
    assert [values(archive, key) for key in KEYS] == [expected(key) for key in KEYS]
