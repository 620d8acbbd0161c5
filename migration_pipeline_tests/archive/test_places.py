"""Where runs are looked for: roots of models, long names, folders that change meanwhile."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import DamagedPartError, NotAnArchiveError
from migration_pipeline_tests.archive.making import archive_in, read_rows, row, write_run

ROOT = Path(__file__).parent.parent / "data" / "neptune2-complete"
TABULAR = "acme/tabular"
MODEL = RunKey(TABULAR, "TAB-MOD", "model")
VERSION = RunKey(TABULAR, "TAB-MOD-1", "model_version")
OLD = 1_000_000_000
"""A time of change of long ago, in seconds."""


@pytest.fixture
def archive() -> Archive:
    return Archive(ROOT / "data", ROOT / "files", ROOT / "model_data", ROOT / "model_files")


def test_models_are_found_under_their_own_roots(archive: Archive) -> None:
    runs = archive.runs(TABULAR)
    assert {(key.kind, key.run) for key in runs if key.kind != "run"} == {
        ("model", "TAB-MOD"),
        ("model_version", "TAB-MOD-1"),
        ("model_version", "TAB-MOD-2"),
    }
    assert len(runs) == 8
    assert archive.find(VERSION) == runs[VERSION]
    assert archive.manifests(TABULAR, [MODEL, VERSION]) == {MODEL: None, VERSION: None}
    without = replace(archive, model_data=None, model_files=None)
    assert {key.kind for key in without.runs(TABULAR)} == {"run"}
    assert without.find(VERSION) is None


def test_their_files_are_those_of_the_model_files(archive: Archive) -> None:
    version = archive.find(VERSION)
    assert version is not None
    (path,) = [
        value["path"]
        for batch in version.batches(columns=["file_value"])
        for value in batch.column(0).to_pylist()
        if value
    ]
    assert version.file(path) == ROOT / "model_files" / "acme_tabular-114f123d7bd37f37" / path
    assert version.file_info(path).size == version.file(path).stat().st_size > 0


def test_a_project_that_has_models_only(archive: Archive, tmp_path: Path) -> None:
    models = replace(archive, data=tmp_path / "nothing", files=tmp_path / "nothing")
    assert models.projects() == [TABULAR]
    assert {key.kind for key in models.runs(TABULAR)} == {"model", "model_version"}
    with pytest.raises(NotAnArchiveError, match="it is a file"):
        replace(archive, model_data=Path(__file__)).projects()


def test_what_is_in_both_places_is_taken_from_the_data(archive: Archive, tmp_path: Path) -> None:
    both = replace(archive, data=tmp_path / "data", files=tmp_path / "files")
    write_run(both, MODEL, [row("a", "int", 7)])
    assert [r["value"] for r in read_rows(both, MODEL)] == [7]
    assert both.runs(TABULAR)[MODEL].manifest is not None
    assert both.manifests(TABULAR, [MODEL])[MODEL] is not None
    assert not list((ROOT / "model_data").rglob("*.tmp"))


def test_a_run_and_a_model_of_one_id(archive: Archive, tmp_path: Path) -> None:
    both = replace(archive, data=tmp_path / "data", files=tmp_path / "files")
    run = replace(MODEL, kind="run")
    write_run(both, run, [row("a", "int", 7)])
    found = both.runs(TABULAR)
    assert found[run].manifest is not None
    assert found[MODEL].manifest is None


@pytest.mark.parametrize("run", ["x" * 215, "ü" * 105, "a/" * 100])
def test_a_name_that_another_tool_did_not_cut(run: str, tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    key = RunKey("ws/p", run)
    write_run(archive, key, [row("a", "int", 7)])
    directory = archive.project_directory("ws/p")
    (part,) = directory.glob("*.parquet")
    uncut = f"{layout.clean(run)}-{layout.digest(run)}"
    assert part.name != layout.part_name(uncut, 0)
    part.rename(directory / layout.part_name(uncut, 0))
    assert [r["value"] for r in read_rows(archive, key)] == [7]
    assert list(archive.manifests("ws/p", [key])) == [key]
    assert list(archive.runs("ws/p")) == [key]


def test_parts_under_the_name_of_another_run_are_not_taken_for_it(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    one, two = RunKey("ws/p", "one"), RunKey("ws/p", "two")
    for key in (one, two):
        write_run(archive, key, [row("a", "string", key.run)])
    directory = archive.project_directory("ws/p")
    names = [directory / layout.part_name(layout.name_on_disk(key.run), 0) for key in (one, two)]
    names[0].rename(tmp_path / "kept")
    names[1].rename(names[0])
    with pytest.raises(DamagedPartError, match="named as another run, but is of 'two'"):
        archive.find(one)
    damaged: list[DamagedPartError] = []
    assert archive.runs("ws/p", damaged) == {}
    assert [error.path for error in damaged] == [str(names[0])]


def test_a_folder_is_listed_anew_when_it_changed(tmp_path: Path) -> None:
    """Also when nothing but its time of change, or not even that, tells of a change just made."""
    archive = archive_in(tmp_path)
    one, two = RunKey("ws/p", "one"), RunKey("ws/p", "two")
    write_run(archive, one, [row("a", "int", 1)])
    directory = archive.project_directory("ws/p")
    shutil.copytree(directory, tmp_path / "copy")
    assert archive.find(two) is None
    write_run(archive, two, [row("a", "int", 2)])  # at once: the time may be the same
    assert archive.find(two) is not None
    os.utime(directory, (OLD, OLD))
    assert archive.find(two) is not None
    (directory / layout.part_name(layout.name_on_disk("two"), 0)).unlink()
    assert archive.find(two) is None
    assert archive.find(one) is not None


def test_a_folder_that_lies_still_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_in(tmp_path)
    keys = [RunKey("ws/p", f"run-{i}") for i in range(20)]
    for key in keys:
        write_run(archive, key, [row("a", "int", 1)])
    os.utime(archive.project_directory("ws/p"), (OLD, OLD))
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scan(path))
    assert all(archive.find(key) for key in keys)
    assert listed == [str(archive.project_directory("ws/p"))]
