"""A run that is here and elsewhere: all of both, by step, and where they differ is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import HeldByAnotherError
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import fill, row
from migration_pipeline_tests.sources.neptune_local import writing
from migration_pipeline_tests.sources.neptune_local.conftest import Killed
from migration_pipeline_tests.sources.neptune_local.left import Exported, exporting
from migration_pipeline_tests.sources.neptune_local.writing import NOON, START
from migration_pipeline_tests.sources.serving import source_of


def test_a_killed_2x_run_and_the_servers(killed2: Killed, tmp_path: Path) -> None:
    """Found at the server by its container id; each has points that the other may lack."""
    server = source_of(killed2.server, "neptune2")
    made = exporting(tmp_path, killed2.folder, server=server, merge="neptune2")
    made.export()
    [run] = killed2.server.store.projects[writing.PROJECT2]
    assert (made.key().project, made.key().run) == (writing.PROJECT2, run.sys_id)
    alone = exporting(tmp_path / "alone", killed2.folder)
    alone.export()
    here = len(alone.series("m/loss"))
    count = max(here, len(run.float_series("m/loss").steps))
    assert made.series("m/loss") == [(i * 10**6, (NOON + i) * 1000, i * 0.5) for i in range(count)]
    assert made.values()["sys/id"] == ("string", run.sys_id)
    manifest = made.manifest()
    assert manifest.conflicts == []
    assert "merged with what neptune2 had of it" in manifest.notes[0]


def test_a_killed_3x_run_and_the_servers(killed3: Killed, tmp_path: Path) -> None:
    server = source_of(killed3.server, "neptune3")
    made = exporting(tmp_path, killed3.folder, server=server, merge="neptune3")
    made.export()
    run = killed3.server.store.projects[writing.PROJECT3].find("killed")
    assert run is not None
    alone = exporting(tmp_path / "alone", killed3.folder)
    alone.export()
    last = alone.series("loss")[-1][0] // 10**6
    noon = int(START.timestamp())
    assert made.series("loss") == [(i * 10**6, (noon + i) * 1000, i * 0.5) for i in range(last + 1)]
    assert made.values()["int"] == ("int", 7)
    assert made.manifest().damage == [], "what the server has is no loss"
    assert made.manifest().conflicts == []


@pytest.fixture
def held(offline3: Path, tmp_path: Path) -> Exported:
    """An archive that has a part of the run, from a server, and another value of a point."""
    made = exporting(tmp_path, offline3)
    [key] = [run.key for run in made.source.list_runs("acme/vision", Selection())][1:]
    assert key.run == "parent"
    noon = int(START.timestamp()) * 1000
    with RunWriter(made.archive, key, "neptune3") as writer:
        fill(
            writer,
            [
                row("loss", "float_series", 0.0, 0, noon),
                row("loss", "float_series", 77.0, 1_250_000, noon + 3000),
                row("second", "float_series", 9.0, 7 * 10**6, noon),
                row("int", "int", 5),
                row("flag", "string", "no"),
                row("memory", "file", b"other bytes"),
                row("only there", "string", "yes"),
            ],
        )
        writer.commit()
    return made


def test_what_another_source_brought_is_not_replaced_unasked(held: Exported) -> None:
    plan = plan_export(held.source, held.archive, "acme/vision", Selection())
    report = export_runs(held.source, held.archive, plan.due, Selection())
    [(key, error)] = report.failures
    assert key.run == "parent"
    assert isinstance(error, HeldByAnotherError)
    assert "MIGRATION_LOCAL_MERGE=archive" in str(error)
    assert held.values("parent")["only there"] == ("string", "yes")
    assert held.manifest("fork").source == "neptune_local"


def test_a_run_of_the_archive_gets_what_it_lacks(held: Exported) -> None:
    """Where both have a value, the archive's stands and the difference is a finding."""
    source = held.source
    source.config = source.config.model_copy(update={"merge": "archive"})
    held.export()
    assert [(step, value) for step, _, value in held.series("second", "parent")] == [
        (0, 0.0),
        (500_000, 1.0),
        (10**6, 2.0),
        (1_250_000, 3.0),
        (7 * 10**6, 9.0),
        (123_456_789_123_456, 4.0),
    ]
    loss = held.series("loss", "parent")
    assert repr([value for _, _, value in loss]) == "[0.0, nan, inf, 77.0, 2.5]"
    found = held.values("parent")
    assert found["int"] == ("int", 5)
    assert found["flag"] == ("string", "no")
    assert found["memory"] == ("file", b"other bytes")
    assert found["only there"] == ("string", "yes")
    assert found["text"] == ("string", writing.TEXT)
    assert found["placed"] == ("file", b"placed")
    assert found["sys/tags"] == ("string_set", ["x", "z"])
    conflicts = held.manifest("parent").conflicts
    assert conflicts == [
        "flag is bool in the directory and string in the other, which stands",
        "int has another value in the directory; the other's stands",
        "loss: 1 value(s) differ, the first at step 1.250000; the other's stand",
        "memory is another file in the directory; the other's stands",
    ]
    key = held.key("parent")
    [run] = [r for r in examine(held.archive, key.project, thorough=True).runs if r.key == key]
    assert [reason.text for reason in run.reasons if reason.code == "sources_differ"] == conflicts
    before = held.manifest("parent")
    ref = next(r for r in source.list_runs("acme/vision", Selection()) if r.key == key)
    assert ref.modified == before.modified, "the next export has nothing to do"
    export_runs(source, held.archive, [replace(ref, modified=None)], Selection())
    again = held.manifest("parent")
    assert again.digest == before.digest, "merged once more, it is the same"
