"""Runs with a manifest: complete is what its digests prove; any damage is found and is proof."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import writer as writer_module
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.manifest import MANIFEST_KEY, Manifest
from migration_pipeline.archive.schema import MICROS, SCHEMA
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    Change,
    adopted,
    codes,
    findings,
    grades,
    key,
    own_project,
    part_of,
    rewrite,
    text_of,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, fill, points, row, write_run

WITHOUT_DIGESTS = (
    "Digests were not recomputed: parts, row counts and files' sizes are as announced."
)


def test_digests_that_hold_prove_that_a_run_is_complete(own: Archive) -> None:
    found = examine(own, PROJECT)
    assert grades(found) == {f"run {i}": "complete" for i in range(6)}
    assert [run.notes for run in found.runs] == [()] * 6
    assert found.findings == ()


def test_nothing_is_called_complete_whose_digests_were_not_recomputed(own: Archive) -> None:
    found = examine(own, PROJECT, thorough=False)
    assert grades(found) == {f"run {i}": "plausible" for i in range(6)}
    assert [run.notes for run in found.runs] == [(WITHOUT_DIGESTS,)] * 6
    rewrite(part_of(own, "run 1"), one_value_changed)
    assert grades(examine(own, PROJECT, thorough=False))["run 1"] == "plausible"
    assert grades(examine(own, PROJECT))["run 1"] == "damaged"


def test_order_is_no_part_of_the_digest(own: Archive) -> None:
    rewrite(part_of(own, "run 1"), lambda t: t.take(list(reversed(range(t.num_rows)))))
    assert grades(examine(own, PROJECT))["run 1"] == "complete"


def one_value_changed(table: pa.Table) -> pa.Table:
    values = table["float_value"].to_pylist()
    index = next(i for i, v in enumerate(values) if v == 0.5)
    values[index] = 0.5000000000000001
    at = SCHEMA.get_field_index("float_value")
    return table.set_column(at, "float_value", pa.array(values, pa.float64()))


def without_row(table: pa.Table) -> pa.Table:
    return table.slice(1)


def with_a_row_twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def swapped(table: pa.Table) -> pa.Table:
    """One row goes and another one comes twice: the number of rows is right."""
    return pa.concat_tables([table.slice(1, 1), table.slice(1)])


def without_type(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["attribute_type"], "histogram_series"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_value_changed, "the digest of its rows is not that of the manifest"),
        (without_row, "rows are announced, the parts have"),
        (with_a_row_twice, "rows are announced, the parts have"),
        (swapped, "the digest of its rows is not that of the manifest"),
        (without_type, "rows are announced, the parts have"),
    ],
)
def test_rows_that_changed(own: Archive, change: Change, said: str) -> None:
    rewrite(part_of(own, "run 1"), change)
    found = examine(own, PROJECT)
    assert codes(found) == {"run 1": ["rows_differ"]}
    assert grades(found)["run 1"] == "damaged"
    assert said in text_of(found, "run 1", "rows_differ")


def weights(own: Archive, run: str) -> Path:
    (entry,) = [e for e in manifest_of(own, run).files if "weights" in e.path]
    return own.files_root(PROJECT) / entry.path


def manifest_of(own: Archive, run: str) -> Manifest:
    found = own.find(key(run))
    assert found is not None
    assert found.manifest is not None
    return found.manifest


def test_files_that_changed(own: Archive) -> None:
    weights(own, "run 0").unlink()
    weights(own, "run 1").write_bytes(b"")
    same_size = weights(own, "run 2").read_bytes()[::-1]
    weights(own, "run 2").write_bytes(same_size)
    one, other = weights(own, "run 3"), weights(own, "run 4")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    found = examine(own, PROJECT)
    differs = ["file_differs"]
    assert codes(found) == {"run 0": ["file_missing"]} | {f"run {i}": differs for i in range(1, 5)}
    assert {grades(found)[run] for run in codes(found)} == {"damaged"}
    assert "has 0 bytes, 19 are announced" in text_of(found, "run 1", "file_differs")
    assert "1 of 3 files have other bytes" in text_of(found, "run 3", "file_differs")


def test_a_row_that_names_another_file(own: Archive) -> None:
    def renamed(table: pa.Table) -> pa.Table:
        named = table["file_value"].to_pylist()
        files = [None if f is None else {"path": f["path"] + "x"} for f in named]
        at = SCHEMA.get_field_index("file_value")
        return table.set_column(at, "file_value", pa.array(files, SCHEMA.field(at).type))

    rewrite(part_of(own, "run 1"), renamed)
    assert codes(examine(own, PROJECT)) == {"run 1": ["rows_differ"]}


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """`long` of three parts, `other` of three, `short` of one."""
    monkeypatch.setattr(writer_module, "PART_BYTES", 1)
    monkeypatch.setattr(writer_module, "_GROUP_ROWS", 100)
    archive = archive_in(tmp_path)
    for run, shift in (("long", 0.0), ("other", 1.0)):
        rows = points("loss", [i * MICROS for i in range(300)], [shift + i for i in range(300)])
        with RunWriter(archive, key(run), "test") as writer:
            for start in range(0, 300, 100):
                fill(writer, rows[start : start + 100])
            assert writer.commit().parts == 3
    write_run(archive, key("short"), [row("n", "int", 1)])
    return archive


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_the_manifest_counts_is_gone(parted: Archive, number: int) -> None:
    part_of(parted, "long", number).unlink()
    found = examine(parted, PROJECT)
    assert grades(found) == {"long": "damaged", "other": "complete", "short": "complete"}
    assert text_of(found, "long", "part_missing") == (
        f"part(s) {number} of 3 (counted from 0) are missing"
    )


def test_part_0_is_gone(parted: Archive) -> None:
    """The others still say whose they are."""
    part_of(parted, "long", 0).unlink()
    found = examine(parted, PROJECT)
    assert grades(found)["long"] == "damaged"
    assert text_of(found, "long", "part_missing") == "part 0 is missing, part 2 is there"


def test_a_part_too_many(parted: Archive) -> None:
    part_of(parted, "long", 3).write_bytes(part_of(parted, "long", 2).read_bytes())
    found = examine(parted, PROJECT)
    assert grades(found)["long"] == "damaged"
    assert text_of(found, "long", "foreign_part") == (
        "3 parts are announced, part 3 is there as well"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_of_another_run(parted: Archive, number: int) -> None:
    part_of(parted, "long", number).write_bytes(part_of(parted, "other", number).read_bytes())
    found = examine(parted, PROJECT)
    assert codes(found) == {"long": ["foreign_part"]}


def test_whole_runs_under_each_others_names(own: Archive) -> None:
    one, other = part_of(own, "run 1"), part_of(own, "run 2")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    found = examine(own, PROJECT)
    assert codes(found) == {"run 1": ["foreign_part"], "run 2": ["foreign_part"]}


def test_a_run_in_the_folder_of_another_kind(own: Archive) -> None:
    part = part_of(own, "run 1")
    models = own.project_directory(PROJECT, "model")
    models.mkdir()
    part.rename(models / part.name)
    (model,) = [run for run in examine(own, PROJECT).runs if run.key.kind == "model"]
    assert (model.key, model.grade) == (RunKey(PROJECT, "run 1", "model"), "damaged")
    assert [r.text for r in model.reasons] == ["its manifest is that of acme/vision|run 1"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_cannot_be_read(parted: Archive, number: int) -> None:
    part = part_of(parted, "long", number)
    part.write_bytes(part.read_bytes()[:-5])
    found = examine(parted, PROJECT)
    assert grades(found)["long"] == "damaged"
    assert "part_unreadable" in codes(found)["long"]


def test_a_part_whose_rows_cannot_be_read(parted: Archive) -> None:
    """Only reading shows it: its footer and size are right."""
    part = part_of(parted, "long", 1)
    content = part.read_bytes()
    part.write_bytes(content[:4] + b"\xff" * 600 + content[604:])
    assert grades(examine(parted, PROJECT, thorough=False))["long"] == "plausible"
    assert codes(examine(parted, PROJECT)) == {"long": ["part_unreadable"]}


def test_another_schema(own: Archive) -> None:
    rewrite(part_of(own, "run 1"), lambda table: table.drop(["step"]))
    found = examine(own, PROJECT)
    assert codes(found) == {"run 1": ["other_schema"]}


@pytest.mark.parametrize("text", [b"no JSON", b'{"format": 1}'])
def test_a_manifest_that_cannot_be_read(own: Archive, text: bytes) -> None:
    part = part_of(own, "run 1")
    table = pq.read_table(part).cast(SCHEMA)
    pq.write_table(table.replace_schema_metadata({MANIFEST_KEY: text}), part)
    found = examine(own, PROJECT)
    assert codes(found) == {"run 1": ["manifest_unreadable"]}
    assert grades(found)["run 1"] == "damaged"


def test_temporary_parts_of_a_later_export_do_not_concern_the_run(own: Archive) -> None:
    part = part_of(own, "run 1")
    part.with_name(part.name.replace(".parquet", ".0a1b2c3d.parquet.tmp")).write_bytes(b"PAR1")
    found = examine(own, PROJECT)
    assert grades(found)["run 1"] == "complete"
    assert list(findings(found)) == ["stray_tmp"]


def test_what_the_source_could_not_give_is_noted(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    said = {
        "notes": ["Steps of images are their order."],
        "missing_files": ["model"],
        "selection": "only metrics",
    }
    write_run(archive, key("run 0"), training(0), **said)
    (run,) = examine(archive, PROJECT).runs
    assert run.grade == "complete"
    assert run.notes == (
        "Not all of the run, by intention: only metrics",
        "The source no longer had 1 file(s) of it.",
        "Steps of images are their order.",
    )


def test_both_kinds_of_runs_in_one_project(own: Archive) -> None:
    adopted(own, key("run 6"), training(6))
    found = examine(own, PROJECT)
    assert grades(found) == {f"run {i}": "complete" for i in range(6)} | {"run 6": "plausible"}


def test_runs_are_told_apart_by_kind(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    own_project(archive, runs=1)
    write_run(archive, RunKey(PROJECT, "run 0", "model"), [row("n", "int", 1)])
    assert [(str(r.key), r.grade) for r in examine(archive, PROJECT).runs] == [
        ("acme/vision|run 0", "complete"),
        ("acme/vision|run 0 (model)", "complete"),
    ]
