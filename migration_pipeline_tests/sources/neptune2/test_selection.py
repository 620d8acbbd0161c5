"""Which attributes are exported, and that a run that was not exported whole says so."""

from __future__ import annotations

import pytest

from migration_pipeline.neptune_server.neptune2 import creation, file_sets
from migration_pipeline.neptune_server.store import FileValue, Project
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    long_ago,
)

PARAMETERS = {"config/lr", "config.n", "source_code/git"}
METRICS = {"loss", "val/loss"}
SERIES = {"log"}
FILES = {"model", "set", "images", "data"}
ALL = PARAMETERS | METRICS | SERIES | FILES


@pytest.fixture(autouse=True)
def run(project: Project) -> None:
    with long_ago(project.store):
        run = creation.create_run(project)
        run.set("config/lr", "float", 0.1)
        run.set("config.n", "int", 2)
        run.set("source_code/git", "git_ref", {"commit": {}})
        add_points(run, "loss", [0.0, 1.0])
        add_points(run, "val/loss", [0.0])
        run.extend_series("log", "string_series", [(0.0, NOON, "x")])
        run.set_file("model", b"m", "model.pt", "")
        project.store.blobs.write(PROJECT, "one", b"1")
        file_sets.add_files(run, "set", {"a": FileValue("one", 1, "")})
        image = FileValue("one", 1, "image/png")
        run.extend_series("images", "file_series", [(0.0, NOON, image)])
        project.artifacts["hash"] = ()
        run.set("data", "artifact", "hash")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, ALL),
        ({"attribute_regex": "loss"}, METRICS),
        ({"attribute_names": ("config.n", "set", "no such")}, {"config.n", "set"}),
        ({"classes": ("parameters",)}, PARAMETERS),
        ({"classes": ("metrics",)}, METRICS),
        ({"classes": ("series",)}, SERIES),
        ({"classes": ("files",)}, FILES),
        ({"exclude": ("files", "metrics")}, PARAMETERS | SERIES),
        ({"classes": ("metrics",), "attribute_regex": "val"}, {"val/loss"}),
    ],
)
def test_selected(exported: Exported, selection: dict[str, object], expected: set[str]) -> None:
    chosen = Selection(**selection, kinds=("run",))  # type: ignore[arg-type]
    exported.export_all(chosen)
    assert {r["path"] for r in exported.rows("TAB-1")} == expected
    manifest = exported.manifest("TAB-1")
    assert manifest.selection == chosen.describe_attributes()
    asked = {request.rpartition("/")[2] for request in exported.server.requests}
    assert ("float" in asked) == bool(expected & METRICS)
    assert ("download" in asked) == ("model" in expected)
    assert ("downloadFileSetZipRequest" in asked) == ("set" in expected)
    assert ("files" in asked) == ("data" in expected)


def test_an_object_without_a_selected_attribute_says_so(exported: Exported) -> None:
    exported.export_all(Selection(attribute_names=("no such",)))
    assert exported.rows("TAB-1") == []
    assert exported.manifest("TAB-1").notes == ["no attribute of this run is selected"]


def test_a_run_that_was_exported_in_part_is_due_again_and_a_whole_one_is_not(
    exported: Exported,
) -> None:
    metrics = Selection(classes=("metrics",), kinds=("run",))
    assert len(exported.export_all(metrics).due) == 1
    assert exported.export_all(metrics).due == []
    whole = exported.export_all(Selection(kinds=("run",)))
    assert [str(key) for key in whole.changed] == ["acme/vision|TAB-1"]
    assert {r["path"] for r in exported.rows("TAB-1")} == ALL
    assert exported.export_all(metrics).due == []


def test_a_change_at_the_source_makes_an_object_due(exported: Exported, project: Project) -> None:
    assert len(exported.export_all().due) == 2
    project.runs["TAB-1"].set("config/lr", "float", 0.2)
    assert [str(key) for key in exported.export_all().changed] == ["acme/vision|TAB-1"]
    assert exported.values("TAB-1")["config/lr"] == 0.2
    creation.metadata(project).set("n", "int", 1)
    assert [key.kind for key in exported.export_all().changed] == ["project"]
    assert exported.export_all().due == []
