"""What is no archive, only half of one, or hard to read: one clear message, or a grade."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.examine import examine, examine_archive
from migration_pipeline.archive.doctor.report import write_reports
from migration_pipeline.archive.schema import MICROS, SCHEMA
from migration_pipeline.errors import NotAnArchiveError, ReportNotWritableError
from migration_pipeline_tests.archive.doctor.projects import (
    CREATED,
    PROJECT,
    adopted,
    adopted_project,
    codes,
    findings,
    grades,
    key,
    own_project,
    part_of,
    text_of,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, row
from migration_pipeline_tests.machine import lacks, obeying_permissions


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is none"),
        (lambda path: path.write_text("x"), "it is a file"),
        (lambda path: path.mkdir(), "no folder in it holds a Parquet part of a run"),
        (
            lambda path: (path / "photos").mkdir(parents=True),
            "no folder in it holds a Parquet part of a run",
        ),
    ],
)
def test_a_directory_that_is_no_archive(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]
    archive = archive_in(tmp_path)
    make(archive.data)
    with pytest.raises(NotAnArchiveError) as caught:
        examine_archive(archive)
    assert str(caught.value) == (
        f"{archive.data} is not an archive: {said}. MIGRATION_DATA_PATH must be the folder that "
        "holds one folder a project with …_part_0.parquet files in it."
    )


def test_the_folder_of_a_project_is_no_archive(archive: Archive) -> None:
    """One level too deep is the likeliest mistake."""
    inside = Archive(archive.project_directory(PROJECT), archive.files)
    with pytest.raises(NotAnArchiveError, match="no folder in it holds a Parquet part"):
        examine_archive(inside)


def test_parquet_that_is_no_archives(tmp_path: Path) -> None:
    """Named as parts are, but of another tool altogether."""
    archive = archive_in(tmp_path)
    folder = archive.data / "table"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), folder / "t_part_0.parquet")
    found = examine_archive(archive)
    assert found.projects == ()
    assert [f.code for f in found.findings] == ["unreadable_folder"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_files_directory_that_does_not_belong_to_the_data(
    archive: Archive, tmp_path: Path, is_there: bool
) -> None:
    other = tmp_path / "other files"
    if is_there:
        (other / archive.files_root(PROJECT).name).mkdir(parents=True)
        (other / archive.files_root(PROJECT).name / "x").write_bytes(b"1")
    found = examine(Archive(archive.data, other), PROJECT)
    assert set(grades(found).values()) == {"damaged"}
    assert text_of(found, "run 1", "file_missing").startswith("3 of 3 files are not there")
    state = "holds none of them" if is_there else "does not exist"
    assert findings(found)["files_directory_missing"] == (
        f"rows name 18 files and {other / archive.files_root(PROJECT).name} {state}. "
        "MIGRATION_FILES_PATH must be the directory that was exported together with this data"
    )


def test_no_files_directory_where_no_row_names_a_file(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(2):
        rows = [r for r in training(number) if "file" not in r["type"]]
        adopted(archive, key(f"run {number}"), rows)
    found = examine(archive, PROJECT)
    assert (codes(found), found.findings) == ({}, ())


@pytest.mark.parametrize("ours", [True, False])
def test_an_archive_that_was_copied_by_half(tmp_path: Path, ours: bool) -> None:
    """Of six runs three arrived, one of these cut off; of their files, those of one run."""
    archive = archive_in(tmp_path)
    (own_project if ours else adopted_project)(archive)
    for number in (3, 4, 5):
        for part in archive.data.rglob(part_of(archive, f"run {number}").name):
            part.unlink()
    cut = part_of(archive, "run 2")
    cut.write_bytes(cut.read_bytes()[:2000])
    for folder in archive.files_root(PROJECT).iterdir():
        if not folder.name.startswith("run_0"):
            shutil.rmtree(folder)
    found = examine(archive, PROJECT)
    stem = cut.name.removesuffix("_part_0.parquet")
    best = "complete" if ours else "plausible"
    assert grades(found) == {"run 0": best, "run 1": "damaged", stem: "damaged"}


def test_fifty_thousand_files_in_one_folder(tmp_path: Path) -> None:
    """One of which is gone, and one that nobody names."""
    archive = archive_in(tmp_path)
    folder = archive.files_root(PROJECT) / "all"
    folder.mkdir(parents=True)
    names = [f"all/{i:05}.png" for i in range(50_000)]
    (archive.files_root(PROJECT) / names[0]).write_bytes(b"x")
    for name in names[1:]:
        os.link(archive.files_root(PROJECT) / names[0], archive.files_root(PROJECT) / name)
    rows = [
        row("images", "file_series", name, i * MICROS, CREATED + 2_000 + i)
        for i, name in enumerate(names)
    ]
    adopted(archive, key("run 0"), [*[r for r in training(0) if r["path"] != "images"], *rows])
    (folder / "00007.png").rename(folder / "other.png")
    found = examine(archive, PROJECT)
    assert text_of(found, "run 0", "file_missing") == (
        "1 of 50001 files are not there: 'all/00007.png'"
    )
    assert "1 file(s) with 1 bytes" in findings(found)["unnamed_files"]


@pytest.mark.parametrize("run", ["эксперимент №5", "实验/一", "😀", "a" * 300, "..", "-", "x\0y\n"])
def test_run_ids_that_hold_anything(tmp_path: Path, run: str) -> None:
    archive = archive_in(tmp_path)
    adopted(archive, key(run), training(0))
    assert grades(examine(archive, PROJECT)) == {run: "plausible"}
    part_of(archive, run).write_bytes(b"PAR1")
    assert list(grades(examine(archive, PROJECT)).values()) == ["damaged"]


@pytest.mark.parametrize("project", ["команда/проект", "团队/项目", "w/" + "p" * 200, "only"])
def test_project_names_in_other_scripts(tmp_path: Path, project: str) -> None:
    archive = archive_in(tmp_path)
    adopted(archive, type(key("x"))(project, "run 0"), training(0))
    (found,) = examine_archive(archive).projects
    assert (found.project, grades(found)) == (project, {"run 0": "plausible"})


def test_rows_without_a_path_type_or_owner(archive: Archive) -> None:
    """Nulls where the schema allows them and sense does not."""
    (part,) = adopted(archive, key("run 6"), training(6))
    table = pq.read_table(part).cast(SCHEMA)
    nulls = pa.table([pa.nulls(2, field.type) for field in SCHEMA], schema=SCHEMA)
    pq.write_table(pa.concat_tables([table, nulls]), part)
    found = examine(archive, PROJECT)
    assert grades(found)["run 6"] == "damaged"
    assert codes(found)["run 6"] == ["foreign_part", "foreign_part", "rows_without_value"]


def test_text_that_is_no_utf_8(archive: Archive) -> None:
    (part,) = adopted(archive, key("run 6"), training(6))
    pq.write_table(pq.read_table(part), part, compression="none")
    content = part.read_bytes()
    assert b"config/optimizer" in content
    part.write_bytes(content.replace(b"config/optimizer", b"config/\xff\xfetimizer"))
    found = examine(archive, PROJECT)
    assert grades(found)["run 6"] == "damaged"
    assert "part_unreadable" in codes(found)["run 6"]


def test_a_directory_that_cannot_be_listed(archive: Archive) -> None:
    directory = archive.project_directory(PROJECT)
    directory.chmod(0)
    try:
        with pytest.raises(NotAnArchiveError, match=r"cannot be listed .*Permission denied"):
            obeying_permissions(lambda: examine_archive(archive))
    finally:
        directory.chmod(0o755)


def test_a_read_only_disk_is_examined_and_the_report_goes_elsewhere(
    archive: Archive, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "--bind", "-o", "ro", str(archive.data.parent), str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        lacks("this machine does not let us mount a file system")
    try:
        there = Archive(disk / archive.data.name, disk / archive.files.name)
        found = examine_archive(there)
        assert found.grades() == {"complete": 0, "plausible": 6, "suspect": 0, "damaged": 0}
        with pytest.raises(ReportNotWritableError, match="Read-only file system"):
            write_reports(found, disk / "report")
        assert [p.exists() for p in write_reports(found, tmp_path / "report")] == [True, True]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
