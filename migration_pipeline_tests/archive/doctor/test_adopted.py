"""Runs that no manifest vouches for: each thing that can be wrong with one has its own reason."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.schema import MICROS, SCHEMA
from migration_pipeline_tests.archive.doctor.projects import (
    HOUR,
    PROJECT,
    adopted,
    codes,
    findings,
    grades,
    key,
    part_of,
    rewrite,
    text_of,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, row


def test_nothing_is_wrong_with_what_the_tests_start_from(archive: Archive) -> None:
    found = examine(archive, PROJECT)
    assert codes(found) == {}
    assert grades(found) == {f"run {i}": "plausible" for i in range(6)}
    assert found.findings == ()
    assert found.rows == sum(pq.read_metadata(p).num_rows for p in archive.data.rglob("*.parquet"))


def cut(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-100])


def no_parquet(part: Path) -> None:
    part.write_text("step,value\n")


def no_bytes(part: Path) -> None:
    part.write_bytes(b"")


def broken_inside(part: Path) -> None:
    content = part.read_bytes()
    part.write_bytes(content[:4] + b"\xff" * 600 + content[604:])


@pytest.mark.parametrize("damage", [cut, no_parquet, no_bytes, broken_inside])
@pytest.mark.parametrize("number", [0, 1])
def test_a_part_that_cannot_be_read(
    archive: Archive, damage: Callable[[Path], None], number: int
) -> None:
    damage(part_of(archive, "run 0", number))
    found = examine(archive, PROJECT)
    assert "part_unreadable" in codes(found)["run 0"]
    assert grades(found) == {"run 0": "damaged"} | {f"run {i}": "plausible" for i in range(1, 6)}
    assert text_of(found, "run 0", "part_unreadable").startswith(f"part {number} cannot be read (")


def test_a_run_whose_only_part_cannot_be_read_keeps_the_name_that_can_be_known(
    archive: Archive,
) -> None:
    """Its digest confirms a name without replaced characters; any other stays as it is on disk."""
    adopted(archive, key("plain-name"), training(7, "exp-0"))
    for run in ("plain-name", "run 5"):
        cut(part_of(archive, run))
    damaged = [
        run for run, grade in grades(examine(archive, PROJECT)).items() if grade == "damaged"
    ]
    assert damaged == ["plain-name", part_of(archive, "run 5").name.removesuffix("_part_0.parquet")]


@pytest.mark.parametrize("number", [0, 1])
def test_a_part_that_is_gone(tmp_path: Path, number: int) -> None:
    archive = archive_in(tmp_path)
    rows = training(0)
    adopted(archive, key("run 0"), rows[:60], rows[60:90], rows[90:])
    part_of(archive, "run 0", number).unlink()
    found = examine(archive, PROJECT)
    assert grades(found) == {"run 0": "damaged"}
    assert text_of(found, "run 0", "part_missing") == f"part {number} is missing, part 2 is there"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(["step"]), "part 0: it has no column 'step'"),
        (
            lambda t: t.set_column(4, "step", t["step"].cast(pa.float64())),
            "part 0: column 'step' is double, not decimal128(18, 6)",
        ),
    ],
)
def test_another_schema(
    archive: Archive, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    rewrite(part_of(archive, "run 1"), change)
    found = examine(archive, PROJECT)
    assert text_of(found, _only_damaged(found), "other_schema") == said


def _only_damaged(found: object) -> str:
    (run,) = [run for run, grade in grades(found).items() if grade == "damaged"]  # type: ignore[arg-type]
    return run


def test_parts_that_changed_places(archive: Archive) -> None:
    """Two runs' parts under each other's names, and a part among those of another run."""
    one, other = part_of(archive, "run 1"), part_of(archive, "run 2")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    part_of(archive, "run 0", 1).write_bytes(part_of(archive, "run 3").read_bytes())
    found = examine(archive, PROJECT)
    assert {run for run, grade in grades(found).items() if grade == "damaged"} == {
        "run 0", "run 1", "run 2",
    }  # fmt: skip
    assert text_of(found, "run 0", "foreign_part").endswith("hold rows of run(s) 'run 3'")
    assert text_of(found, "run 1", "foreign_part").endswith("hold rows of run(s) 'run 1'")


def test_rows_of_another_project(archive: Archive) -> None:
    strange = adopted(
        Archive(archive.data / "x", archive.files), RunKey("a/b", "run 9"), training(6)
    )
    strange[0].rename(part_of(archive, "run 9"))
    found = examine(archive, PROJECT)
    assert codes(found)["run 9"] == ["file_missing", "foreign_part"]
    assert text_of(found, "run 9", "foreign_part") == "its rows are of project(s) 'a/b'"


def test_parts_without_a_row(archive: Archive) -> None:
    rewrite(part_of(archive, "run 5"), lambda table: table.slice(0, 0))
    stem = part_of(archive, "run 5").name.removesuffix("_part_0.parquet")
    assert codes(examine(archive, PROJECT))[stem] == ["no_rows"]


def test_temporary_parts_beside_a_run(archive: Archive) -> None:
    part = part_of(archive, "run 2")
    part.with_name(part.name.replace("_part_0", "_part_1") + ".tmp").write_bytes(b"PAR1")
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 2": ["leftover_tmp"]}
    assert grades(found)["run 2"] == "suspect"


def test_files_that_are_gone_or_empty(archive: Archive) -> None:
    root = archive.files_root(PROJECT)
    (root / "run_1" / "model" / "weights").unlink()
    (root / "run_2" / f"images_{MICROS}").write_bytes(b"")
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 1": ["file_missing"], "run 2": ["empty_file"]}
    assert (grades(found)["run 1"], grades(found)["run 2"]) == ("damaged", "suspect")
    assert text_of(found, "run 1", "file_missing") == (
        "1 of 3 files are not there: 'run_1/model/weights'"
    )


@pytest.mark.parametrize("path", ["../../secret", "/etc/hostname", "run_6/../../x"])
def test_a_file_outside_of_the_archive(archive: Archive, path: str) -> None:
    adopted(archive, key("run 6"), [*training(6), row("stolen", "file", path)])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["file_outside"]}
    assert grades(found)["run 6"] == "damaged"


def test_directories_are_files_too(archive: Archive) -> None:
    """neptune-exporter unpacks some file sets of 2.x."""
    (archive.files_root(PROJECT) / "set" / "deep").mkdir(parents=True)
    (archive.files_root(PROJECT) / "bare").mkdir()
    (archive.files_root(PROJECT) / "set" / "deep" / "a.py").write_text("x")
    adopted(archive, key("run 6"), [*training(6), row("code", "file_set", "set")])
    adopted(archive, key("run 7"), [*training(7), row("code", "file_set", "bare")])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 7": ["empty_file"]}
    assert findings(found) == {}


def test_two_rows_that_claim_one_file(archive: Archive) -> None:
    weights = row("model_weights", "file", "run_6/model/weights")
    adopted(archive, key("run 6"), [*training(6), weights])
    adopted(archive, key("run 7"), [*training(7), weights])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["file_claimed_twice"], "run 7": ["file_claimed_twice"]}
    assert text_of(found, "run 7", "file_claimed_twice") == (
        "1 file(s) are named more than once: 'run_6/model/weights' by 'run 6|model/weights', "
        "'run 6|model_weights', 'run 7|model_weights'"
    )


def nulled(path: str, column: str, step: int | None = None) -> Callable[[pa.Table], pa.Table]:
    """Without the value of a path (at a step)."""

    def change(table: pa.Table) -> pa.Table:
        hit = pc.equal(table["attribute_path"], path)
        if step is not None:
            at_step = pc.equal(table["step"].cast(pa.float64()), float(step))
            hit = pc.and_(hit, pc.fill_null(at_step, False))
        at = SCHEMA.get_field_index(column)
        values = pc.if_else(hit, pa.scalar(None, SCHEMA.field(column).type), table[column])
        return table.set_column(at, column, values)

    return change


def test_points_whose_nan_became_null(archive: Archive) -> None:
    rewrite(part_of(archive, "run 1"), nulled("train/acc", "float_value", 3))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 1": ["nan_became_null"]}
    assert text_of(found, "run 1", "nan_became_null") == (
        "1 series have points without a value: 'train/acc' (1)"
    )


@pytest.mark.parametrize(
    ("path", "column"),
    [("log/stdout", "string_value"), ("weights/hist", "histogram_value"), ("images", "file_value")],
)
def test_rows_without_a_value(archive: Archive, path: str, column: str) -> None:
    rewrite(part_of(archive, "run 1"), nulled(path, column, 1))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 1": ["rows_without_value"]}
    assert f"'{path}' (1)" in text_of(found, "run 1", "rows_without_value")


def test_padding_of_file_series_is_nothing(archive: Archive) -> None:
    """neptune-exporter writes a row without file and time for each step of another series."""
    padding = [row("masks", "file_series", None, i * MICROS) for i in (0, 1)]
    masks = row("masks", "file_series", b"mask", 5 * MICROS, 1_735_800_000_000)
    adopted(archive, key("run 6"), [*training(6), *padding, masks])
    assert codes(examine(archive, PROJECT)) == {}


def test_a_parameter_that_nobody_has_a_value_of(tmp_path: Path) -> None:
    """NaN in at least one of them: in those that have other values of its namespace."""
    archive = archive_in(tmp_path)
    for number in range(4):
        rows = [*training(number, clip=None), row("odd/nan", "float", None)]
        rows += [row("odd/text", "string", None), row("sys/forking/step", "float", None)]
        rows += [row("odd/one", "int", 1)] if number == 2 else []
        adopted(archive, key(f"run {number}"), rows)
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 2": ["nan_became_null", "rows_without_value"]}
    assert "'odd/nan'" in text_of(found, "run 2", "nan_became_null")
    assert "'odd/text'" in text_of(found, "run 2", "rows_without_value")


def test_a_parameter_that_nobody_has_a_value_of_and_no_neighbour_tells_of(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(2):
        adopted(archive, key(f"run {number}"), [*training(number), row("nan", "float", None)])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 0": ["nan_became_null"], "run 1": ["nan_became_null"]}


def test_a_parameter_that_only_others_have_a_value_of_is_no_suspicion(archive: Archive) -> None:
    """It is how neptune-exporter says that a run lacks it, and how it says NaN."""
    rows = [*training(6), row("extra", "float", 1.5)]
    adopted(archive, key("run 6"), rows)
    adopted(archive, key("run 7"), [*training(7), row("extra", "float", None)])
    found = examine(archive, PROJECT)
    assert codes(found) == {}
    assert findings(found) == {
        "absent_or_nan": "1 numbers of 1 run(s) have a row without a value, which others have"
    }


@pytest.mark.parametrize(
    ("value", "suspected"),
    [
        (2**53, False),
        (2**53 + 1, False),
        (2**53 + 2, True),
        (-(2**60), True),
        (2**60 + 1, False),
        (2**63 - 1, False),
        (2**63 - 2**10, True),
    ],
)
def test_integers_that_a_double_may_have_rounded(
    archive: Archive, value: int, suspected: bool
) -> None:
    adopted(archive, key("run 6"), [*training(6), row("big", "int", value)])
    found = examine(archive, PROJECT)
    assert codes(found) == ({"run 6": ["integer_rounded"]} if suspected else {})


def shifted(hours: float) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        moved = pc.add(table["timestamp"].cast(pa.int64()), round(hours * HOUR))
        column = moved.cast(SCHEMA.field("timestamp").type)
        return table.set_column(SCHEMA.get_field_index("timestamp"), "timestamp", column)

    return change


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (-5, "5 h before"),
        (-1, "1 h before"),
        (2, "2 h after"),
        (14, "14 h after"),
        (-5.5, ""),
        (0.5, ""),
        (-24 * 30, ""),
    ],
)
def test_times_shifted_by_whole_hours(archive: Archive, hours: float, said: str) -> None:
    """Other distances are those of times that were given by hand."""
    rewrite(part_of(archive, "run 1"), shifted(hours))
    found = examine(archive, PROJECT)
    assert codes(found) == ({"run 1": ["times_shifted"]} if said else {})
    if said:
        assert said in text_of(found, "run 1", "times_shifted")


def test_a_run_that_goes_on_for_hours_is_not_shifted(tmp_path: Path) -> None:
    """Its first point comes two hours late and its last one before its last change."""
    archive = archive_in(tmp_path)
    adopted(archive, key("run 0"), training(0, modification_time=1_735_689_600_000 + 30 * HOUR))
    rewrite(part_of(archive, "run 0"), shifted(2))
    assert codes(examine(archive, PROJECT)) == {}


def reordered(path: str, order: Callable[[int], list[int]]) -> Callable[[pa.Table], pa.Table]:
    """The rows of a path in another order, or some of them again, at the end."""

    def change(table: pa.Table) -> pa.Table:
        mine = pc.equal(table["attribute_path"], path)
        rows = table.filter(mine)
        return pa.concat_tables([table.filter(pc.invert(mine)), rows.take(order(rows.num_rows))])

    return change


def test_rows_out_of_order(archive: Archive) -> None:
    rewrite(part_of(archive, "run 1"), reordered("train/acc", lambda n: [1, 0, *range(2, n)]))
    rewrite(part_of(archive, "run 2"), reordered("images", lambda n: [1, 0]))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 1": ["unordered_rows"]}  # files come as their downloads end
    assert text_of(found, "run 1", "unordered_rows") == (
        "steps of 1 series go backward: 'train/acc' (1)"
    )


def test_parts_out_of_order(archive: Archive) -> None:
    one, other = part_of(archive, "run 0", 0), part_of(archive, "run 0", 1)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert codes(examine(archive, PROJECT)) == {"run 0": ["unordered_rows"]}


def test_rows_that_are_there_twice(archive: Archive) -> None:
    rewrite(part_of(archive, "run 1"), reordered("train/acc", lambda n: [0, 0, 0, *range(1, n)]))
    rewrite(part_of(archive, "run 2"), reordered("config/lr", lambda n: [0, 0]))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 1": ["duplicate_rows"], "run 2": ["duplicate_rows"]}
    assert "'train/acc' (2)" in text_of(found, "run 1", "duplicate_rows")
    assert "'config/lr' (1)" in text_of(found, "run 2", "duplicate_rows")


def test_values_of_nan_are_values(archive: Archive) -> None:
    adopted(archive, key("run 6"), [*training(6), row("odd", "float", nan)])
    assert codes(examine(archive, PROJECT)) == {}


def test_types_that_the_archive_does_not_know(archive: Archive) -> None:
    """Nothing can be said of their values, so nothing is taken for granted."""
    adopted(archive, key("run 6"), training(6))

    def renamed(table: pa.Table) -> pa.Table:
        types = pc.replace_substring(table["attribute_type"], "histogram_series", "plot_series")
        return table.set_column(3, "attribute_type", types)

    rewrite(part_of(archive, "run 6"), renamed)
    assert codes(examine(archive, PROJECT)) == {"run 6": ["rows_without_value", "without_class"]}


def test_a_run_that_only_its_parts_name_is_not_forgotten(archive: Archive) -> None:
    """The rows under its name are another run's, which has parts of its own."""
    part_of(archive, "run 3").write_bytes(part_of(archive, "run 0").read_bytes())
    stem = part_of(archive, "run 3").name.removesuffix("_part_0.parquet")
    found = examine(archive, PROJECT)
    damaged = {run for run, grade in grades(found).items() if grade == "damaged"}
    assert damaged == {"run 0", stem}
    assert (
        text_of(found, stem, "foreign_part") == f"parts named {stem!r} hold rows of run(s) 'run 0'"
    )


@pytest.mark.parametrize("run", ["run.x", "run-0123456789abcdef", "a/b-fedcba9876543210"])
def test_parts_named_without_a_digest(archive: Archive, run: str) -> None:
    """As another writer may name them; a run id may end like a digest."""
    adopted(archive, key(run), training(6), stem=layout.clean(run))
    found = examine(archive, PROJECT)
    assert codes(found) == {}
    assert grades(found)[run] == "plausible"
