"""Which runs a load leaves out or reads as far as it can, by what somebody decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.scan import fingerprint
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.damage import Handling, look_for_damage, with_damage
from migration_pipeline.targets.planning import why_due
from migration_pipeline.targets.target import LoadState, TargetRun
from migration_pipeline_tests.archive.making import archive_in, row, write_run

PROJECT = "ws/p"
BROKEN, WHOLE = RunKey(PROJECT, "broken"), RunKey(PROJECT, "whole")
HANDLINGS: tuple[Handling, ...] = ("fail", "leave out", "load")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = archive_in(tmp_path)
    for key in (BROKEN, WHOLE):
        write_run(made, key, [row("a", "int", 1), row("f", "file", key.run.encode())])
    return made


def file_of(archive: Archive, key: RunKey) -> Path:
    (file,) = (archive.files_root(PROJECT) / key.folder).iterdir()
    return file


@pytest.mark.parametrize("handling", HANDLINGS)
def test_where_nothing_is_damaged_the_archive_is_itself(
    archive: Archive, handling: Handling
) -> None:
    damage = look_for_damage(archive, PROJECT, handling)
    assert damage.archive is archive
    assert (damage.left_out, damage.loaded) == ({}, {})


@pytest.mark.parametrize("handling", HANDLINGS)
def test_a_damaged_run_is_left_out_unless_it_is_to_be_loaded(
    archive: Archive, handling: Handling
) -> None:
    file_of(archive, BROKEN).unlink()
    damage = look_for_damage(archive, PROJECT, handling)
    shown = damage.archive.runs(PROJECT)
    if handling == "load":
        assert damage.left_out == {}
        assert set(damage.loaded) == {BROKEN}
        assert "1 of 1 files are not there" in damage.loaded[BROKEN][0]
        assert shown[BROKEN].damage == damage.loaded[BROKEN]
        assert shown[BROKEN].sums().rows == 2
    else:
        assert damage.loaded == {}
        assert "1 of 1 files are not there" in damage.left_out[BROKEN]
        assert set(shown) == {WHOLE}
    assert shown[WHOLE] == archive.find(WHOLE)


@pytest.mark.parametrize(("handling", "found"), [("fail", 0), ("leave out", 1), ("load", 1)])
def test_bytes_are_looked_at_once_somebody_decided(
    archive: Archive, handling: Handling, found: int
) -> None:
    """Before that they cost a pass for nothing: the read-back fails such a run by name."""
    file = file_of(archive, BROKEN)
    file.write_bytes(file.read_bytes()[::-1])
    damage = look_for_damage(archive, PROJECT, handling)
    assert len(damage.left_out) + len(damage.loaded) == found


def test_a_run_of_which_nothing_can_be_read_is_left_out_in_any_case(archive: Archive) -> None:
    part = archive.project_directory(PROJECT) / layout.part_name(layout.name_on_disk("broken"), 0)
    part.write_bytes(b"PAR1")
    damage = look_for_damage(archive, PROJECT, "load")
    assert damage.loaded == {}
    assert damage.left_out[BROKEN].startswith("not a row of it can be read: part 0")
    unreadable: list[object] = []
    assert set(damage.archive.runs(PROJECT, unreadable)) == {WHOLE}  # type: ignore[arg-type]
    assert unreadable == []


def test_a_run_is_due_when_it_became_damaged_or_is_not_any_more(archive: Archive) -> None:
    """Also when its rows are the same: what the target says of it would be wrong."""
    plain = archive.find(WHOLE)
    damaged = with_damage(archive, {WHOLE: ("a request failed",)}).archive.find(WHOLE)
    assert plain is not None
    assert damaged is not None
    assert plain.sums().digest() == damaged.sums().digest()
    known = TargetRun(LoadState.COMPLETE, digest=plain.sums().digest())
    marked = TargetRun(LoadState.COMPLETE, digest=known.digest, damaged=True)
    mapping = ProjectMapping()
    assert why_due(plain, known, mapping) == ""
    assert why_due(damaged, known, mapping) == "it is damaged now"
    assert why_due(damaged, marked, mapping) == ""
    assert why_due(plain, marked, mapping) == "it is not damaged any more"


def test_other_damage_is_another_fingerprint(archive: Archive) -> None:
    """A file that is there again stands in no footer."""
    prints = set()
    for said in ((), ("file one is gone",), ("file two is gone",)):
        found = with_damage(archive, {WHOLE: said}).archive.find(WHOLE)
        assert found is not None
        prints.add(fingerprint(found))
    assert len(prints) == 3
