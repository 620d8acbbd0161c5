"""What cannot be read is named and left out; everything else is counted as if it were not there."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.layout import name_on_disk, part_name
from migration_pipeline.archive.schema import SCHEMA
from migration_pipeline.archive.summary import reading
from migration_pipeline.archive.summary.listing import projects_on_disk
from migration_pipeline.errors import NotAnArchiveError
from migration_pipeline_tests.archive.making import KEY, archive_in, points, row, write_run
from migration_pipeline_tests.archive.summary.summarizing import drawn, summed, write_parts

STEPS = range(50)
RUNS = [RunKey(KEY.project, f"r-{i}") for i in range(6)]
VICTIM = RUNS[2]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Six runs of fifty points; the victim has them in three parts."""
    made = archive_in(tmp_path)
    for key in RUNS:
        if key == VICTIM:
            write_parts(
                made, key, *(points("loss", range(i, i + 50), [0.5] * 50) for i in (0, 50, 100))
            )
        else:
            write_run(made, key, points("loss", STEPS, [0.5] * 50))
    return made


def part(archive: Archive, number: int = 0, key: RunKey = VICTIM) -> Path:
    return archive.project_directory(key.project) / part_name(name_on_disk(key.run), number)


def rows_of_others(archive: Archive) -> list[int]:
    return [run.rows for key, run in summed(archive).runs.items() if key != str(VICTIM)]


def test_a_part_that_is_cut_off(archive: Archive) -> None:
    file = part(archive, 1)
    file.write_bytes(file.read_bytes()[:-20])
    found = summed(archive)
    assert found.runs[str(VICTIM)].rows == 100
    assert rows_of_others(archive) == [50] * 5
    ((where, what),) = found.problems
    assert where == str(file)
    assert what.startswith("it is not a Parquet file (")
    assert what.endswith("; left out")


def test_an_empty_part_0(archive: Archive) -> None:
    part(archive).write_bytes(b"")
    found = summed(archive)
    assert found.runs[str(VICTIM)].rows == 100, "its other parts say which run it is"
    assert [where for where, _ in found.problems] == [str(part(archive))]


def test_nothing_of_a_run_can_be_read(archive: Archive) -> None:
    for number in range(3):
        part(archive, number).write_bytes(b"PAR1 and nothing")
    found = summed(archive)
    assert found.figures.unreadable == 1
    assert str(VICTIM) not in found.runs
    assert found.figures.rows == 250
    assert [where for where, _ in found.problems] == [str(part(archive, n)) for n in range(3)]


def test_a_part_is_missing(archive: Archive) -> None:
    part(archive, 1).unlink()
    found = summed(archive)
    assert found.runs[str(VICTIM)].rows == 100
    assert found.problems == [(str(VICTIM), "part 1 of 3 is not there")]


def test_part_0_is_missing(archive: Archive) -> None:
    part(archive, 0).unlink()
    found = summed(archive)
    assert str(VICTIM) not in found.runs
    assert found.problems == [
        (str(part(archive, 1)), "2 part(s) without a part 0 are no run; left out")
    ]


def test_a_part_of_another_export(archive: Archive, tmp_path: Path) -> None:
    other = archive_in(tmp_path / "other")
    write_parts(other, VICTIM, points("loss", [1], [1.0]), points("loss", [2], [1.0]))
    shutil.copy(part(other, 1), part(archive, 1))
    found = summed(archive)
    assert found.runs[str(VICTIM)].rows == 100
    what = "it is of another export of the run than part 0; left out"
    assert found.problems == [(str(part(archive, 1)), what)]


def test_a_part_with_other_columns(archive: Archive) -> None:
    table = pq.read_table(part(archive, 0, RUNS[0]))
    step = table.schema.get_field_index("step")
    floats = table.set_column(step, "step", table["step"].cast(pa.float64()))
    pq.write_table(floats, part(archive, 0, RUNS[0]))
    found = summed(archive)
    assert str(RUNS[0]) not in found.runs
    what = "column 'step' is double, not decimal128(18, 6); left out"
    assert found.problems == [(str(part(archive, 0, RUNS[0])), what)]


def test_rows_that_cannot_be_read_behind_a_good_footer(archive: Archive) -> None:
    file = part(archive, 1)
    data = bytearray(file.read_bytes())
    data[4:200] = bytes(196)
    file.write_bytes(data)
    found = summed(archive)
    assert found.runs[str(VICTIM)].rows == 100
    assert rows_of_others(archive) == [50] * 5
    ((where, what),) = found.problems
    assert where == str(file)
    assert what.startswith("its rows cannot be read (")


