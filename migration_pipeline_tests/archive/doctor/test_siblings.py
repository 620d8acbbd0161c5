"""What only comparison shows: runs that lack what their siblings have; where that says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.schema import MICROS
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    STEPS,
    adopted,
    codes,
    grades,
    key,
    text_of,
    training,
    without,
)
from migration_pipeline_tests.archive.making import Row, archive_in, row, write_run

CLASSES = {
    "metrics": ("float_series",),
    "text": ("string_series",),
    "histograms": ("histogram_series",),
    "files": ("file", "file_series"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_run_without_a_class_that_its_namesakes_have(archive: Archive, name: str) -> None:
    adopted(archive, key("run 6"), without(training(6), *CLASSES[name]))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["without_class"]}
    assert grades(found)["run 6"] == "suspect"
    assert text_of(found, "run 6", "without_class") == (
        f"no {name}, which 3 of 3 others with sys/name 'exp-0' have"
    )


def test_a_run_without_parameters(archive: Archive) -> None:
    """It has no name and no configuration by which siblings could be found."""
    rows = [r for r in training(6) if not r["path"].startswith(("sys/", "config/"))]
    adopted(archive, key("run 6"), rows)
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["without_parameters"]}


def test_a_project_without_parameters_was_exported_so(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(3):
        rows = [r for r in training(number) if not r["path"].startswith(("sys/", "config/"))]
        adopted(archive, key(f"run {number}"), rows)
    assert codes(examine(archive, PROJECT)) == {}


def test_siblings_by_configuration(archive: Archive) -> None:
    adopted(archive, key("run 6"), without(training(6, "a name of its own"), "histogram_series"))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["without_class"]}
    assert text_of(found, "run 6", "without_class") == (
        "no histograms, which 6 of 6 others with the same configuration have"
    )


def test_nearly_all_of_a_project(tmp_path: Path) -> None:
    """Ten others at least, and nine of ten of them, where neither name nor configuration is shared.

    A run without a configuration may be one that never began.
    """
    archive = archive_in(tmp_path)
    for number in range(11):
        own = row(f"config/own {number}", "int", 1)
        adopted(archive, key(f"run {number}"), [*training(number, f"n {number}"), own])
    bare = [r for r in training(11, "n 11") if r["path"].startswith("sys/")]
    adopted(archive, key("run 11"), bare)
    rows = [*without(training(12, "n 12"), "float_series"), row("config/own 12", "int", 1)]
    adopted(archive, key("run 12"), rows)
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 12": ["without_class"]}
    assert text_of(found, "run 12", "without_class") == "no metrics, which 11 of 11 other runs have"


def test_a_class_that_few_siblings_have_is_no_suspicion(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(5):
        rows = training(number, "same")
        adopted(
            archive,
            key(f"run {number}"),
            rows if number < 2 else without(rows, "file_series", "file"),
        )
    assert codes(examine(archive, PROJECT)) == {}


@pytest.mark.parametrize("path", ["train/acc", "config/lr", "log/stdout", "model/weights"])
def test_an_attribute_that_all_namesakes_have(archive: Archive, path: str) -> None:
    extra: list[Row] = [row("log/stderr", "string_series", "x", 0, 1)]
    adopted(archive, key("run 6"), [*without(training(6), path), *extra])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["attribute_missing"]}
    assert text_of(found, "run 6", "attribute_missing") == (
        f"lacks {path!r}, which 3 of 3 others with sys/name 'exp-0' have"
    )


def test_an_attribute_that_one_of_three_namesakes_lacks_too(archive: Archive) -> None:
    for number in (6, 8):
        adopted(archive, key(f"run {number}"), without(training(number), "train/acc"))
    assert codes(examine(archive, PROJECT)) == {}


def ends_at(rows: list[Row], last: int, *paths: str) -> list[Row]:
    return [r for r in rows if r["path"] not in paths or r["step"] <= last * MICROS]


def test_a_series_that_stops_far_below_its_siblings(archive: Archive) -> None:
    adopted(archive, key("run 6"), ends_at(training(6), 20, "train/loss"))
    adopted(archive, key("run 7"), ends_at(training(7), STEPS // 2, "train/loss"))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 6": ["series_stops_early"]}
    assert text_of(found, "run 6", "series_stops_early") == (
        "1 of 4 series stop far below those of others with sys/name 'exp-0': "
        "'train/loss' at step 20, siblings at 99"
    )


@pytest.mark.parametrize("failed", [False, True])
def test_a_failed_run_may_end_early_with_all_of_its_series(archive: Archive, failed: bool) -> None:
    series = ("train/loss", "train/acc", "log/stdout", "weights/hist")
    rows = ends_at(training(6, failed=failed), 0, *series)
    adopted(archive, key("run 6"), rows)
    expected = {} if failed else {"run 6": ["series_stops_early"]}
    assert codes(examine(archive, PROJECT)) == expected


def test_a_failed_run_of_which_only_one_series_ends_early(archive: Archive) -> None:
    adopted(archive, key("run 6"), ends_at(training(6, failed=True), 20, "train/loss"))
    assert codes(examine(archive, PROJECT)) == {"run 6": ["series_stops_early"]}


def test_runs_with_a_manifest_are_neither_judged_nor_siblings(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(3):
        write_run(archive, key(f"run {number}"), training(number, "same"))
    write_run(archive, key("run 3"), without(training(3, "same"), "float_series"))
    found = examine(archive, PROJECT)
    assert grades(found) == {f"run {i}": "complete" for i in range(4)}
    adopted(archive, key("run 4"), without(training(4, "same"), "float_series"))
    adopted(archive, key("run 5"), training(5, "another", lr=None))
    assert codes(examine(archive, PROJECT)) == {}


def test_a_project_in_which_the_last_classes_are_nowhere(tmp_path: Path) -> None:
    """neptune-exporter asks for parameters, metrics, text and histograms, files, in this order."""
    archive = archive_in(tmp_path)
    rest = ("string_series", "histogram_series", "file", "file_series")
    for number in range(3):
        adopted(archive, key(f"run {number}"), without(training(number), *rest))
    found = examine(archive, PROJECT)
    assert codes(found) == {f"run {i}": ["last_classes_missing"] for i in range(3)}
    assert text_of(found, "run 0", "last_classes_missing") == (
        "none of the project's 3 run(s) without a manifest has text, histograms or files"
    )
    adopted(archive, key("run 4"), without(training(4), *rest[1:]))
    assert codes(examine(archive, PROJECT)) == {}


def test_a_project_in_which_nobody_has_metrics(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    for number in range(2):
        adopted(archive, key(f"run {number}"), without(training(number), "float_series"))
    adopted(archive, RunKey(PROJECT, "M-1", "model"), [row("sys/id", "string", "M-1")])
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 0": ["no_metrics"], "run 1": ["no_metrics"]}
    adopted(archive, key("run 2"), training(2, "of its own", lr=None))
    assert codes(examine(archive, PROJECT)) == {}


def test_names_may_hold_anything(tmp_path: Path) -> None:
    """Quotes, percent signs and other scripts reach the queries and come back unchanged."""
    archive = archive_in(tmp_path)
    name, path = "o'b\"r; drop table runs -- %s 名前", "métr'ics/%/損失"
    for number in range(4):
        rows = [*training(number, name), row(path, "float_series", 1.0, 0, 1_735_700_000_000)]
        adopted(archive, key(f"run {number}"), rows if number else without(rows, path))
    found = examine(archive, PROJECT)
    assert codes(found) == {"run 0": ["attribute_missing"]}
    assert text_of(found, "run 0", "attribute_missing") == (
        f"lacks {path!r}, which 3 of 3 others with sys/name {name!r} have"
    )
