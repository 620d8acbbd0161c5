"""`doctor.json` says everything, `doctor.md` shows it to people; both as whole files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.diagnosis import GRADES
from migration_pipeline.archive.doctor.errors_file import NAME
from migration_pipeline.archive.doctor.examine import examine_archive
from migration_pipeline.archive.doctor.repair import repair
from migration_pipeline.archive.doctor.report import RUNS_SHOWN, as_markdown, cell, write_reports
from migration_pipeline.archive.doctor.rules import FINDINGS, RULES
from migration_pipeline.errors import ReportNotWritableError, UnknownNameError
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    key,
    own_project,
    part_of,
    rewrite,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, write_run


@pytest.fixture
def mixed(tmp_path: Path) -> Archive:
    """Two complete runs, a plausible one, a suspect one, a damaged one; numbers 5 to 8 missing."""
    archive = archive_in(tmp_path / "a|b")
    own_project(archive, runs=2)
    adopted(archive, key("run 2"), training(2))
    adopted(archive, key("run 3"), training(3, epochs=2**60))
    adopted(archive, key("<b>|run\n`8`"), training(8))
    (archive.files_root(PROJECT) / "_b__run__8_" / "model" / "weights").unlink()
    return archive


def test_the_json_has_every_run_with_its_reasons(mixed: Archive, tmp_path: Path) -> None:
    errors = tmp_path / NAME
    errors.write_text("")
    found = examine_archive(mixed, errors=[errors])
    path, _ = write_reports(found, tmp_path / "report")
    said = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "doctor.json"
    reasons = {
        run["run"]: [(r["code"], r["proof"]) for r in run["reasons"]] for run in said["runs"]
    }
    assert reasons == {
        "run 0": [],
        "run 1": [],
        "run 2": [],
        "run 3": [("integer_rounded", False)],
        "<b>|run\n`8`": [("file_missing", True)],
    }
    assert {run["run"]: run["grade"] for run in said["runs"]} == {
        "run 0": "complete",
        "run 1": "complete",
        "run 2": "plausible",
        "run 3": "suspect",
        "<b>|run\n`8`": "damaged",
    }
    assert {(run["project"], run["kind"]) for run in said["runs"]} == {(PROJECT, "run")}
    assert said["grades"] == {"complete": 2, "plausible": 1, "suspect": 1, "damaged": 1}
    assert said["findings"] == [
        {
            "project": PROJECT,
            "code": "gap_in_ids",
            "text": "4 of 9 numbers are missing: VIS-5 to VIS-8",
        }
    ]
    (project,) = said["projects"]
    assert (project["project"], project["runs"], project["grades"]) == (PROJECT, 5, said["grades"])
    assert said["errors_files"] == [str(errors)]
    assert (said["data"], said["files"]) == (str(mixed.data), str(mixed.files))
    assert (said["thorough"], said["repairs"]) == (True, [])


def test_the_markdown_shows_what_is_wrong_and_hides_nothing_in_markup(
    mixed: Archive, tmp_path: Path
) -> None:
    found = examine_archive(mixed)
    _, path = write_reports(found, tmp_path / "report")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "## acme/vision" in lines
    assert (
        f"2 complete, 1 plausible, 1 suspect, 1 damaged; {found.projects[0].rows:,} rows." in lines
    )
    (damaged,) = [line for line in lines if "file_missing" in line and line.startswith("| ")][:1]
    assert damaged == (
        "| \\<b\\>\\|run\\n\\`8\\` | run | **proof** `file_missing` 1 of 3 files are not there: "
        "'\\_b\\_\\_run\\_\\_8\\_/model/weights' |"
    )
    assert "| suspect | 1 | something is probably missing or changed |" in lines
    assert "- `gap_in_ids` 4 of 9 numbers are missing: VIS-5 to VIS-8." in lines
    assert any(line.startswith("| `integer_rounded` | 1 | no | An integer") for line in lines)
    assert not any("run 2" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} <= {3, 4, 5}


def test_without_digests_the_reports_say_so(mixed: Archive, tmp_path: Path) -> None:
    found = examine_archive(mixed, thorough=False)
    paths = write_reports(found, tmp_path / "report")
    assert json.loads(paths[0].read_text())["grades"]["complete"] == 0
    text = paths[1].read_text()
    assert "Digests were not recomputed, so no run is called complete." in text
    assert "| run 0 | run | Digests were not recomputed: parts" in text


def test_long_lists_are_cut_in_the_markdown_only(mixed: Archive) -> None:
    found = examine_archive(mixed)
    (project,) = found.projects
    bad = next(run for run in project.runs if run.grade == "damaged")
    many = tuple(replace(bad, key=key(f"r {i}")) for i in range(RUNS_SHOWN + 5))
    found = replace(found, projects=(replace(project, runs=many),))
    lines = list(as_markdown(found))
    assert f"### {bad.grade}, {RUNS_SHOWN} of {RUNS_SHOWN + 5}" in lines
    assert sum(line.startswith("| r ") for line in lines) == RUNS_SHOWN


def test_repairs_are_reported(archive: Archive, tmp_path: Path) -> None:
    rewrite(part_of(archive, "run 1"), lambda t: t.take([*range(t.num_rows), t.num_rows - 1]))
    part_of(archive, "run 2").write_bytes(b"")
    found = examine_archive(archive)
    report = repair(archive, found.projects[0], tmp_path / "new")
    paths = write_reports(found, tmp_path / "report", [report])
    (said,) = json.loads(paths[0].read_text())["repairs"]
    stem = part_of(archive, "run 2").name.removesuffix("_part_0.parquet")
    rows = len(training(1))
    assert said["repaired"] == [{"run": "run 1", "kind": "run", "rows": rows, "rows_removed": 1}]
    assert (said["carried"], [out["run"] for out in said["left_out"]]) == (4, [stem])
    assert said["data"] == str(tmp_path / "new" / "data")
    lines = paths[1].read_text().splitlines()
    assert f"| run 1 | run | {rows} | 1 |" in lines
    assert "## Repaired: acme/vision" in lines


def test_one_project_can_be_chosen(mixed: Archive) -> None:
    write_run(mixed, replace(key("x"), project="other/p"), training(0))
    assert [p.project for p in examine_archive(mixed).projects] == [PROJECT, "other/p"]
    assert [p.project for p in examine_archive(mixed, ["other/p"]).projects] == ["other/p"]
    with pytest.raises(UnknownNameError, match="there is no project in the archive 'x/y'"):
        examine_archive(mixed, ["other/p", "x/y"])


def test_a_report_directory_that_cannot_be_written(mixed: Archive, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(ReportNotWritableError, match="MIGRATION_REPORT_PATH"):
        write_reports(examine_archive(mixed), tmp_path / "report")


def test_every_rule_and_finding_is_explained() -> None:
    """A code that the code gives and the tables do not know would be a KeyError or a bare code."""
    package = Path(__file__).parents[3] / "migration_pipeline" / "archive" / "doctor"
    code = "\n".join(p.read_text() for p in package.glob("*.py") if p.name != "rules.py")
    assert all(f'"{name}"' in code for name in RULES)
    assert all(f'"{name}"' in code for name in FINDINGS)
    assert all(rule.meaning.endswith(".") for rule in RULES.values())
    assert GRADES == ("complete", "plausible", "suspect", "damaged")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a|b", "a\\|b"),
        ("a\r\nb\u2028c\0", "a\\r\\nb\\u2028c\\x00"),
        ("<script>&amp;", "\\<script\\>&amp;amp;"),
        ("实验 [x](y)", "实验 \\[x\\](y)"),
        ("\\", "\\\\"),
    ],
)
def test_texts_are_shown_as_they_are(text: str, shown: str) -> None:
    assert cell(text) == shown
