"""The contract of sources: what is there arrives, what passes costs nothing, what does not pass is
named, and the next export does just what is missing.

A new source joins by a line in `backends.BACKENDS`. That exports may be stopped at any moment is
proved by `trust.test_export_crash`, over the same sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import MigrationError, Terminal, UnknownProjectError
from migration_pipeline.sources.source import DownloadedFile, RunDone, Selection
from migration_pipeline_tests.archive.making import (
    archive_in,
    contents,
    read_rows,
)
from migration_pipeline_tests.sources.contract.backends import BACKENDS
from migration_pipeline_tests.sources.contract.place import Place
from migration_pipeline_tests.sources.serving import EVERYTHING, Exported
from migration_pipeline_tests.stores import left_over

RUNS = 5


@pytest.fixture(params=sorted(BACKENDS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with BACKENDS[request.param].few(tmp_path / "place", RUNS) as made:
        yield made


def exporting(place: Place, folder: Path, hasty: bool = False) -> Exported:
    """An empty archive below a folder, and a source of its own."""
    return Exported(None, archive_in(folder), place.open(hasty), place.project)


@pytest.fixture
def whole(place: Place, tmp_path: Path) -> Exported:
    """An export that nothing disturbed."""
    exported = exporting(place, tmp_path / "whole")
    exported.export_all()
    return exported


def held(exported: Exported, run: str) -> Mapping[str, Any]:
    """Path → value, or the points of a series."""
    found: dict[str, Any] = {}
    for row in read_rows(exported.archive, RunKey(exported.project, run)):
        if row["step"] is None:
            found[row["path"]] = row["value"]
        else:
            point = (row["step"], row["timestamp"], row["value"])
            found.setdefault(row["path"], []).append(point)
    return found


def places(archive: Archive) -> dict[RunKey, int]:
    """The time at which each run's part 0 was written, in ns."""
    return {
        key: run.parts[0].stat().st_mtime_ns
        for project in archive.projects()
        for key, run in archive.runs(project).items()
    }


def test_what_is_there_arrives(place: Place, whole: Exported) -> None:
    assert place.project in whole.source.list_projects()
    assert len(place.expected) == RUNS
    for run, attributes in place.expected.items():
        there = held(whole, run)
        assert {path: there.get(path) for path in attributes} == attributes
    assert len(contents(whole.archive)) == place.count
    assert left_over(whole.archive) == []


def test_the_same_again_is_nothing_to_do(place: Place, whole: Exported, tmp_path: Path) -> None:
    before = contents(whole.archive)
    plan = whole.export_all()
    assert (plan.due, plan.changed, len(plan.present)) == ([], [], place.count)
    other = exporting(place, tmp_path / "other")
    other.export_all()
    assert contents(other.archive) == before


def test_a_run_ends_once_and_its_files_become_the_takers(place: Place, tmp_path: Path) -> None:
    source, scratch = place.open(), tmp_path / "scratch"
    scratch.mkdir()
    refs = source.list_runs(place.project, EVERYTHING)
    ended: list[RunKey] = []
    for event in source.read(refs, EVERYTHING, scratch):
        assert event.run.key not in ended
        if isinstance(event, DownloadedFile):
            assert event.path.is_relative_to(scratch)
            event.path.unlink()
        elif isinstance(event, RunDone):
            ended.append(event.run.key)
    assert set(ended) == {ref.key for ref in refs}
    assert [path for path in scratch.rglob("*") if path.is_file()] == []


def test_what_passes_costs_nothing(place: Place, whole: Exported, tmp_path: Path) -> None:
    expected = contents(whole.archive)
    for name, begin in place.passing.items():
        happened = begin()
        exported = exporting(place, tmp_path / name)
        exported.export()
        assert exported.failed == {}, name
        assert contents(exported.archive) == expected, name
        assert happened() > 0, f"{name} was not met"


def test_what_lasts_is_named_and_nothing_is_published(
    place: Place, whole: Exported, tmp_path: Path
) -> None:
    assert place.lasting
    for name, lasting in place.lasting.items():
        exported = exporting(place, tmp_path / name, hasty=True)
        errors: list[Exception] = []
        with lasting.block():
            try:
                exported.export()
            except MigrationError as error:
                errors.append(error)
            else:
                assert len(exported.failed) >= RUNS, name
                errors += exported.failed.values()
            assert {type(error) for error in errors} == {lasting.error}, name
            assert all(lasting.says in str(error) for error in errors), name
            assert not any(run in exported.runs for run in place.expected), name
            assert left_over(exported.archive) == []
        after = Exported(None, exported.archive, place.open(), place.project)
        after.export_all()
        assert contents(after.archive) == contents(whole.archive), name


@pytest.mark.parametrize(
    "place", sorted(name for name, of in BACKENDS.items() if of.refuses), indirect=True
)
def test_one_bad_run_fails_by_name_and_the_next_export_does_just_it(
    place: Place, whole: Exported, tmp_path: Path
) -> None:
    exported, expected = exporting(place, tmp_path), contents(whole.archive)
    bad = RunKey(place.project, sorted(place.expected)[RUNS // 2])
    assert place.refuse is not None
    with place.refuse(bad):
        exported.export()
    assert list(exported.failed) == [bad.run]
    error = exported.failed[bad.run]
    assert isinstance(error, Terminal)
    assert place.project in str(error)
    others = {key: digest for key, digest in expected.items() if key != bad}
    assert contents(exported.archive) == others
    assert [ref.key for ref in exported.export_all().due] == [bad]
    assert contents(exported.archive) == expected


def test_a_run_that_changed_is_exported_again_and_no_other(place: Place, whole: Exported) -> None:
    before = contents(whole.archive)
    written = places(whole.archive)
    changed = RunKey(place.project, sorted(place.expected)[0])
    place.change(changed)
    plan = whole.export_all()
    assert plan.changed == [changed]
    assert [ref.key for ref in plan.due] == [changed]
    after = contents(whole.archive)
    assert {key for key in before if before[key] != after[key]} == {changed}
    assert after.keys() == before.keys()
    again = places(whole.archive)
    assert {key for key in written if written[key] != again[key]} == {changed}


def test_only_what_is_selected_comes_and_the_rest_follows(
    place: Place, whole: Exported, tmp_path: Path
) -> None:
    exported = exporting(place, tmp_path)
    run = sorted(place.expected)[0]
    name = sorted(place.expected[run])[0]
    exported.export_all(Selection(run_ids=(run,), attribute_names=(name,)))
    assert exported.runs == {run}
    assert set(held(exported, run)) == {name}
    plan = exported.export_all()
    assert plan.changed == [RunKey(place.project, run)]
    assert contents(exported.archive) == contents(whole.archive)


def test_a_project_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(UnknownProjectError, match="acme/nobody-has-this"):
        place.open().list_runs("acme/nobody-has-this", EVERYTHING)
