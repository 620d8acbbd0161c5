"""Runs that are not as the package writes them: of another tool, in several parts, damaged."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.targets.damage import look_for_damage
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.making import (
    PROJECT,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
)
from migration_pipeline_tests.targets.zenml_backend import make

KEY = RunKey(PROJECT, "RUN-1")
ROWS = (
    param("p", "int", 1),
    *curve("m/a", 300),
    Row("kept", "file", b"kept"),
    Row("lost", "file", b"lost"),
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))


def in_parts(archive: Archive, count: int) -> list[Path]:
    """The run without a manifest, cut into parts as another tool might have."""
    run = archive.find(KEY)
    assert run
    first = run.parts[0]
    whole = [pq.read_table(part, partitioning=None) for part in run.parts]
    table = pa.concat_tables(whole).replace_schema_metadata(None)
    for part in run.parts:
        part.unlink()
    rows = -(-table.num_rows // count)
    parts = [
        first.with_name(layout.part_name(layout.name_on_disk("RUN-1"), n)) for n in range(count)
    ]
    for number, path in enumerate(parts):
        pq.write_table(table.slice(number * rows, rows), path)
    return parts


def test_parts_of_another_tool(archive: Archive, tmp_path: Path) -> None:
    """All arrive, under their numbers, and nothing is due afterwards."""
    parts = in_parts(archive, 3)
    target = make(tmp_path / "store")
    plan = plan_load(target, archive, PROJECT)
    (run,) = load_runs(target, archive, plan.mapping, plan.due).runs
    assert run.good, run.error or run.verdict
    (folder,) = (tmp_path / "store").glob("local_stores/*/neptune-export*/*/data")
    there = {p.name: p.read_bytes() for p in folder.glob("*.parquet")}
    assert there == {f"part_{n}.parquet": p.read_bytes() for n, p in enumerate(parts)}
    again = plan_load(make(tmp_path / "store"), archive, PROJECT)
    assert (again.due, again.unverified, again.complete) == ([], [], [KEY])


def test_other_content_replaces_it(archive: Archive, tmp_path: Path) -> None:
    """By one model version, with the cards of the new content only."""
    in_parts(archive, 1)
    target = make(tmp_path / "store")
    plan = plan_load(target, archive, PROJECT)
    load_runs(target, archive, plan.mapping, plan.due)
    build(tmp_path / "second", DataSet("two", (RunData("RUN-1", (param("q", "int", 2),)),)))
    second = Archive(tmp_path / "second" / "data", tmp_path / "second" / "files")
    plan = plan_load(make(tmp_path / "store"), second, PROJECT)
    assert plan.reasons == {KEY: "its content changed"}
    (run,) = load_runs(target, second, plan.mapping, plan.due).runs
    assert run.good, run.error or run.verdict
    model = target._records.model("neptune-export-team-project")
    assert model
    (version,) = target._records.versions(model).values()
    cards = target._records.version(version).run_metadata
    assert cards["params"] == {"q": 2}
    assert "series" not in cards
    folders = {p.name for p in (tmp_path / "store").glob("local_stores/*/neptune-export*/*/*")}
    assert folders == {"data"}


def test_what_is_left_of_a_damaged_run(archive: Archive, tmp_path: Path) -> None:
    """It arrives, and is marked; its broken part does not."""
    parts = in_parts(archive, 3)
    parts[1].write_bytes(parts[1].read_bytes()[:-8])
    (lost,) = (p for p in archive.files.rglob("lost*") if p.is_file())
    lost.unlink()
    salvaged = look_for_damage(archive, PROJECT, "load").archive
    target = make(tmp_path / "store")
    plan = plan_load(target, salvaged, PROJECT)
    (run,) = load_runs(target, salvaged, plan.mapping, plan.due).runs
    assert run.good, run.error or [str(f) for f in run.verdict.findings if run.verdict]
    found = make(tmp_path / "store").find(KEY, plan.mapping)
    assert (found.state, found.damaged) == (LoadState.COMPLETE, True)
    (folder,) = (tmp_path / "store").glob("local_stores/*/neptune-export*/*/data")
    table = pq.read_table(folder)
    left = salvaged.find(KEY)
    assert left
    assert table.num_rows == left.sums().rows > 100
