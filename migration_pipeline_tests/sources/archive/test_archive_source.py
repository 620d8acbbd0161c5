"""An archive as a source: it lists what lies there, grades it, and exports nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.errors_file import errors_files
from migration_pipeline.errors import (
    ConfigError,
    MissingSettingError,
    NotAnArchiveError,
    UnknownNameError,
)
from migration_pipeline.sources.archive.source import ArchiveSource
from migration_pipeline.sources.export import export_runs
from migration_pipeline.sources.projects import ProjectChoice, find_projects
from migration_pipeline.sources.registry import SourceSettings, make_source
from migration_pipeline.sources.source import RunRef, Selection
from migration_pipeline_tests.archive.making import archive_in, row, write_run

DATA = Path(__file__).parents[2] / "data"


def archive(name: str) -> Archive:
    root = DATA / name
    return Archive(root / "data", root / "files", root / "model_data", root / "model_files")


def test_it_needs_neither_token_nor_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEPTUNE_API_TOKEN", raising=False)
    source = make_source("archive", SourceSettings(archive=archive("neptune2-complete")))
    assert isinstance(source, ArchiveSource)
    assert source.list_projects() == ["acme/tabular"]
    listed = source.list_runs("acme/tabular", Selection())
    assert {(ref.key.kind, ref.key.run) for ref in listed} == {
        *(("run", f"TAB-{i}") for i in range(1, 6)),
        ("model", "TAB-MOD"),
        ("model_version", "TAB-MOD-1"),
        ("model_version", "TAB-MOD-2"),
    }
    with pytest.raises(MissingSettingError, match="MIGRATION_DATA_PATH"):
        make_source("archive", SourceSettings())


def test_it_grades_with_the_errors_file_that_it_was_given() -> None:
    there = archive("neptune3-failed-requests")
    assert ArchiveSource(there).examine("acme/faulty").grades()["damaged"] == 0
    source = make_source("archive", SourceSettings(archive=there, errors=errors_files(there)))
    assert isinstance(source, ArchiveSource)
    assert source.examine("acme/faulty").grades()["damaged"] == 6


def test_digests_are_recomputed(tmp_path: Path) -> None:
    there = archive_in(tmp_path)
    write_run(there, RunKey("ws/p", "r"), [row("a", "int", 1)])
    (run,) = ArchiveSource(there).examine("ws/p").runs
    assert run.grade == "complete"


def test_one_damaged_part_hides_no_other_run(tmp_path: Path) -> None:
    there = archive_in(tmp_path)
    for name in ("a", "b"):
        write_run(there, RunKey("ws/p", name), [row("a", "int", 1)])
    first = min(there.project_directory("ws/p").iterdir())
    first.write_bytes(b"")
    source = ArchiveSource(there)
    assert source.list_projects() == ["ws/p"]
    (listed,) = source.list_runs("ws/p", Selection())
    assert listed.key == RunKey("ws/p", "b")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(run_regex="a"),
        Selection(run_ids=("a",)),
        Selection(kinds=("model",)),
        Selection(attribute_names=("a",)),
        Selection(classes=("metrics",)),
        Selection(runs_query="(x)"),
        Selection(archived=False),
    ],
    ids=str,
)
def test_it_is_taken_as_it_is(selection: Selection) -> None:
    source = ArchiveSource(archive("neptune2-complete"))
    with pytest.raises(ConfigError, match="which is taken as it is"):
        source.list_runs("acme/tabular", selection)


def test_names_that_it_does_not_hold() -> None:
    source = ArchiveSource(archive("neptune2-complete"))
    assert find_projects(source, ProjectChoice(include="tab"), Selection()) == ["acme/tabular"]
    with pytest.raises(UnknownNameError, match=r"'acme/Tabular'\. Known: acme/tabular\."):
        find_projects(source, ProjectChoice(["acme/Tabular"]), Selection())


def test_no_archive_at_all(tmp_path: Path) -> None:
    source = ArchiveSource(Archive(tmp_path, tmp_path))
    with pytest.raises(NotAnArchiveError, match="no folder in it holds a Parquet part"):
        source.list_projects()


def test_nothing_can_be_exported_from_it(tmp_path: Path) -> None:
    source = ArchiveSource(archive("neptune2-complete"))
    ref = RunRef(RunKey("acme/tabular", "TAB-1"), "TAB-1")
    report = export_runs(source, archive_in(tmp_path), [ref], Selection())
    ((key, error),) = report.failures
    assert key == ref.key
    assert "has no other source than the archive" in str(error)
