"""Which attributes are exported, and that a run that was not exported whole says so."""

from __future__ import annotations

import pytest

from migration_pipeline.neptune_server.store import HistogramValue, Project
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import NOON, Exported, add_points

PARAMETERS = {"config/lr", "config/n", "config.n"}
METRICS = {"loss", "val/loss"}
SERIES = {"log", "hist"}
FILES = {"model", "images"}
ALL = PARAMETERS | METRICS | SERIES | FILES


@pytest.fixture(autouse=True)
def run(project: Project) -> None:
    run = project.create_run("r")
    run.set("config/lr", "float", 0.1)
    run.set("config/n", "int", 1)
    run.set("config.n", "int", 2)
    add_points(run, "loss", [0.0, 1.0])
    add_points(run, "val/loss", [0.0])
    run.extend_series("log", "string_series", [(0.0, NOON, "x")])
    histogram = HistogramValue("COUNTING", (0.0, 1.0), (2.0,))
    run.extend_series("hist", "histogram_series", [(0.0, NOON, histogram)])
    file = run.set_file("model", b"m", "model.pt", "application/octet-stream")
    run.extend_series("images", "file_series", [(0.0, NOON, file)])


@pytest.mark.parametrize(
    ("selection", "expected", "said"),
    [
        (Selection(), ALL, ""),
        (Selection(attribute_regex="loss"), METRICS, "attributes matching 'loss'"),
        (Selection(attribute_regex="^loss|n$"), {"loss", "config/n", "config.n"}, "'^loss|n$'"),
        (Selection(attribute_names=("config.n", "loss")), {"config.n", "loss"}, "config.n, loss"),
        (Selection(attribute_names=("config.n", "no such")), {"config.n"}, "config.n, no such"),
        (Selection(classes=("parameters",)), PARAMETERS, "types bool, datetime, float, int"),
        (Selection(classes=("metrics",)), METRICS, "types float_series"),
        (Selection(classes=("series",)), SERIES, "types histogram_series, string_series"),
        (Selection(classes=("files",)), FILES, "types artifact, file, file_series, file_set"),
        (Selection(classes=("metrics", "files")), METRICS | FILES, "file_series, file_set"),
        (Selection(exclude=("files",)), ALL - FILES, "types bool, datetime"),
        (Selection(classes=("metrics",), exclude=("metrics",)), set(), "types "),
        (
            Selection(attribute_names=("loss", "model"), exclude=("files",)),
            {"loss"},
            "attributes loss, model; types bool",
        ),
        (Selection(classes=("metrics",), attribute_regex="val"), {"val/loss"}, "matching 'val'"),
    ],
)
def test_selected(exported: Exported, selection: Selection, expected: set[str], said: str) -> None:
    exported.export_all(selection)
    assert {r["path"] for r in exported.rows("r")} == expected
    manifest = exported.manifest("r")
    assert manifest.selection == selection.describe_attributes()
    assert said in manifest.selection
    assert bool(manifest.selection) == bool(said)


def test_files_that_are_not_selected_are_not_fetched(exported: Exported) -> None:
    exported.export_all(Selection(exclude=("files",)))
    assert not any("storage" in request for request in exported.server.requests)
    assert exported.manifest("r").files == []


def test_a_run_without_a_selected_attribute_says_so(exported: Exported) -> None:
    exported.export_all(Selection(attribute_names=("no such",)))
    assert exported.rows("r") == []
    assert exported.manifest("r").notes == ["no attribute of this run is selected"]


def test_a_filter_that_no_attribute_matches_says_so(
    exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    exported.export_all(Selection(attribute_regex="no such"))
    assert "no attribute of these 1 runs is selected by: attributes matching 'no such'" in [
        record.getMessage() for record in caplog.records
    ]


def test_a_run_that_was_exported_in_part_is_due_again_and_a_whole_one_is_not(
    exported: Exported,
) -> None:
    metrics = Selection(classes=("metrics",))
    assert len(exported.export_all(metrics).due) == 1
    again = exported.export_all(metrics)
    assert (again.due, len(again.present)) == ([], 1)

    whole = exported.export_all()
    assert [str(key) for key in whole.changed] == ["acme/vision|r"]
    assert {r["path"] for r in exported.rows("r")} == ALL

    narrow = exported.export_all(metrics)
    assert (narrow.due, len(narrow.present)) == ([], 1)
    assert {r["path"] for r in exported.rows("r")} == ALL


def test_a_change_at_the_source_makes_a_run_due(exported: Exported, project: Project) -> None:
    exported.export_all()
    run = project.find("r")
    assert run is not None
    run.set("config/lr", "float", 0.2)
    plan = exported.export_all()
    assert [str(key) for key in plan.changed] == ["acme/vision|r"]
    assert exported.values("r")["config/lr"] == 0.2
    assert exported.export_all().due == []


def test_a_run_that_another_tool_wrote_is_adopted_and_not_due(exported: Exported) -> None:
    import pyarrow.parquet as pq

    exported.export_all()
    (part,) = exported.archive.find(exported.report.runs[0].key).parts  # type: ignore[union-attr]
    pq.write_table(pq.read_table(part).replace_schema_metadata(), part)
    plan = exported.export_all()
    assert plan.due == []
    assert [str(key) for key in plan.adopted] == ["acme/vision|r"]


def test_a_damaged_part_is_exported_again(
    exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    exported.export_all()
    (part,) = exported.archive.find(exported.report.runs[0].key).parts  # type: ignore[union-attr]
    part.write_bytes(b"PAR1 and nothing more")
    exported.export_all()
    assert {r["path"] for r in exported.rows("r")} == ALL
    assert f"part {part} is damaged" in caplog.text
