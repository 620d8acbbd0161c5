"""What every target answers beside carrying runs: what is not there, what differs, what is removed,
what a prefix keeps apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.digest import RunSums, digest_file
from migration_pipeline.archive.salvage import salvage
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import scan_run
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.damage import with_damage
from migration_pipeline.targets.loading import LoadSettings, load_runs, plan_load, verify_runs
from migration_pipeline.targets.target import Kin, LoadState
from migration_pipeline_tests.contract.backends import BACKENDS, Backend
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    histogram,
    param,
    write_run,
)

KEY, OTHER = RunKey(PROJECT, "one"), RunKey(PROJECT, "other")
NO_MAPPING = ProjectMapping()
ROWS = (
    param("same", "string", "same"),
    param("text", "string", "before"),
    param("number", "int", 2**53 + 1),
    *curve("m/value", 5),
    *curve("m/point", 5),
    *curve("m/time", 5),
    Row("log", "string_series", "line", "1", START),
    Row("histogram", "histogram_series", histogram("COUNTING", [0.0, 1.0], [2.0]), "1", START),
    Row("file", "file", b"before"),
    Row("gone", "file", b"before"),
)
CHANGED = {
    "text": param("text", "string", "after"),
    "number": param("number", "int", 2**53),
    "log": Row("log", "string_series", "Line", "1", START),
    "histogram": Row(
        "histogram", "histogram_series", histogram("COUNTING", [0.0, 1.0], [3.0]), "1", START
    ),
    "file": Row("file", "file", b"after!"),
}


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    runs = (RunData(KEY.run, ROWS), RunData(OTHER.run, ROWS))
    return build(tmp_path, DataSet("two", runs))


def changed() -> tuple[Row, ...]:
    """`ROWS` with one value, point, time, text, number and file changed, and one file less."""
    rows = [CHANGED.get(row.path, row) for row in ROWS if row.path != "gone"]
    for number, row in enumerate(rows):
        if row.path == "m/value" and row.step == "3":
            rows[number] = replace(row, value=0.125)
        if row.path == "m/time" and row.step == "3":
            rows[number] = replace(row, time=START + 999)
    rows.remove(next(row for row in rows if row.path == "m/point" and row.step == "4"))
    return tuple(rows)


def test_a_target_without_runs(backend: Backend, tmp_path: Path) -> None:
    target = backend.make(tmp_path / "store")
    target.check()
    assert dict(target.runs(PROJECT, NO_MAPPING)) == {}
    assert target.find(KEY, NO_MAPPING).state is LoadState.ABSENT
    with pytest.raises(TargetRefusedError, match=r"one.* is not (at|in|there)"):
        target.facts(KEY, NO_MAPPING)
    target.discard(KEY, NO_MAPPING)


def test_what_differs_is_found_by_name(backend: Backend, archive: Archive, tmp_path: Path) -> None:
    """The archive changes after the load, so what is read back is the target's alone."""
    target = backend.make(tmp_path / "store")
    assert all(run.good for run in load_all(target, archive).runs)
    write_run(archive, RunData(KEY.run, changed()))
    run, other = verify_runs(target, archive, NO_MAPPING, [KEY, OTHER]).runs
    assert run.verdict
    assert sorted((f.kind, f.attribute) for f in run.verdict.findings) == [
        *(("differing", path) for path in ("file", "histogram", "log")),
        *(("differing", f"m/{name}") for name in ("point", "time", "value")),
        *(("differing", path) for path in ("number", "text")),
        ("unexpected", "gone"),
    ]
    assert other.good


def test_only_what_is_asked_for_is_read_back(
    backend: Backend, archive: Archive, tmp_path: Path
) -> None:
    target, into = backend.make(tmp_path / "store"), tmp_path / "into"
    load_all(target, archive)
    wanted = {"m/value", "text", "file"}
    sums = RunSums(lambda path: digest_file(into / path))
    for batch in target.read_back(KEY, NO_MAPPING, into, wanted):
        sums.update(batch)
    run = archive.find(KEY)
    assert run
    whole = run.sums().attributes
    assert {name: s.key() for name, s in sums.attributes.items()} == {
        name: s.key() for name, s in whole.items() if name[0] in wanted
    }


