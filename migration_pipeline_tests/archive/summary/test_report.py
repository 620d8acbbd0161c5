"""summary.json and summary.md: exact figures, names as they are, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.summary import words
from migration_pipeline.archive.summary.listing import Problem
from migration_pipeline.archive.summary.report import ProjectReport, page_name, write_reports
from migration_pipeline.errors import InvalidRegexError, ReportNotWritableError
from migration_pipeline_tests.archive.making import archive_in, points, row, write_run

FIRST, SECOND = RunKey("ws/a", "r-1"), RunKey("ws/b | <i>", "run | `x`\n*y*")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = archive_in(tmp_path)
    write_run(
        made,
        FIRST,
        [
            *points("loss", [250_000, 123_456_789_123_456], [1.0, 2.0], at=1_735_689_600_123),
            row("f", "file", b"12345"),
            row("sys/creation_time", "datetime", -1),
        ],
    )
    write_run(made, SECOND, [row("a", "int", 1)])
    return made


def report(archive: Archive, folder: Path, *metrics: str) -> list[ProjectReport]:
    found: list[ProjectReport] = []
    problems = [Problem("ws/c", "left out")]
    projects = [FIRST.project, SECOND.project]
    assert write_reports(archive, projects, problems, metrics, folder, found.append) == found
    return found


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_json_has_every_project_and_every_run(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    report(archive, folder)
    found = read(folder)
    assert found["totals"] == {
        "projects": 2,
        "runs": 2,
        "rows": 5,
        "points": 2,
        "parquet_bytes": sum(p.stat().st_size for p in archive.data.rglob("*.parquet")),
        "files": 1,
        "missing_files": 0,
        "file_bytes": 5,
    }
    assert found["problems"] == [{"where": "ws/c", "what": "left out"}]
    assert (found["data_path"], found["files_path"]) == (str(archive.data), str(archive.files))
    first, second = found["projects"]
    assert (first["project"], second["project"]) == (FIRST.project, SECOND.project)
    assert first["steps"] == {
        "rows": 2,
        "distinct": 2,
        "least": "0.25",
        "most": "123456789.123456",
    }
    assert first["created"] == {
        "first": "1969-12-31T23:59:59.999Z",
        "last": "1969-12-31T23:59:59.999Z",
    }
    (run,) = first["runs"]
    assert (run["run"], run["kind"], run["rows"], run["file_bytes"]) == ("r-1", "run", 4, 5)
    assert run["times"] == {
        "first": "2025-01-01T00:00:00.123Z",
        "last": "2025-01-01T00:00:01.123Z",
    }
    assert first["biggest"] == [run]
    assert [r["run"] for r in second["runs"]] == [SECOND.run]
    assert (second["steps"]["least"], second["times"]["first"]) == (None, None)


def test_markdown_shows_names_as_they_are(archive: Archive, tmp_path: Path) -> None:
    report(archive, tmp_path / "report")
    text = (tmp_path / "report" / "summary.md").read_text()
    assert "## ws/b \\| \\<i\\>\n" in text
    assert "| run \\| \\`x\\` \\*y\\* | run |" in text
    assert "| float\\_series" not in text, "an underscore within a word needs no escape"
    assert "| float_series | 1 | 2 | 0.25 | 123456789.123456 |" in text
    assert "1 problem(s):\n\n- ws/c: left out\n" in text
    assert f"[Runs and curves]({page_name(FIRST.project)})" in text


def test_every_project_has_a_page_and_nothing_else_is_left(
    archive: Archive, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    found = report(archive, folder)
    names = {page_name(FIRST.project), page_name(SECOND.project), "summary.json", "summary.md"}
    assert {p.name for p in folder.iterdir()} == names
    assert [one.page.name for one in found] == [page_name(FIRST.project), page_name(SECOND.project)]


def test_a_bad_metric_leaves_the_old_reports(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    report(archive, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(InvalidRegexError):
        report(archive, folder, "(")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_that_is_a_file_is_named(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    with pytest.raises(ReportNotWritableError, match=f"{tmp_path / 'report'} is no directory"):
        report(archive, tmp_path / "report")


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (12_345_678, "12.3 MB"),
    ],
)
def test_sizes_in_words(bytes_: int, said: str) -> None:
    assert words.size(bytes_) == said


def test_times_of_any_year() -> None:
    assert words.time(253_402_300_800_000) == "10000-01-01T00:00:00.000Z"
    assert words.time(-62_135_596_800_001) == "0000-12-31T23:59:59.999Z"
