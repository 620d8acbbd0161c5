"""The figures are those of the rows and files that lie there, exactly."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.digest import FileInfo
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.archive.summary import aggregates, reading
from migration_pipeline.archive.summary.figures import Range
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import (
    KEY,
    archive_in,
    points,
    read_rows,
    row,
    write_run,
)
from migration_pipeline_tests.archive.strategies import MadeRun, runs
from migration_pipeline_tests.archive.summary.summarizing import summed, write_parts

ADOPTED = Path(__file__).parents[2] / "data" / "neptune-exporter"
MICRO = 10**6
CREATED = 1_735_689_600_123


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path)


def test_a_run_is_counted_by_type_step_time_and_bytes(archive: Archive) -> None:
    write_run(
        archive,
        KEY,
        [
            *points("loss", [250_000, 123_456_789_123_456], [1.0, 2.0], at=CREATED),
            *points("acc", [0, MICRO, 2 * MICRO], [0.1, 0.2, 0.3], at=CREATED + 500),
            row("log", "string_series", "hello", 7 * MICRO, CREATED - 1),
            row("lr", "float", 0.1),
            row("weights", "file", b"12345"),
            row("sys/name", "string", "first"),
            row("sys/creation_time", "datetime", CREATED),
            row("sys/failed", "bool", True),
            row("sys/tags", "string_set", ["b, c", "a"]),
            row("sys/group_tags", "string_set", ["group"]),
        ],
    )
    found = summed(archive)
    (run,) = found.runs.values()
    assert (run.key, run.adopted, run.parts) == (KEY, False, 1)
    assert (run.attributes, run.rows, run.points) == (10, 13, 6)
    assert run.steps == Range(Decimal(0), Decimal("123456789.123456"))
    assert run.times == Range(CREATED - 1, CREATED + 2500)
    assert (run.files, run.file_bytes, run.missing_files) == (1, 5, 0)
    assert run.parquet_bytes == archive.runs(KEY.project)[KEY].bytes_on_disk
    assert (run.name, run.created, run.failed, run.trashed) == ("first", CREATED, True, None)
    assert sorted(run.tags) == ["a", "b, c", "group"]
    types = {one.type: (one.attributes, one.rows, one.steps) for one in found.figures.types}
    assert types["float_series"] == (2, 5, Range(Decimal(0), Decimal("123456789.123456")))
    assert types["string_series"] == (1, 1, Range(Decimal(7), Decimal(7)))
    assert types["string"] == (1, 1, Range())
    # 0.25, 123456789.123456, 0, 1, 2, 7
    assert (found.figures.steps.rows, found.figures.steps.distinct) == (6, 6)
    assert found.series == [("acc", 1, 3), ("loss", 1, 2)]
    assert found.problems == []


def test_one_attribute_over_many_parts_is_one_attribute(archive: Archive) -> None:
    parts = [points("loss", range(i, i + 10), [1.0] * 10) for i in (0, 10, 20)]
    for run in ("r-1", "r-2"):
        write_parts(archive, RunKey(KEY.project, run), *parts)
    found = summed(archive)
    assert {run.parts for run in found.runs.values()} == {3}
    assert {(run.attributes, run.rows) for run in found.runs.values()} == {(1, 30)}
    types = [(t.type, t.attributes, t.rows) for t in found.figures.types]
    assert types == [("float_series", 1, 60)]
    assert found.figures.steps.distinct == 30
    assert found.series == [("loss", 2, 60)]


def test_objects_of_all_kinds_and_both_roots_are_told_apart(tmp_path: Path) -> None:
    archive = Archive(*(tmp_path / name for name in ("data", "files", "m_data", "m_files")))
    models = Archive(tmp_path / "m_data", tmp_path / "m_files")
    write_run(archive, KEY, [row("a", "int", 1), row("f", "file", b"of the run")])
    model = RunKey(KEY.project, KEY.run, "model")
    write_run(models, model, [row("a", "int", 1), row("f", "file", b"m")])
    found = summed(archive)
    assert found.figures.kinds == {"run": 1, "model": 1}
    assert {key: run.file_bytes for key, run in found.runs.items()} == {str(KEY): 10, str(model): 1}
    assert (found.figures.files, found.figures.file_bytes) == (2, 11)
    assert found.problems == []


def test_a_run_without_rows_is_a_run(archive: Archive) -> None:
    write_run(archive, KEY, [])
    found = summed(archive)
    assert found.figures.kinds == {"run": 1}
    assert found.runs[str(KEY)].rows == 0
    assert (found.figures.types, found.figures.steps.range) == ((), Range())


def test_files_that_are_gone_are_counted_apart(archive: Archive) -> None:
    write_run(archive, KEY, [row("a", "file", b"1"), row("b", "file", b"22"), row("c", "int", 1)])
    gone = next(p for p in archive.files.rglob("*") if p.is_file() and p.read_bytes() == b"22")
    gone.unlink()
    found = summed(archive)
    assert (found.figures.files, found.figures.file_bytes, found.figures.missing_files) == (1, 1, 1)
    assert found.runs[str(KEY)].missing_files == 1


@pytest.mark.parametrize("path", ["../outside", "{absolute}", "a/../../outside", "\0", "", "."])
def test_a_path_that_leaves_the_archive_names_no_file_of_it(archive: Archive, path: str) -> None:
    outside = archive.files / "outside"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"not of the archive")
    path = path.format(absolute=outside)
    (archive.files_root(KEY.project) / "a").mkdir(parents=True)
    with RunWriter(archive, KEY, "test") as writer:
        rows = [{"path": "f", "type": "file", "value": path}]
        writer.sums.file_info = lambda _: FileInfo(0, "")
        writer.write(make_batch(KEY.project, KEY.run, rows))
        writer.commit()
    figures = summed(archive).figures
    assert (figures.files, figures.file_bytes, figures.missing_files) == (0, 0, 1)


def test_an_unpacked_file_set_counts_by_what_is_in_it(archive: Archive) -> None:
    write_run(archive, KEY, [row("set", "file_set", b"zip")])
    file = next(p for p in archive.files.rglob("*") if p.is_file())
    file.unlink()
    (file / "in").mkdir(parents=True)
    (file / "a").write_bytes(b"123")
    (file / "in" / "b").write_bytes(b"4567")
    assert summed(archive).figures.file_bytes == 7


def test_an_archive_of_neptune_exporter(tmp_path: Path) -> None:
    """Its figures are known from reading it with pyarrow and listing its files."""
    found = summed(Archive(ADOPTED / "data", ADOPTED / "files"), "acme/vision")
    figures = found.figures
    assert (figures.runs, figures.adopted, figures.rows, figures.points) == (3, 3, 1686, 1568)
    assert figures.steps.range == Range(Decimal(0), Decimal("123456789.123456"))
    assert (figures.times.least, figures.times.most) == (1735689600123, 1735689899125)
    types = {one.type: (one.attributes, one.rows) for one in figures.types}
    assert types["float_series"] == (6, 1476)
    assert types["histogram_series"] == (1, 8)
    files = [p for p in (ADOPTED / "files").rglob("*") if p.is_file()]
    assert figures.file_bytes == sum(p.stat().st_size for p in files)
    # Both runs name the same files: what is there is counted once.
    assert figures.files == len(files)
    assert figures.biggest[0].key.run == "run.1 ü[x]"
    assert found.runs["acme/vision|run_1 ü[x]"].tags == ("baseline", "batch-2", "sweep-0")


def test_run_ids_are_sorted_as_people_count(archive: Archive) -> None:
    ids = ["P-10", "P-9", "P-09", "a", "P", "10", "9"]
    for run in ids:
        write_run(archive, RunKey(KEY.project, run), [row("a", "int", 1)])
    runs = [run.key.run for run in summed(archive).runs.values()]
    assert runs.index("P-9") < runs.index("P-10")
    assert runs.index("P-09") < runs.index("P-10")
    assert runs.index("9") < runs.index("10") < runs.index("P")


def test_distinct_steps_are_counted_up_to_a_limit(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates, "DISTINCT_LIMIT", 10)
    for i in range(3):
        values = [1.0] * 5
        write_run(archive, RunKey(KEY.project, f"r-{i}"), points("a", range(i, i + 5), values))
    assert summed(archive).figures.steps.distinct == 7
    write_run(archive, RunKey(KEY.project, "r-9"), points("a", range(100, 108), [1.0] * 8))
    steps = summed(archive).figures.steps
    assert (steps.distinct, steps.rows) == (None, 23)


def test_parts_are_read_some_at_a_time(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PARTS_AT_ONCE", 2)
    for i in range(5):
        write_run(archive, RunKey(KEY.project, f"r-{i}"), points("a", range(i), [0.5] * i))
    found = summed(archive)
    assert [run.rows for run in found.runs.values()] == [0, 1, 2, 3, 4]
    assert (found.figures.rows, found.figures.steps.distinct) == (10, 4)
    assert found.series == [("a", 4, 10)]


@pytest.mark.parametrize("name", ["a[1]*", "k=v", "ü 日本", "it's", "{x}"])
def test_the_archive_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    archive = archive_in(tmp_path / name)
    write_run(archive, KEY, points("a", [MICRO], [0.5]))
    found = summed(archive)
    assert (found.figures.rows, found.problems) == (1, [])


@settings(max_examples=25)
@given(runs())
def test_figures_are_those_of_a_recount(made: list[MadeRun]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        archive = archive_in(folder)
        for one in made:
            write_run(archive, RunKey(KEY.project, one.run), one.rows)
        found = summed(archive)
        rows, paths, steps = Counter[str](), defaultdict[str, set[str]](set), []
        for one in made:
            key = RunKey(KEY.project, one.run)
            there = read_rows(archive, key)
            rows.update(r["type"] for r in there)
            for r in there:
                paths[r["type"]].add(r["path"])
            own = [Decimal(r["step"]).scaleb(-6) for r in there if r["step"] is not None]
            expected = Range(min(own, default=None), max(own, default=None))
            assert found.runs[str(key)].steps == expected
            assert found.runs[str(key)].rows == len(there)
            steps += own
        counted = {t.type: (t.attributes, t.rows) for t in found.figures.types}
        assert counted == {name: (len(paths[name]), rows[name]) for name in rows}
        assert found.figures.steps.range == Range(
            min(steps, default=None), max(steps, default=None)
        )
        assert found.figures.steps.distinct == len(set(steps))
        assert found.problems == []
    finally:
        shutil.rmtree(folder)
