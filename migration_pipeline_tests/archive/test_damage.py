"""A part that is not what it should be is refused by name, and so is a place to write."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import MANIFEST_KEY
from migration_pipeline.archive.recovery import recover
from migration_pipeline.archive.schema import SCHEMA
from migration_pipeline.archive.staging import scratch_directory
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import (
    ArchiveNotWritableError,
    DamagedPartError,
    NotAnArchiveError,
)
from migration_pipeline_tests.archive.making import (
    KEY,
    archive_in,
    fill,
    points,
    read_rows,
    row,
    write_run,
)
from migration_pipeline_tests.machine import lacks

ROWS = [row("weights", "file", b"w"), *points("loss", [i * 10**6 for i in range(300)], [0.5] * 300)]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """One run of three parts and one of a single part."""
    monkeypatch.setattr(writer_module, "PART_BYTES", 1)
    monkeypatch.setattr(writer_module, "_GROUP_ROWS", 100)
    archive = archive_in(tmp_path)
    with RunWriter(archive, KEY, "test") as writer:
        for start in range(0, 300, 100):
            fill(writer, ROWS[start : start + 100])
        assert writer.commit().parts == 3
    write_run(archive, RunKey(KEY.project, "good"), [row("n", "int", 1)])
    return archive


def parts(archive: Archive) -> list[Path]:
    run = archive.find(KEY)
    assert run is not None
    return list(run.parts)


def not_parquet(part: Path) -> None:
    part.write_bytes(b"step,value\n1,2\n" * 10)


def empty(part: Path) -> None:
    part.write_bytes(b"")


def cut_off(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-10])


def without_its_middle(part: Path) -> None:
    content = part.read_bytes()
    part.write_bytes(content[:4] + b"\xff" * 600 + content[604:])


def written_with(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def rewrite(part: Path) -> None:
        metadata = pq.read_metadata(part).metadata or {}
        kept = {k: v for k, v in metadata.items() if k.startswith(b"migration_pipeline")}
        table = change(pq.read_table(part).cast(SCHEMA))
        pq.write_table(table.replace_schema_metadata(kept), part)

    return rewrite


def retyped(name: str, kind: pa.DataType) -> Callable[[Path], None]:
    at = SCHEMA.get_field_index(name)
    return written_with(lambda t: t.set_column(at, name, t[name].cast(kind)))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "not Parquet": (not_parquet, "not a Parquet file"),
    "empty": (empty, "not a Parquet file"),
    "cut off": (cut_off, "not a Parquet file"),
    "gone wrong in the middle": (without_its_middle, "rows cannot be read"),
    "a column is missing": (written_with(lambda t: t.drop(["step"])), "no column 'step'"),
    "steps as doubles": (retyped("step", pa.float64()), "column 'step' is double"),
    "another scale": (retyped("step", pa.decimal128(20, 3)), r"is decimal128\(20, 3\), not"),
    "microseconds": (retyped("timestamp", pa.timestamp("us", "UTC")), r"'timestamp' is timestamp"),
    "no time zone": (retyped("timestamp", pa.timestamp("ms")), r"'timestamp' is timestamp\[ms\],"),
    "ints as text": (retyped("int_value", pa.string()), "'int_value' is string, not int64"),
}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_part_is_named(archive: Archive, name: str, number: int) -> None:
    damage, reason = DAMAGES[name]
    part = parts(archive)[number]
    damage(part)
    with pytest.raises(DamagedPartError, match=reason) as caught:
        read_rows(archive, KEY)
    assert caught.value.path == str(part)
    assert str(part) in str(caught.value)
    assert "Export the run again" in str(caught.value)


def test_one_damaged_part_0_does_not_hide_the_other_runs(archive: Archive) -> None:
    part = parts(archive)[0]
    not_parquet(part)
    with pytest.raises(DamagedPartError):
        archive.runs(KEY.project)
    damaged: list[DamagedPartError] = []
    assert list(archive.runs(KEY.project, damaged)) == [RunKey(KEY.project, "good")]
    assert [error.path for error in damaged] == [str(part)]


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_is_gone_shows(archive: Archive, number: int) -> None:
    parts(archive)[number].unlink()
    with pytest.raises(DamagedPartError, match=r"counts 3 parts, 2 are there"):
        archive.find(KEY)


def test_a_part_too_many_shows(archive: Archive) -> None:
    last = parts(archive)[-1]
    shutil.copy(last, last.with_name(last.name.replace("_part_2", "_part_3")))
    with pytest.raises(DamagedPartError, match=r"counts 3 parts, 4 are there"):
        archive.find(KEY)


def test_a_part_of_another_export_shows(archive: Archive, tmp_path: Path) -> None:
    """As an archive that was copied while it was written would have it."""
    other = archive_in(tmp_path / "other")
    with RunWriter(other, KEY, "test") as writer:
        for start in range(0, 300, 100):
            fill(writer, ROWS[start : start + 100])
        writer.commit()
    stale = parts(archive)[1]
    shutil.copy(parts(other)[1], stale)
    with pytest.raises(DamagedPartError, match="another export") as caught:
        read_rows(archive, KEY)
    assert caught.value.path == str(stale)


def test_a_gap_in_the_parts_of_another_tool_shows(archive: Archive) -> None:
    for part in parts(archive):
        table = pq.read_table(part).cast(SCHEMA)
        pq.write_table(table.replace_schema_metadata(), part)
    run = archive.find(KEY)
    assert run is not None
    assert (run.manifest, len(run.parts)) == (None, 3)
    run.parts[1].unlink()
    with pytest.raises(DamagedPartError, match="part 1"):
        archive.find(KEY)


@pytest.mark.parametrize("text", [b"{", b'{"format": 1}', b"\xff"])
def test_a_manifest_that_makes_no_sense_is_damage(archive: Archive, text: bytes) -> None:
    part = parts(archive)[0]
    table = pq.read_table(part).cast(SCHEMA)
    pq.write_table(table.replace_schema_metadata({MANIFEST_KEY: text}), part)
    with pytest.raises(DamagedPartError, match="manifest") as caught:
        archive.find(KEY)
    assert caught.value.path == str(part)


def test_a_file_that_is_gone_is_named(archive: Archive) -> None:
    run = archive.find(KEY)
    assert run is not None
    assert run.manifest is not None
    run.file(run.manifest.files[0].path).unlink()
    with pytest.raises(DamagedPartError, match="weights") as caught:
        run.sums()
    assert caught.value.path == str(run.parts[0])


def test_other_files_beside_the_parts_are_none_of_ours(archive: Archive) -> None:
    folder = archive.project_directory(KEY.project)
    (folder / "notes.txt").write_text("mine")
    (folder / "backup.parquet").write_bytes(b"")
    (archive.data / "README.md").write_text("mine")
    (archive.data / "empty folder").mkdir()
    assert len(archive.runs(KEY.project)) == 2
    assert archive.projects() == [KEY.project]
    recover(archive, KEY.project)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_data_directory_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(NotAnArchiveError, match="it is a file"):
        archive_in(tmp_path).projects()


@pytest.mark.parametrize("which", ["data", "files"])
def test_a_place_that_cannot_be_written_is_named_with_the_remedy(
    tmp_path: Path, which: str
) -> None:
    (tmp_path / which).write_text("a file in place of the directory")
    archive = archive_in(tmp_path)
    with pytest.raises(ArchiveNotWritableError) as caught:
        write_run(archive, KEY, [row("n", "int", 1)])
    assert str(tmp_path / which) in str(caught.value)
    assert "MIGRATION_DATA_PATH" in caught.value.remedy
    if which == "files":
        with (
            pytest.raises(ArchiveNotWritableError, match="files"),
            scratch_directory(archive, KEY.project),
        ):
            pass


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    """Root, who ignores permissions, is stopped by it as well."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        lacks("this machine does not let us mount a file system")
    try:
        with pytest.raises(ArchiveNotWritableError, match="Read-only") as caught:
            write_run(archive_in(disk), KEY, [row("n", "int", 1)])
        assert str(disk) in str(caught.value)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("where", ["begins", "grows"])
def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """While rows are written, and before: the file is made and its first bytes have no room."""
    archive = archive_in(tmp_path)
    before = [row("n", "int", 1)]
    write_run(archive, KEY, before)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    if where == "begins":
        monkeypatch.setattr(pq, "ParquetWriter", full)
    else:
        monkeypatch.setattr(writer_module._Part, "write", full)
    with pytest.raises(ArchiveNotWritableError, match="No space left"):
        write_run(archive, KEY, [row("n", "int", 2)])
    assert read_rows(archive, KEY) == before
    assert not list(archive.data.rglob("*.tmp"))
