"""Damaged runs as far as they can be read, and archives that show them so, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive import layout, writer
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.salvage import ArchiveWithDamage, SalvagedRun, salvage
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import DamagedPartError
from migration_pipeline_tests.archive.making import archive_in, fill, points, row, write_run

KEY, OTHER = RunKey("ws/p", "damaged"), RunKey("ws/p", "whole")
WRONG = ("a part is missing",)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A run of three parts, two steps in each, with two files; and a run of one."""
    monkeypatch.setattr(writer, "PART_BYTES", 1)
    made = archive_in(tmp_path)
    with RunWriter(made, KEY, "test") as writing:
        fill(writing, [row("f/one", "file", b"one"), row("f/two", "file", b"two")])
        fill(writing, points("m/a", [0, 1_000_000], [0.0, 1.0]))
        for part in (1, 2):
            writing.flush()
            steps = [2 * part * 1_000_000, (2 * part + 1) * 1_000_000]
            fill(writing, points("m/a", steps, [2.0 * part, 2.0 * part + 1]))
        writing.commit()
    write_run(made, OTHER, [row("a", "int", 1)])
    return made


def part(archive: Archive, number: int, key: RunKey = KEY) -> Path:
    stem = layout.name_on_disk(key.run)
    return archive.project_directory(key.project, key.kind) / layout.part_name(stem, number)


def values(run: SalvagedRun | None) -> list[float]:
    assert run is not None
    batches = run.batches(columns=["float_value"], types=["float_series"])
    return [value for batch in batches for value in batch.column(0).to_pylist()]


def salvaged(archive: Archive) -> SalvagedRun | None:
    return salvage(archive, KEY, WRONG)


def test_a_whole_run_is_read_whole(archive: Archive) -> None:
    run = salvaged(archive)
    assert values(run) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert run is not None
    assert (run.key, run.manifest, run.damage) == (KEY, None, WRONG)
    plain = archive.find(KEY)
    assert plain is not None
    assert run.sums().digest() == plain.sums().digest()
    assert plain.damage == ()


@pytest.mark.parametrize(
    ("number", "left"),
    [(0, [2.0, 3.0, 4.0, 5.0]), (1, [0.0, 1.0, 4.0, 5.0]), (2, [0.0, 1.0, 2.0, 3.0])],
)
@pytest.mark.parametrize("how", ["gone", "cut off", "empty", "of another run"])
def test_what_is_left_of_parts(archive: Archive, number: int, left: list[float], how: str) -> None:
    damaged = part(archive, number)
    whole = damaged.read_bytes()
    if how == "gone":
        damaged.unlink()
    elif how == "of another run":
        damaged.write_bytes(part(archive, 0, OTHER).read_bytes())
    else:
        damaged.write_bytes(whole[: len(whole) // 2] if how == "cut off" else b"")
    assert values(salvaged(archive)) == left


def test_parts_of_two_exports_are_not_mixed(archive: Archive, tmp_path: Path) -> None:
    other = archive_in(tmp_path / "other")
    write_run(other, KEY, points("m/a", [9_000_000], [9.0]))
    part(archive, 2).write_bytes(part(other, 0).read_bytes())
    assert values(salvaged(archive)) == [0.0, 1.0, 2.0, 3.0]


def test_rows_up_to_the_first_that_cannot_be_read(archive: Archive) -> None:
    """Bytes in the middle of a part: its footer is whole, its pages are not."""
    damaged = part(archive, 1)
    content = bytearray(damaged.read_bytes())
    content[4:200] = bytes(196)
    damaged.write_bytes(content)
    assert values(salvaged(archive)) == [0.0, 1.0, 4.0, 5.0]


def test_a_file_that_is_gone_leaves_a_row_without_one(archive: Archive) -> None:
    plain = archive.find(KEY)
    assert plain is not None
    one, two = _files(plain.batches())
    assert one
    plain.file(one).unlink()
    run = salvaged(archive)
    assert run is not None
    assert _files(run.batches()) == [None, two]
    assert run.sums().rows == 8  # which would raise for a file that is named and not there


@pytest.mark.parametrize("path", ["../../secret", __file__, "a\0b", ""])
def test_a_file_outside_is_none(archive: Archive, tmp_path: Path, path: str) -> None:
    (archive.files.parent / "secret").write_text("not of this archive")
    plain = archive.find(KEY)
    assert plain is not None
    run = SalvagedRun(KEY, plain.parts, plain.files_root, WRONG)
    assert not run._is_there(path)


def _files(batches: object) -> list[str | None]:
    rows = [row for batch in batches for row in batch.to_pylist()]  # type: ignore[attr-defined]
    of_files = sorted(
        (one for one in rows if one["attribute_type"] == "file"),
        key=lambda one: str(one["attribute_path"]),
    )
    return [one["file_value"] and one["file_value"]["path"] for one in of_files]


def test_nothing_is_left(archive: Archive) -> None:
    for number in range(3):
        part(archive, number).write_bytes(b"PAR1")
    assert salvaged(archive) is None
    assert salvage(archive, RunKey("ws/p", "never there"), WRONG) is None


def with_damage(archive: Archive, **shown: object) -> ArchiveWithDamage:
    return ArchiveWithDamage(archive.data, archive.files, **shown)  # type: ignore[arg-type]


def test_an_archive_without_a_damaged_run(archive: Archive) -> None:
    part(archive, 1).unlink()
    with pytest.raises(DamagedPartError):
        archive.runs("ws/p")
    shown = with_damage(archive, hidden=frozenset({KEY}))
    assert list(shown.runs("ws/p")) == [OTHER]
    assert shown.find(KEY) is None
    assert shown.find(OTHER) == archive.find(OTHER)


def test_an_archive_with_what_is_left_of_one(archive: Archive) -> None:
    part(archive, 1).unlink()
    run = salvaged(archive)
    shown = with_damage(archive, salvaged={KEY: run})
    assert shown.runs("ws/p") == {KEY: run, OTHER: archive.find(OTHER)}
    assert shown.find(KEY) == run
    assert shown.runs("ws/other") == {}


def test_damage_that_nobody_knew_of_still_shows(archive: Archive) -> None:
    part(archive, 0, OTHER).write_bytes(b"")
    shown = with_damage(archive, hidden=frozenset({KEY}))
    with pytest.raises(DamagedPartError, match="not a Parquet file"):
        shown.runs("ws/p")
    damaged: list[DamagedPartError] = []
    assert shown.runs("ws/p", damaged) == {}
    assert [error.path for error in damaged] == [str(part(archive, 0, OTHER))]
