"""What is written is read back equal, in neptune-exporter's columns, whole or not at all."""

from __future__ import annotations

import os
from math import inf, nan
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.layout import name_on_disk, part_name
from migration_pipeline.archive.manifest import TypeCount
from migration_pipeline.archive.schema import SCHEMA, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import (
    KEY,
    Row,
    archive_in,
    fill,
    points,
    read_rows,
    row,
    values,
    write_run,
)

DATA = Path(__file__).parent.parent / "data" / "neptune-exporter"
HISTOGRAM = {"type": "DENSITY", "edges": [-inf, 0.5, 1e308], "values": [0.25, 0.75]}
EVERYTHING: list[Row] = [
    row("at", "datetime", -62_135_596_800_000),
    row("empty", "string", ""),
    row("files/a.b", "file", b"dot"),
    row("files/a_b", "file", b"underscore"),
    row("hist", "histogram_series", HISTOGRAM, 250_000, 1_700_000_000_001),
    row("images", "file_series", b"", 0, 1),
    row("images", "file_series", b"\0" * 1000, 1, 2),
    row("log", "string_series", "line\r\nwith\0all", 0, -1),
    row("loss", "float_series", -0.0, 0, 1),
    row("loss", "float_series", inf, 290_000, 2),
    row("loss", "float_series", -inf, 999_999_999_999_999_999, 3),
    row("most", "int", 2**63 - 1),
    row("no tags", "string_set", []),
    row("odd", "int", 2**53 + 1),
    row("off", "bool", False),
    row("tags", "string_set", ["b", "a", ""]),
    row("tiny", "float", 5e-324),
]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path)


def part_names(archive: Archive, key: RunKey = KEY) -> list[str]:
    directory = archive.project_directory(key.project)
    return sorted(os.listdir(directory)) if directory.exists() else []


def test_every_type_comes_back_as_it_was(archive: Archive) -> None:
    write_run(archive, KEY, EVERYTHING)
    found = read_rows(archive, KEY)
    assert found == EVERYTHING
    zero = next(r for r in found if r["path"] == "loss" and r["step"] == 0)
    assert str(zero["value"]) == "-0.0"


def test_nan_is_a_value_and_no_row_is_without_one(archive: Archive) -> None:
    write_run(archive, KEY, [row("lr", "float", nan), *points("loss", [0, 1], [nan, 1.0])])
    (part,) = archive.find(KEY).parts  # type: ignore[union-attr]
    table = pq.read_table(part)
    assert table["float_value"].null_count == 0
    assert [str(v) for v in table["float_value"].to_pylist()] == ["nan", "nan", "1.0"]


def test_the_file_has_the_columns_of_neptune_exporter(archive: Archive) -> None:
    """Names, types, order and nullability, down to Parquet's own."""
    write_run(archive, KEY, EVERYTHING)
    (ours,) = archive.find(KEY).parts  # type: ignore[union-attr]
    (theirs,) = DATA.glob("data/*/empty-run-*.parquet")
    ours_schema, theirs_schema = (pq.read_metadata(p).schema for p in (ours, theirs))
    assert str(ours_schema).partition("\n")[2] == str(theirs_schema).partition("\n")[2]
    assert pq.read_schema(ours).remove_metadata().equals(SCHEMA)
    assert pq.read_schema(theirs).remove_metadata().equals(pq.read_schema(ours).remove_metadata())
    footer = pq.read_metadata(ours)
    codecs = {footer.row_group(0).column(i).compression for i in range(footer.num_columns)}
    assert codecs == {"SNAPPY"}


def test_the_manifest_says_what_the_run_holds(archive: Archive) -> None:
    written = write_run(archive, KEY, EVERYTHING, sys_id="VIS-1", notes=["n"], missing_files=["m"])
    run = archive.find(KEY)
    assert run is not None
    assert run.manifest == written
    assert (written.source, written.project, written.run) == ("test", KEY.project, KEY.run)
    assert (written.sys_id, written.notes, written.missing_files) == ("VIS-1", ["n"], ["m"])
    assert (written.rows, written.parts, written.format) == (len(EVERYTHING), 1, 1)
    assert written.types["float_series"] == TypeCount(attributes=1, rows=3, step_decimals=6)
    assert written.types["string_set"] == TypeCount(attributes=2, rows=2)
    assert {(f.size, run.file(f.path).read_bytes()) for f in written.files} == {
        (3, b"dot"),
        (10, b"underscore"),
        (0, b""),
        (1000, b"\0" * 1000),
    }
    assert written.bytes == 1013
    assert written.points == 7
    assert run.sums().digest() == written.digest


def test_a_run_without_attributes_is_a_run(archive: Archive) -> None:
    written = write_run(archive, KEY, [])
    assert (written.rows, written.parts, written.types) == (0, 1, {})
    assert list(archive.runs(KEY.project)) == [KEY]
    assert archive.projects() == [KEY.project]
    assert read_rows(archive, KEY) == []


def test_a_batch_of_plain_columns_is_written_like_one_of_dictionaries(archive: Archive) -> None:
    """A source that has no dictionaries may hand over plain text columns."""
    rows = [r for r in EVERYTHING if "file" not in r["type"]]
    write_run(archive, KEY, rows)
    other = RunKey(KEY.project, "plain")
    batch = make_batch(other.project, other.run, rows)
    plain = pa.table(batch).cast(SCHEMA).combine_chunks().to_batches()[0]
    with RunWriter(archive, other, "test") as writer:
        writer.write(plain.slice(0, 3))
        writer.write(batch.slice(3))
        writer.commit()
    assert read_rows(archive, other) == rows
    one, two = archive.find(KEY), archive.find(other)
    assert one is not None
    assert two is not None
    assert one.sums().digest() == two.sums().digest()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PART_BYTES", 1)
    monkeypatch.setattr(writer_module, "_GROUP_ROWS", 100)


