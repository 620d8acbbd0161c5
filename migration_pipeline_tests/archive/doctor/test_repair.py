"""What can be repaired without the source is: into a new archive, the old one untouched."""

from __future__ import annotations

import json
import os
from math import inf, nan
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.digest import RunSums
from migration_pipeline.archive.doctor import repair as repair_module
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.doctor.repair import (
    REPAIRED_KEY,
    Repair,
    RepairReport,
    repair,
    repair_directory,
)
from migration_pipeline.archive.schema import MICROS, SCHEMA
from migration_pipeline.errors import ArchiveNotWritableError, ConfigError, DamagedPartError
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    adopted_project,
    codes,
    grades,
    key,
    part_of,
    rewrite,
    training,
)
from migration_pipeline_tests.archive.making import Row, archive_in, read_rows, row, write_run


def shuffled(table: pa.Table) -> pa.Table:
    order = list(range(table.num_rows))
    Random(1).shuffle(order)
    return table.take(order)


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


def repaired(archive: Archive, to: Path) -> tuple[Archive, RepairReport]:
    report = repair(archive, examine(archive, PROJECT), to)
    return Archive(report.data, report.files), report


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_order_and_copies(archive: Archive, tmp_path: Path) -> None:
    """`run 1` in disorder; `run 2` too, and all of it twice; `run 0` with its parts swapped."""
    before = {run: read_rows(archive, key(run)) for run in ("run 0", "run 1", "run 2", "run 3")}
    rewrite(part_of(archive, "run 1"), shuffled)
    rewrite(part_of(archive, "run 2"), lambda table: shuffled(twice(table)))
    one, other = part_of(archive, "run 0", 0), part_of(archive, "run 0", 1)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    was = state(archive.data) | state(archive.files)
    new, report = repaired(archive, tmp_path / "new")
    rows = len(before["run 2"])
    assert report.repaired == (
        Repair(key("run 0"), len(before["run 0"]), 0),
        Repair(key("run 1"), len(before["run 1"]), 0),
        Repair(key("run 2"), rows, rows),
    )
    assert (report.carried, report.left_out) == (3, ())
    assert state(archive.data) | state(archive.files) == was
    for run, rows_before in before.items():
        assert _bits(read_rows(new, key(run))) == _bits(rows_before)
    found = examine(new, PROJECT)
    assert codes(found) == {}
    assert grades(found) == {f"run {i}": "plausible" for i in range(6)}


def _bits(rows: list[Row]) -> list[str]:
    return [repr(sorted(one.items())) for one in rows]


def test_a_repaired_run_says_so_and_claims_nothing(archive: Archive, tmp_path: Path) -> None:
    rewrite(part_of(archive, "run 1"), lambda table: shuffled(twice(table)))
    new, _ = repaired(archive, tmp_path / "new")
    metadata = pq.read_metadata(part_of(new, "run 1")).metadata
    said = json.loads(metadata[REPAIRED_KEY])
    assert said.pop("by").startswith("migration_pipeline ")
    assert said == {"rows_removed": len(training(1)), "ordered": True}
    run = new.find(key("run 1"))
    assert run is not None
    assert run.manifest is None
    assert pq.read_schema(part_of(new, "run 1")).remove_metadata().equals(SCHEMA)


def test_rows_stand_class_by_class_attribute_by_attribute_step_by_step(
    archive: Archive, tmp_path: Path
) -> None:
    rewrite(part_of(archive, "run 1"), shuffled)
    new, _ = repaired(archive, tmp_path / "new")
    table = pq.read_table(part_of(new, "run 1"))
    paths = table["attribute_path"].to_pylist()
    series = ["train/acc", "train/loss", "log/stdout", "weights/hist", "images", "model/weights"]
    order = list(dict.fromkeys(paths))
    assert order[-len(series) :] == series
    assert order[: -len(series)] == sorted(order[: -len(series)])
    assert len(order) == sum(a != b for a, b in zip(paths, ["", *paths[:-1]], strict=True))
    losses = [s for p, s in zip(paths, table["step"].to_pylist(), strict=True) if p == "train/loss"]
    assert losses == sorted(losses)