def test_a_run_that_is_discarded_is_gone_and_no_other(
    backend: Backend, archive: Archive, tmp_path: Path
) -> None:
    target = backend.make(tmp_path / "store")
    load_all(target, archive)
    target.discard(KEY, NO_MAPPING)
    assert target.find(KEY, NO_MAPPING).state is LoadState.ABSENT
    assert set(target.runs(PROJECT, NO_MAPPING)) == {OTHER}
    plan = plan_load(backend.make(tmp_path / "store"), archive, PROJECT)
    assert plan.reasons == {KEY: "not there yet"}
    assert all(run.good for run in load_all(target, archive).runs)


def test_what_changed_is_loaded_again(backend: Backend, archive: Archive, tmp_path: Path) -> None:
    load_all(backend.make(tmp_path / "store"), archive)
    write_run(archive, RunData(KEY.run, changed()))
    target = backend.make(tmp_path / "store")
    assert plan_load(target, archive, PROJECT).reasons == {KEY: "its content changed"}
    (run,) = load_all(target, archive).runs
    assert run.good
    found = target.runs(PROJECT, NO_MAPPING)
    assert {key: (len(there.ids), there.verified) for key, there in found.items()} == {
        KEY: (1, True),
        OTHER: (1, True),
    }


def test_a_prefix_keeps_loads_apart(backend: Backend, archive: Archive, tmp_path: Path) -> None:
    target = backend.make(tmp_path / "store")
    settings = LoadSettings(name_prefix="rehearsal")
    plan = plan_load(target, archive, PROJECT, settings)
    assert all(r.good for r in load_runs(target, archive, plan.mapping, plan.due).runs)
    assert plan_load(target, archive, PROJECT, settings).due == []
    assert set(plan_load(target, archive, PROJECT).reasons) == {KEY, OTHER}
    assert all(run.good for run in load_all(target, archive).runs)
    target.discard(KEY, plan.mapping)
    assert target.find(KEY, NO_MAPPING).state is LoadState.COMPLETE
    assert set(target.runs(PROJECT, plan.mapping)) == {OTHER}


def test_a_damaged_run_is_marked_as_one(backend: Backend, archive: Archive, tmp_path: Path) -> None:
    """What can be read of it is loaded; repaired, it is loaded again."""
    run, target = archive.find(KEY), backend.make(tmp_path / "store")
    assert run
    harmed = salvage(archive, KEY, ("a file is gone",))
    assert harmed
    damaged = with_damage(archive, {KEY: ("a file is gone",)}).archive
    assert all(run.good for run in load_all(target, damaged).runs)
    assert {k: r.damaged for k, r in target.runs(PROJECT, NO_MAPPING).items()} == {
        KEY: True,
        OTHER: False,
    }
    assert plan_load(target, archive, PROJECT).reasons == {KEY: "it is not damaged any more"}
    assert all(run.good for run in load_all(target, archive).runs)
    assert not target.find(KEY, NO_MAPPING).damaged


def test_every_point_and_byte_is_counted(
    backend: Backend, archive: Archive, tmp_path: Path
) -> None:
    """What a load says that it sent is what the archive holds, and what its meter was told."""
    target, told = backend.make(tmp_path / "store"), [0]
    plan = plan_load(target, archive, PROJECT)

    class Meter:
        def add(self, points: int = 0, size: int = 0) -> None:
            told[0] += points

    run = archive.find(KEY)
    assert run
    scan = scan_run(run, target.capabilities, plan.mapping)
    report = target.load(scan, plan.mapping, Kin(), Meter())
    assert (report.attributes, report.points, report.files, report.bytes) == (15, 17, 2, 12)
    assert told == [17]
    assert report.id in target.find(KEY, plan.mapping).ids
