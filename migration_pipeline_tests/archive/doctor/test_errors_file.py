"""neptune-exporter's errors file: where it is looked for, and what it proves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.errors_file import NAME, errors_files
from migration_pipeline.archive.doctor.examine import examine, examine_archive
from migration_pipeline.errors import ConfigError
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    codes,
    findings,
    grades,
    key,
    text_of,
    training,
    without,
)
from migration_pipeline_tests.archive.making import archive_in, write_run


def line(run: str, attribute: str | None, project: str = PROJECT, error: str = "ApiError") -> str:
    said = {
        "project_id": project,
        "run_id": run,
        "attribute_path": attribute,
        "attribute_type": None,
        "exception": error,
    }
    return json.dumps(said) + "\n"


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return tmp_path / NAME


def test_what_failed_and_is_not_here_is_proof(archive: Archive, errors: Path) -> None:
    adopted(archive, key("run 6"), without(training(6), "train/loss", "train/acc"))
    errors.write_text(line("run 6", "train/loss") + line("run 6", "train/acc") * 3)
    found = examine(archive, PROJECT, errors=[errors])
    assert grades(found)["run 6"] == "damaged"
    assert text_of(found, "run 6", "failed_request") == (
        "the errors file names it (ApiError); failed and not here: 'train/acc', 'train/loss'"
    )
    assert list(codes(found)) == ["run 6"]


def test_a_request_without_an_attribute_is_proof(archive: Archive, errors: Path) -> None:
    errors.write_text(line("run 1", None, error="Timeout") + line("run 1", None))
    found = examine(archive, PROJECT, errors=[errors])
    assert grades(found)["run 1"] == "damaged"
    assert text_of(found, "run 1", "failed_request") == (
        "the errors file names it (ApiError, Timeout); failed and not here: requests without an "
        "attribute's name"
    )


def test_what_failed_and_is_here_is_a_suspicion(archive: Archive, errors: Path) -> None:
    """The file is appended to by every export: a later one may have brought it."""
    errors.write_text(line("run 1", "train/loss"))
    found = examine(archive, PROJECT, errors=[errors])
    assert codes(found) == {"run 1": ["failed_before"]}
    assert grades(found)["run 1"] == "suspect"


def test_a_run_of_ours_is_not_what_it_speaks_of(tmp_path: Path, errors: Path) -> None:
    archive = archive_in(tmp_path)
    write_run(archive, key("run 0"), without(training(0), "train/loss"))
    errors.write_text(line("run 0", "train/loss"))
    assert grades(examine(archive, PROJECT, errors=[errors])) == {"run 0": "complete"}


def test_runs_and_projects_that_are_not_here(archive: Archive, errors: Path) -> None:
    errors.write_text(line("gone", "x") + line("run 1", "x", project="acme/other"))
    found = examine(archive, PROJECT, errors=[errors])
    assert codes(found) == {}
    assert findings(found) == {
        "errors_elsewhere": "an errors file names 1 run(s) that are not here: 'gone'"
    }
    whole = examine_archive(archive, errors=[errors])
    assert [(f.project, f.text) for f in whole.findings] == [
        ("acme/other", "an errors file names project 'acme/other', which is not here")
    ]


@pytest.mark.parametrize(
    "broken", ["{half", "[]", "null", '{"project_id": 1, "run_id": "x"}', "\udcff", '"text"']
)
def test_lines_that_cannot_be_read_are_named_and_do_not_hide_others(
    archive: Archive, errors: Path, broken: str
) -> None:
    text = f"\n{broken}\n" + line("run 1", None)
    errors.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = examine_archive(archive, errors=[errors])
    assert [(f.code, f.text) for f in found.findings] == [
        ("errors_file_unreadable", f"1 line(s) of {errors} cannot be read, the first is line 2")
    ]
    assert grades(found.projects[0])["run 1"] == "damaged"


def test_names_in_other_scripts(archive: Archive, errors: Path) -> None:
    adopted(archive, key("实验 'ü'"), training(6))
    errors.write_text(line("实验 'ü'", "потери"), encoding="utf-8")
    found = examine(archive, PROJECT, errors=[errors])
    assert "'потери'" in text_of(found, "实验 'ü'", "failed_request")


@pytest.mark.parametrize(
    "place", ["data", "files", ".", "..", "exports-of/../.."], ids=lambda place: place
)
def test_it_is_found_in_and_beside_the_archives_directories(tmp_path: Path, place: str) -> None:
    """Two levels up is where neptune-exporter writes it when it writes data to ./exports/data."""
    archive = archive_in(tmp_path / "work" / "exports-of")
    for directory in (archive.data, archive.files):
        directory.mkdir(parents=True)
    if place == "exports-of/../..":
        assert errors_files(archive) == []
        return
    where = (tmp_path / "work" / "exports-of" / place).resolve() / NAME
    where.write_text("")
    assert errors_files(archive) == [where]


def test_a_configured_file_is_read_too(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / NAME).write_text("")
    other = elsewhere / "renamed.jsonl"
    other.write_text("")
    assert errors_files(archive, str(elsewhere)) == [elsewhere / NAME]
    assert errors_files(archive, str(other)) == [other]


@pytest.mark.parametrize("given", ["nowhere", "."])
def test_a_configured_file_that_is_not_there(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        errors_files(archive_in(tmp_path / "a"), given)
    assert str(caught.value) == (
        f"MIGRATION_ERRORS_PATH is {given!r}, which is no file and holds no "
        "neptune_exporter_errors.jsonl. Correct it, or leave it unset: the file is found when it "
        "lies beside the data or files directory."
    )