HARD_VALUES: list[Row] = [
    *(
        row("odd", "float_series", value, 0, 0)
        for value in (0.0, -0.0, nan, inf, -inf, 5e-324, 0.1 + 0.2, 0.1 + 0.2)
    ),
    row("odd", "float_series", -0.0, 0, 0),
    row("odd", "float_series", nan, 0, 0),
    row("odd", "float_series", 1.0, -3, -1),
    row("odd", "float_series", 1.0, 10**17 + 1, 10**14),
    row("n", "int", 2**53 + 1),
    row("n", "int", 2**63 - 1),
    row("s", "string", ""),
    row("s", "string", "z\0\n'\"π"),
    row("none", "string", None),
    row("set", "string_set", []),
    row("set", "string_set", ["b", "a"]),
    row("set", "string_set", ["a", "b"]),
    row("when", "datetime", -(10**13)),
    row("when", "datetime", 10**14),
    *(
        row("h", "histogram_series", {"type": "COUNTING", "edges": [zero, 1.0], "values": [nan]}, 0)
        for zero in (0.0, -0.0, 0.0)
    ),
]


def test_only_rows_of_the_same_bits_are_copies(tmp_path: Path) -> None:
    """Zeros of both signs are two values, NaN and NaN are one, a list is its order."""
    archive = archive_in(tmp_path)
    (part,) = adopted(archive, key("run 0"), HARD_VALUES)
    new, report = repaired(archive, tmp_path / "new")
    assert report.repaired == (Repair(key("run 0"), len(HARD_VALUES) - 4, 4),)
    kept = pq.read_table(part_of(new, "run 0")).to_pylist()
    given = pq.read_table(part).to_pylist()
    assert sorted(set(map(repr, given))) == sorted(map(repr, kept))


