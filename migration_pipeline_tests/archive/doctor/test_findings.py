"""What is wrong with a project and belongs to no run in it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.doctor.on_disk import original_name, projects_on_disk
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    codes,
    findings,
    grades,
    key,
    own_project,
    part_of,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, row, write_run


def test_numbers_that_are_missing(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in (1, 2, 5, 9):
        adopted(archive, key(f"run {number}"), training(number))
    found = examine(archive, PROJECT)
    assert findings(found) == {
        "gap_in_ids": "6 of 10 numbers are missing: VIS-1, VIS-4 to VIS-5, VIS-7 to VIS-9"
    }
    assert set(grades(found).values()) == {"plausible"}


def test_numbers_of_runs_that_cannot_be_read(archive: Archive) -> None:
    part_of(archive, "run 2").write_bytes(b"")
    assert findings(examine(archive, PROJECT))["gap_in_ids"] == (
        "1 of 6 numbers are missing: VIS-3; 1 run(s) have no readable sys/id and may be among them"
    )


def test_numbers_of_manifests_and_of_models(own: Archive) -> None:
    """Models have names of their own for a number; a run that was selected tells of no gap."""
    part_of(own, "run 2").unlink()
    adopted(own, RunKey(PROJECT, "VIS-MOD", "model"), [row("sys/id", "string", "VIS-MOD-7")])
    assert findings(examine(own, PROJECT))["gap_in_ids"] == "1 of 6 numbers are missing: VIS-3"
    write_run(own, key("one"), training(8), sys_id="VIS-9", selection="run_ids")
    assert "gap_in_ids" not in findings(examine(own, PROJECT))


def test_ids_that_are_no_numbers(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number, given in enumerate(["", "VIS-", "VIS-007", "VIS-٣", "x"]):
        adopted(archive, key(f"run {number}"), training(number, id=given))
    assert findings(examine(archive, PROJECT)) == {}


def test_parents_that_are_not_here(archive: Archive) -> None:
    forked = [*training(6), row("sys/forking/parent", "string", "VIS-1")]
    adopted(archive, key("run 6"), forked)
    assert findings(examine(archive, PROJECT)) == {}
    adopted(archive, key("run 7"), [*training(7), row("sys/forking/parent", "string", "VIS-99")])
    write_run(archive, key("run 8"), training(8), sys_id="VIS-9", parent="gone")
    assert findings(examine(archive, PROJECT))["parent_missing"] == (
        "2 run(s) are forked from runs that are not here: 'VIS-99', 'gone'"
    )


def of_2x(archive: Archive, changed: datetime, written: datetime) -> None:
    """Two runs of 2.x, last changed and exported then."""
    at = int(changed.timestamp() * 1000)
    for number in range(2):
        rows = [
            *training(number, creation_time=at - 10_000, modification_time=at),
            row("sys/ping_time", "datetime", at),
        ]
        for part in adopted(archive, key(f"run {number}"), rows):
            os.utime(part, (written.timestamp(), written.timestamp()))


LONG_AGO, JANUARY, MARCH = (
    datetime(2024, 5, 1, tzinfo=UTC),
    datetime(2026, 1, 31, tzinfo=UTC),
    datetime(2026, 3, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("changed", "written", "said"),
    [
        (LONG_AGO, JANUARY, "parts of it were written on 2026-01-31, before 2026-02-03"),
        (LONG_AGO, MARCH, "nothing in it is newer than 2026-02-03, and its parts, of 2026-03-01,"),
        (MARCH, MARCH, ""),
    ],
)
def test_2x_archives_from_before_the_listing_was_corrected(
    tmp_path: Path, changed: datetime, written: datetime, said: str
) -> None:
    archive = archive_in(tmp_path)
    of_2x(archive, changed, written)
    found = findings(examine(archive, PROJECT))
    assert list(found) == (["listing_may_lack_runs"] if said else [])
    assert said in found.get("listing_may_lack_runs", "")


def test_3x_archives_had_no_such_listing(archive: Archive) -> None:
    for part in archive.data.rglob("*.parquet"):
        os.utime(part, (JANUARY.timestamp(), JANUARY.timestamp()))
    assert findings(examine(archive, PROJECT)) == {}


def test_runs_that_were_never_finished(archive: Archive) -> None:
    """The exporter renames its parts when a run is done, part 0 last."""
    directory = archive.project_directory(PROJECT)
    for run in ("killed", "a b"):
        (directory / f"{layout.name_on_disk(run)}_part_0.parquet.tmp").write_bytes(b"PAR1")
    found = examine(archive, PROJECT)
    assert "killed" not in grades(found)
    stem = layout.name_on_disk("a b")
    assert findings(found) == {
        "run_never_finished": f"2 run(s) have temporary parts only: '{stem}', 'killed'"
    }


def test_files_that_no_row_names(archive: Archive) -> None:
    root = archive.files_root(PROJECT)
    (root / "run_1" / "more").mkdir()
    (root / "run_1" / "more" / "данные.bin").write_bytes(b"12345")
    (root / "x").write_bytes(b"1")
    (root / ".staging" / "downloads.0a1b2c3d").mkdir(parents=True)
    (root / ".staging" / "downloads.0a1b2c3d" / "half").write_bytes(b"1")
    assert findings(examine(archive, PROJECT)) == {
        "unnamed_files": f"2 file(s) with 6 bytes below {root} are named by no row: "
        "'run_1/more/данные.bin', 'x'"
    }


def test_files_of_a_manifest_are_named(own: Archive) -> None:
    (own.files_root(PROJECT) / "x").write_bytes(b"1")
    assert "1 file(s) with 1 bytes" in findings(examine(own, PROJECT))["unnamed_files"]


def test_a_file_whose_name_is_no_utf_8(archive: Archive) -> None:
    name = os.path.join(os.fsencode(archive.files_root(PROJECT)), b"\xff\xfe.bin")
    with open(name, "wb") as file:
        file.write(b"1")
    assert "'\ufffd\ufffd.bin'" in findings(examine(archive, PROJECT))["unnamed_files"]


def test_projects_whose_folder_has_another_name(archive: Archive) -> None:
    directory = archive.project_directory(PROJECT)
    copy = directory.rename(directory.with_name("copy of it"))
    own_project(Archive(archive.data, archive.files), runs=1)
    projects, found = projects_on_disk(archive)
    assert projects == [PROJECT]
    assert [(f.project, f.code, f.text) for f in found] == [
        (
            PROJECT,
            "folder_of_another_project",
            f"{copy} holds runs of 'acme/vision', whose folder is {directory.name!r}: rename it",
        )
    ]


def test_projects_of_which_no_part_can_be_read(archive: Archive) -> None:
    """The name of a folder tells its project, unless characters were replaced in it."""
    for part in archive.data.rglob("*.parquet"):
        part.write_bytes(b"")
    strange = archive.data / layout.name_on_disk("a b/c d")
    strange.mkdir()
    (strange / "r-0123456789abcdef_part_0.parquet").write_bytes(b"")
    projects, found = projects_on_disk(archive)
    assert projects == [PROJECT]
    assert [f.code for f in found] == ["unreadable_folder"]
    assert str(strange) in found[0].text
    assert set(grades(examine(archive, PROJECT)).values()) == {"damaged"}


def test_projects_with_models_only(tmp_path: Path) -> None:
    """neptune-exporter has roots of their own for them."""
    plain = archive_in(tmp_path)
    archive = Archive(plain.data, plain.files, tmp_path / "md", tmp_path / "mf")
    models = Archive(tmp_path / "md", tmp_path / "mf")
    model = [row("sys/id", "string", "M-1"), row("weights", "file", b"w")]
    adopted(models, RunKey("acme/models", "M-1", "model"), [row("sys/id", "string", "M-1")])
    adopted(models, RunKey(PROJECT, "M-1", "model"), model)
    adopted(archive, key("run 0"), training(0))
    assert projects_on_disk(archive) == (["acme/models", PROJECT], [])
    found = examine(archive, PROJECT)
    assert [(str(run.key), run.grade) for run in found.runs] == [
        ("acme/vision|run 0", "plausible"),
        ("acme/vision|M-1 (model)", "plausible"),
    ]
    assert codes(found) == {}
    assert findings(found) == {}


@pytest.mark.parametrize("name", ["plain", "a/b", "w_s/p-1", "ä/ß", "no slash_at-all"])
def test_names_that_their_digest_confirms(name: str) -> None:
    known = {"no slash_at-all": None}.get(name, name)
    assert original_name(layout.name_on_disk(name)) == known
    assert original_name(name) is None
    assert original_name(f"{name}-0123456789abcdef") is None
