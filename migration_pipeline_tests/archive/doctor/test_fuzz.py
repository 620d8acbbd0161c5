"""Archives damaged by chance: with manifests it is always found, without them as a rule.

The shares that are found without manifests are printed by the benchmark `doctor_damage`;
`MIGRATION_TEST_DAMAGES` is how many archives are damaged here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline_tests.archive.doctor.damaging import KINDS, is_found
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted_project,
    codes,
    grades,
    own_project,
)
from migration_pipeline_tests.archive.making import archive_in

DAMAGES = int(os.environ.get("MIGRATION_TEST_DAMAGES", "50"))
RANDOM = st.integers(0, 2**32).map(Random)
ALWAYS = {
    "part deleted", "part truncated", "type dropped", "attribute dropped", "series cut",
    "rows doubled", "times shifted", "parts swapped", "file deleted", "file emptied",
    "run deleted",
}  # fmt: skip
"""Kinds that are found without manifests too, here, where every run has siblings like itself."""
some_archives = settings(
    max_examples=DAMAGES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Of ours (true) and as neptune-exporter writes it (false), both with parts to delete."""
    folders = {ours: tmp_path_factory.mktemp("whole") for ours in (True, False)}
    own_project(archive_in(folders[True]), parts=True)
    adopted_project(archive_in(folders[False]))
    return folders


def damaged(wholes: dict[bool, Path], ours: bool, kind: str, chance: Random) -> tuple[Archive, str]:
    to = wholes[ours].parent / "damaged"
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(wholes[ours], to)
    archive = archive_in(to)
    run = KINDS[kind](archive, chance)
    assume(run is not None)
    return archive, str(run)


def test_what_is_damaged_was_whole(wholes: dict[bool, Path]) -> None:
    for ours, grade in ((True, "complete"), (False, "plausible")):
        found = examine(archive_in(wholes[ours]), PROJECT)
        assert (codes(found), found.findings) == ({}, ())
        assert set(grades(found).values()) == {grade}


@some_archives
@example("files swapped", Random(1))
@example("byte flipped", Random(2))
@given(st.sampled_from(sorted(KINDS)), RANDOM)
def test_damage_of_an_archive_with_manifests_is_always_found(
    wholes: dict[bool, Path], kind: str, chance: Random
) -> None:
    archive, run = damaged(wholes, True, kind, chance)
    assert is_found(examine(archive, PROJECT), kind, run, proof=True)


@some_archives
@given(st.sampled_from(sorted(ALWAYS)), RANDOM)
def test_damage_without_manifests(wholes: dict[bool, Path], kind: str, chance: Random) -> None:
    archive, run = damaged(wholes, False, kind, chance)
    assert is_found(examine(archive, PROJECT), kind, run, proof=False)


@some_archives
@given(st.sampled_from(sorted(set(KINDS) - ALWAYS)), RANDOM)
def test_nothing_that_is_not_damaged_is_called_so(
    wholes: dict[bool, Path], kind: str, chance: Random
) -> None:
    """Whether this damage is found or not, it is never another run that is called damaged."""
    archive, run = damaged(wholes, False, kind, chance)
    found = examine(archive, PROJECT)
    touched = {run} if kind != "files swapped" else set(grades(found))
    assert {r for r, grade in grades(found).items() if grade == "damaged"} <= touched | {
        r for r in grades(found) if not r.startswith("run ")
    }