def test_order_alone_keeps_the_digest(archive: Archive, tmp_path: Path) -> None:
    rewrite(part_of(archive, "run 1"), shuffled)
    new, _ = repaired(archive, tmp_path / "new")
    runs = [found.find(key("run 1")) for found in (archive, new)]
    digests = [run.sums().digest() for run in runs if run is not None]
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_large_run_has_several_parts(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_rows(archive, key("run 1"))
    rewrite(part_of(archive, "run 1"), shuffled)
    monkeypatch.setattr(repair_module, "PART_BYTES", 1)
    monkeypatch.setattr(repair_module, "_GROUP_ROWS", 50)
    monkeypatch.setattr(repair_module, "BATCH_ROWS", 50)
    new, _ = repaired(archive, tmp_path / "new")
    run = new.find(key("run 1"))
    assert run is not None
    assert len(run.parts) == -(-len(before) // 50)
    assert _bits(read_rows(new, key("run 1"))) == _bits(before)


def test_runs_with_a_manifest_are_carried_as_they_are(tmp_path: Path) -> None:
    """What is wrong with one stays provable in the new archive."""
    archive = archive_in(tmp_path)
    adopted_project(archive, runs=1)
    for number in (1, 2):
        write_run(archive, key(f"run {number}"), training(number))
    rewrite(part_of(archive, "run 2"), twice)
    new, report = repaired(archive, tmp_path / "new")
    assert (report.carried, report.repaired) == (3, ())
    assert grades(examine(new, PROJECT)) == {
        "run 0": "plausible", "run 1": "complete", "run 2": "damaged",
    }  # fmt: skip


def test_what_cannot_be_read_as_a_run_is_left_out_by_name(archive: Archive, tmp_path: Path) -> None:
    part_of(archive, "run 0", 0).unlink()
    part_of(archive, "run 1").write_bytes(b"")
    directory = archive.project_directory(PROJECT)
    (directory / f"{layout.name_on_disk('killed')}_part_0.parquet.tmp").write_bytes(b"PAR1")
    (archive.files_root(PROJECT) / "run_2" / "model" / "weights").unlink()
    new, report = repaired(archive, tmp_path / "new")
    stem = layout.name_on_disk("run 1")
    assert {k.run: why.partition(" (")[0] for k, why in report.left_out} == {
        "run 0": "part 0 is missing, part 1 is there",
        stem: "part 0 cannot be read",
        "killed": "it has temporary parts only",
    }
    assert sorted(run.run for run in new.runs(PROJECT)) == [f"run {i}" for i in range(2, 6)]
    assert grades(examine(new, PROJECT))["run 2"] == "damaged"


def test_models_from_roots_of_their_own(tmp_path: Path) -> None:
    plain = archive_in(tmp_path)
    archive = Archive(plain.data, plain.files, tmp_path / "md", tmp_path / "mf")
    model = RunKey(PROJECT, "M-1", "model")
    rows = [row("sys/id", "string", "M-1"), row("weights", "file", b"w")]
    adopted(Archive(tmp_path / "md", tmp_path / "mf"), model, rows)
    adopted_project(plain, runs=1)
    new, report = repaired(archive, tmp_path / "new")
    assert report.carried == 2
    assert [r["value"] for r in read_rows(new, model)] == ["M-1", b"w"]


def test_files_are_links_and_no_copies_of_bytes(archive: Archive, tmp_path: Path) -> None:
    new, _ = repaired(archive, tmp_path / "new")
    name = Path("run_1") / "model" / "weights"
    assert os.path.samefile(archive.files_root(PROJECT) / name, new.files_root(PROJECT) / name)
    assert os.path.samefile(part_of(archive, "run 1"), part_of(new, "run 1"))


def test_another_file_system_gets_copies(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crossing(*given: object, **options: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", crossing)
    new, _ = repaired(archive, tmp_path / "new")
    weights = new.files_root(PROJECT) / "run_1" / "model" / "weights"
    assert weights.read_bytes() == b"weights of run 0001"
    assert grades(examine(new, PROJECT)) == {f"run {i}": "plausible" for i in range(6)}


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    plain = archive_in(tmp_path)
    archive = Archive(plain.data, plain.files, tmp_path / "md", tmp_path / "mf")
    adopted_project(plain, runs=1)
    clash = tmp_path / "mf" / layout.name_on_disk(PROJECT) / "run_0" / "model" / "weights"
    clash.parent.mkdir(parents=True)
    clash.write_bytes(b"other bytes")
    with pytest.raises(ArchiveNotWritableError, match="another file of the archive would both lie"):
        repaired(archive, tmp_path / "new")


def test_sorting_that_changed_a_row_would_be_noticed(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(part_of(archive, "run 1"), shuffled)
    sort = repair_module._sort

    def wrong(parts: list[Path], into: Path, scratch: Path, *, without_copies: bool) -> None:
        sort(parts, into, scratch, without_copies=without_copies)
        table = pq.read_table(into)
        values = [None if v is None else v + 1e-16 for v in table["float_value"].to_pylist()]
        at = table.schema.get_field_index("float_value")
        pq.write_table(table.set_column(at, "float_value", pa.array(values)), into)

    monkeypatch.setattr(repair_module, "_sort", wrong)
    with pytest.raises(DamagedPartError, match="sorting its rows changed them"):
        repaired(archive, tmp_path / "new")


def test_a_disk_that_is_full_is_named(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(part_of(archive, "run 1"), shuffled)

    def full(*given: object) -> RunSums:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repair_module, "_write_parts", full)
    with pytest.raises(ArchiveNotWritableError, match="No space left"):
        repaired(archive, tmp_path / "new")
    assert not part_of(Archive(tmp_path / "new/data", tmp_path / "new/files"), "run 1").exists()


@pytest.mark.parametrize("place", ["data", "data/new", "files/x/y", "full", "file"])
def test_directories_that_are_refused(archive: Archive, tmp_path: Path, place: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Name a new directory"):
        repair_directory(str(tmp_path / place), archive)


def test_a_new_or_empty_directory_is_taken(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert repair_directory(str(tmp_path / "empty"), archive) == tmp_path / "empty"
    assert repair_directory(str(tmp_path / "new" / "one"), archive) == tmp_path / "new" / "one"
    assert not (tmp_path / "new").exists()


def test_quotes_in_names(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / 'it\'s "here" %s')
    rows = training(0)
    adopted(archive, key("it's"), rows)
    rewrite(part_of(archive, "it's"), shuffled)
    new, report = repaired(archive, tmp_path / "that's new")
    assert report.repaired == (Repair(key("it's"), len(rows), 0),)
    assert MICROS * 99 in {r["step"] for r in read_rows(new, key("it's"))}
