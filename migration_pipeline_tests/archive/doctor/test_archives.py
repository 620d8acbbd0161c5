"""Four archives that neptune-exporter wrote: what is wrong with each is known, and is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.diagnosis import ProjectDiagnosis
from migration_pipeline.archive.doctor.errors_file import NAME, errors_files
from migration_pipeline.archive.doctor.examine import examine_archive
from migration_pipeline_tests.archive.doctor.projects import codes, findings, grades, text_of

DATA = Path(__file__).parents[2] / "data"
ODD = {"vit-000", "run.1 ü[x]", "run_1 ü[x]", "it's a 'quoted' run"}


def examined(name: str) -> ProjectDiagnosis:
    root = DATA / name
    archive = Archive(root / "data", root / "files", root / "model_data", root / "model_files")
    found = examine_archive(archive, errors=errors_files(archive))
    assert found.findings == ()
    (project,) = found.projects
    return project


def test_an_uninterrupted_export_of_3x() -> None:
    """Four runs log what the exporter cannot keep; nobody is called damaged."""
    found = examined("neptune3-complete")
    assert {run for run, grade in grades(found).items() if grade == "suspect"} == ODD
    assert set(grades(found).values()) == {"suspect", "plausible"}
    assert len(found.runs) == 13
    expected = [
        "empty_file", "file_claimed_twice", "integer_rounded", "nan_became_null",
        "nan_became_null",
    ]  # fmt: skip
    assert codes(found) == dict.fromkeys(sorted(ODD), expected)
    assert "'vit-000|files/a.b', 'vit-000|files/a_b'" in text_of(
        found, "vit-000", "file_claimed_twice"
    )
    assert "6 file(s)" in text_of(found, "run.1 ü[x]", "file_claimed_twice")
    assert "'only/here' = 1152921504606846976" in text_of(found, "vit-000", "integer_rounded")
    assert findings(found) == {
        "gap_in_ids": "1 of 14 numbers are missing: VISIO-13",
        "absent_or_nan": "10 numbers of 9 run(s) have a row without a value, which others have",
    }


def test_an_uninterrupted_export_of_2x() -> None:
    found = examined("neptune2-complete")
    assert {str(run.key): run.grade for run in found.runs} == dict.fromkeys(
        [
            *(f"acme/tabular|TAB-{i}" for i in range(1, 6)),
            "acme/tabular|TAB-MOD (model)",
            "acme/tabular|TAB-MOD-1 (model version)",
            "acme/tabular|TAB-MOD-2 (model version)",
        ],
        "plausible",
    )
    assert findings(found) == {}


def test_an_export_one_of_whose_requests_failed() -> None:
    found = examined("neptune3-failed-requests")
    runs = ["unet-001", "unet-004", "unet-005", "vit-000", "vit-002", "vit-003"]
    assert grades(found) == dict.fromkeys(runs, "damaged")
    assert codes(found) == {run: ["failed_request", "no_metrics"] for run in runs}
    assert text_of(found, "vit-000", "failed_request") == (
        "the errors file names it (NeptuneUnexpectedResponseError); failed and not here: "
        "'eval/f1', 'train/acc', 'train/loss', 'val/loss'"
    )


def test_without_its_errors_file_it_is_only_suspect() -> None:
    """As all archives of the time before neptune-exporter kept such a file."""
    root = DATA / "neptune3-failed-requests"
    assert (root / NAME).exists()
    found = examine_archive(Archive(root / "data", root / "files")).projects[0]
    assert set(grades(found).values()) == {"suspect"}
    assert text_of(found, "vit-000", "no_metrics") == (
        "none of the project's 6 run(s) without a manifest has metrics"
    )


def test_an_interrupted_export() -> None:
    found = examined("neptune3-interrupted")
    runs = ["resnet-000", "unet-002", "unet-004", "vit-001", "vit-003"]
    assert grades(found) == dict.fromkeys(runs, "suspect")
    assert codes(found) == {run: ["last_classes_missing"] for run in runs}


@pytest.mark.parametrize("name", ["neptune3-complete", "neptune2-complete"])
def test_examining_writes_nothing(name: str) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in (DATA / name).rglob("*")}

    before = state()
    examined(name)
    assert state() == before