def break_values(file: Path) -> None:
    """Zeros instead of the pages of `float_value`, which are read for curves only."""
    group = pq.read_metadata(file).row_group(0)
    columns = (group.column(i) for i in range(group.num_columns))
    column = next(c for c in columns if c.path_in_schema == "float_value")
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(file.read_bytes())
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(data)


def test_values_that_cannot_be_read_cost_one_curve(archive: Archive) -> None:
    break_values(part(archive, 0, RUNS[4]))
    assert summed(archive).figures.rows == 400
    assert summed(archive).problems == []
    assert [curve.run for curve in drawn(archive, ["loss"]).curves] == [0, 1, 2, 3, 5]


def test_values_that_cannot_be_read_in_one_part_of_a_run(tmp_path: Path) -> None:
    """The curve of a series that goes on in another part has what is there; others are gone."""
    archive = archive_in(tmp_path)
    first = [*points("a", [0, 1], [1.0, 2.0]), *points("b", [0], [1.0])]
    write_parts(archive, VICTIM, first, points("a", [2], [3.0]))
    break_values(part(archive, 0))
    (curve,) = drawn(archive, ["a", "b"]).curves
    assert (curve.metric, curve.points, curve.values.tolist()) == (0, 1, [3.0])
    break_values(part(archive, 1))
    assert drawn(archive, ["a", "b"]).curves == ()


def test_any_damage_to_one_part_leaves_the_other_runs(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of one file are overwritten at random: nothing raises, no other run changes."""
    monkeypatch.setattr(reading, "PARTS_AT_ONCE", 4)
    chance = random.Random(5)
    file = part(archive, 1)
    whole = file.read_bytes()
    named = 0
    for _ in range(25):
        data = bytearray(whole)
        start = chance.randrange(len(data))
        length = chance.choice([1, 8, 64, len(data)])
        data[start : start + length] = chance.randbytes(len(data[start : start + length]))
        file.write_bytes(data)
        found = summed(archive)
        others = [run for key, run in found.runs.items() if key != str(VICTIM)]
        assert [(run.rows, run.attributes) for run in others] == [(50, 1)] * 5
        assert {where for where, _ in found.problems} <= {str(file)}
        named += bool(found.problems)
    assert named > 15, "most damage makes a part unreadable"


def test_projects_whose_parts_are_all_broken_are_named(archive: Archive) -> None:
    write_run(archive, RunKey("acme/broken", "r"), [row("a", "int", 1)])
    broken = archive.project_directory("acme/broken")
    next(broken.iterdir()).write_bytes(b"")
    names, problems = projects_on_disk(archive)
    assert names == [KEY.project]
    assert [(p.where, p.what) for p in problems] == [
        (str(broken), "none of its parts 0 can be read; left out")
    ]


def test_a_project_directory_that_was_renamed_is_named(archive: Archive) -> None:
    moved = archive.data / "my project"
    archive.project_directory(KEY.project).rename(moved)
    names, problems = projects_on_disk(archive)
    assert names == []
    expected = f"it holds project 'acme/vision' but is not called {name_on_disk(KEY.project)!r}"
    assert [(p.where, p.what) for p in problems] == [(str(moved), f"{expected}; left out")]


def test_one_object_in_both_roots_is_counted_once(tmp_path: Path) -> None:
    key = RunKey(KEY.project, "M-1", "model")
    for name in ("data", "models"):
        write_run(Archive(tmp_path / name, tmp_path / "files"), key, [row("a", "int", 1)])
    archive = Archive(tmp_path / "data", tmp_path / "files", tmp_path / "models")
    found = summed(archive)
    assert found.figures.rows == 1
    directory = tmp_path / "models" / name_on_disk(KEY.project) / "models"
    second = directory / part_name(name_on_disk("M-1"), 0)
    what = f"{key} is there twice; this one is left out"
    assert found.problems == [(str(second), what)]


def test_an_adopted_part_without_rows_is_no_run_that_can_be_named(archive: Archive) -> None:
    file = part(archive, 0, RUNS[0])
    pq.write_table(SCHEMA.empty_table(), file)
    found = summed(archive)
    what = "its parts have no rows, so nothing says which run it is; left out"
    assert found.problems == [(str(file), what)]
    assert found.figures.unreadable == 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda data: None, "there is none"),
        (lambda data: data.mkdir(), "no folder in it holds a run's part 0"),
        (lambda data: data.write_text("x"), "it is a file"),
        (lambda data: (data / "a" / "b").mkdir(parents=True), "no folder in it holds"),
    ],
)
def test_what_is_no_archive_is_said_in_one_sentence(tmp_path: Path, make, reason) -> None:
    make(tmp_path / "data")
    with pytest.raises(NotAnArchiveError) as caught:
        projects_on_disk(archive_in(tmp_path))
    assert f"{tmp_path / 'data'} is not an archive: {reason}" in str(caught.value)