def many_points(count: int = 1000, value: float = 0.5) -> list[Row]:
    steps = [i * 290_000 for i in range(count)]
    return points("loss", steps, [value + i for i in range(count)])


def write_in_pieces(writer: RunWriter, rows: list[Row], size: int = 100) -> None:
    for start in range(0, len(rows), size):
        fill(writer, rows[start : start + size])


@pytest.mark.usefixtures("small_parts")
def test_parts_roll_and_are_read_in_order(archive: Archive) -> None:
    with RunWriter(archive, KEY, "test") as writer:
        write_in_pieces(writer, many_points())
        written = writer.commit()
    stem = name_on_disk(KEY.run)
    assert written.parts == 10
    assert part_names(archive) == sorted(part_name(stem, n) for n in range(10))
    run = archive.find(KEY)
    assert run is not None
    assert [p.name for p in run.parts] == [part_name(stem, n) for n in range(10)]
    assert read_rows(archive, KEY) == many_points()
    first = [next(iter(b.column("step").to_pylist())) for b in run.batches()]
    assert first == sorted(first)
    assert run.sums().digest() == written.digest


@pytest.mark.usefixtures("small_parts")
def test_part_0_is_the_last_to_appear(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[str] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        if str(target).endswith(".parquet"):
            assert archive.find(KEY) is None, "the run shows before it is whole"
            renamed.append(Path(target).name.rpartition("_")[2])
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    with RunWriter(archive, KEY, "test") as writer:
        write_in_pieces(writer, many_points(400))
        assert archive.find(KEY) is None
        writer.commit()
    assert renamed == ["3.parquet", "2.parquet", "1.parquet", "0.parquet"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 1), (5, 3), (3, 5)])
def test_a_second_export_takes_the_place_of_the_first(
    archive: Archive, before: int, after: int
) -> None:
    for parts, value in ((before, 0.5), (after, 7.5)):
        with RunWriter(archive, KEY, "test") as writer:
            write_in_pieces(writer, many_points(100 * parts, value))
            assert writer.commit().parts == parts
    assert len(part_names(archive)) == after
    assert read_rows(archive, KEY) == many_points(100 * after, 7.5)


def test_leaving_without_commit_leaves_nothing_and_the_old_export_as_it_was(
    archive: Archive,
) -> None:
    before = [row("lr", "float", 0.1), row("weights", "file", b"old")]
    write_run(archive, KEY, before)
    with RunWriter(archive, KEY, "test") as writer:
        fill(writer, [row("lr", "float", 0.2), row("weights", "file", b"new"), *many_points(10)])
        writer.flush()
    assert read_rows(archive, KEY) == before
    assert len(part_names(archive)) == 1
    root = archive.files_root(KEY.project)
    assert [p.read_bytes() for p in root.rglob("*") if p.is_file()] == [b"old"]


def test_files_that_the_new_export_does_not_name_are_removed(archive: Archive) -> None:
    write_run(archive, KEY, [row("a", "file", b"1"), row("b", "file", b"2")])
    other = RunKey(KEY.project, "another")
    write_run(archive, other, [row("a", "file", b"3")])
    write_run(archive, KEY, [row("a", "file", b"1"), row("b", "file", b"4")])
    assert values(archive, KEY) == {"a": b"1", "b": b"4"}
    assert values(archive, other) == {"a": b"3"}
    root = archive.files_root(KEY.project)
    assert sorted(p.read_bytes() for p in root.rglob("*") if p.is_file()) == [b"1", b"3", b"4"]


ODD_RUNS = ["a.b", "a_b", "a b", "A_B", "ü" * 300, "x/../../y", "..", "%41", "|", "\n", " "]


def test_odd_run_ids_are_runs_of_their_own(archive: Archive) -> None:
    keys = [RunKey("acme/vision", run) for run in ODD_RUNS]
    for i, key in enumerate(keys):
        write_run(archive, key, [row("n", "int", i), row("f", "file", str(i).encode())])
    for i, key in enumerate(keys):
        assert values(archive, key) == {"n": i, "f": str(i).encode()}
    assert set(archive.runs("acme/vision")) == set(keys)
    assert set(archive.manifests("acme/vision", keys)) == set(keys)


def test_projects_whose_names_meet_stay_apart(archive: Archive) -> None:
    for i, project in enumerate(["a/b.c", "a/b_c", "a_b/c"]):
        write_run(archive, RunKey(project, "r"), [row("n", "int", i)])
    assert archive.projects() == ["a/b.c", "a/b_c", "a_b/c"]
    assert [values(archive, RunKey(p, "r"))["n"] for p in archive.projects()] == [0, 1, 2]


def test_columns_and_types_can_be_chosen(archive: Archive) -> None:
    write_run(archive, KEY, EVERYTHING)
    run = archive.find(KEY)
    assert run is not None
    batches = list(run.batches(columns=["float_value", "step"], types=["float_series"]))
    assert [b.schema.names for b in batches] == [["float_value", "step"]]
    assert batches[0].column(0).to_pylist() == [0.0, inf, -inf]
    assert list(run.batches(types=["artifact"])) == []
    kinds = [k for b in run.batches(types=["int", "bool"]) for k in b.column("attribute_type")]
    assert sorted(k.as_py() for k in kinds) == ["bool", "int", "int"]


def test_an_archive_that_is_not_there_has_nothing(archive: Archive) -> None:
    assert archive.projects() == []
    assert archive.runs("acme/vision") == {}
    assert archive.find(KEY) is None
    assert archive.manifests("acme/vision", [KEY]) == {}
