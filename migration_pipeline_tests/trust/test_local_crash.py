"""An export of local directories that is stopped publishes whole runs only, and changes nothing.

The same moments as for the servers' exports; what is looked at afterwards is theirs too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline_tests.archive.making import archive_in, contents
from migration_pipeline_tests.sources.neptune_local.left import add_run, line, tree
from migration_pipeline_tests.stores import left_over
from migration_pipeline_tests.trust.crashes import Moment, random_moments, run_export
from migration_pipeline_tests.trust.test_export_crash import SEED

RUNS = 6


def make_neptune_local(path: str) -> NeptuneLocalSource:
    return NeptuneLocalSource(NeptuneLocalConfig(paths=(Path(path),)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(RUNS):
        add_run(tmp_path / "training", number)
    return tmp_path / "training"


@pytest.mark.timeout(3600)
def test_stopped_exports_publish_only_whole_runs_and_converge(
    folder: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    arguments, before = (str(folder),), tree(folder)
    whole = tmp_path / "whole"
    code, last, seconds = run_export(make_neptune_local, arguments, whole)
    failures, operations = last
    assert (code, failures) == (0, [])
    expected = contents(archive_in(whole))
    assert len(expected) == RUNS
    for i, moment in enumerate(
        random_moments(pytestconfig.getoption("--crashes"), SEED, operations)
    ):
        stopped = tmp_path / f"stopped-{i}"
        run_export(make_neptune_local, arguments, stopped, moment, seconds)
        left = contents(archive_in(stopped))
        assert left.items() <= expected.items(), f"{moment}: something published is not whole"
        code, last, _ = run_export(make_neptune_local, arguments, stopped)
        assert (code, last[0]) == (0, []), f"{moment}: the next export failed"
        assert contents(archive_in(stopped)) == expected, (
            f"{moment}: the next export did not converge"
        )
        assert not left_over(archive_in(stopped)), f"{moment}: something was left behind"
        shutil.rmtree(stopped)
    assert tree(folder) == before


def test_a_run_that_grew_is_swapped_and_a_cut_off_swap_is_finished(
    folder: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    assert run_export(make_neptune_local, (str(folder),), first)[1][0] == []
    before = contents(archive_in(first))
    directory = next((folder / ".neptune/offline").iterdir())
    with (directory / "data-1.log").open("a") as out:
        out.write(line(503, type="AssignInt", path=["added"], value=42))
    (directory / "last_put_version").write_text("503")
    for operations in (2, 7, 12):
        stopped = tmp_path / "copy"
        shutil.copytree(first, stopped)
        run_export(make_neptune_local, (str(folder),), stopped, Moment("kill", operations))
        changed = [
            key for key, digest in contents(archive_in(stopped)).items() if before[key] != digest
        ]
        assert all(key.run in directory.name for key in changed)
        assert run_export(make_neptune_local, (str(folder),), stopped)[1][0] == []
        after = contents(archive_in(stopped))
        assert [key for key in after if after[key] != before[key]] == [
            key for key in before if key.run in directory.name
        ]
        assert not left_over(archive_in(stopped))
        shutil.rmtree(stopped)
