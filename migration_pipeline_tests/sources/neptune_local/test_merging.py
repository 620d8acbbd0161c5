"""A run that is here and elsewhere: all of both, by step, and where they differ is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.defs.resources import ArchiveResource, SourceResource
from migration_pipeline.errors import ConfigError, HeldByAnotherError, MissingSettingError
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline.sources.registry import SourceSettings, make_source
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import archive_in, fill, row
from migration_pipeline_tests.sources import onward
from migration_pipeline_tests.sources.neptune_local import writing
from migration_pipeline_tests.sources.neptune_local.conftest import Killed
from migration_pipeline_tests.sources.neptune_local.left import Exported, exporting, tree
from migration_pipeline_tests.sources.neptune_local.writing import NOON, START
from migration_pipeline_tests.sources.serving import source_of
from migration_pipeline_tests.targets import mlflow_backend


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
    assert key.run == "parent", error
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


@pytest.fixture
def adopted(held: Exported) -> Archive:
    """The archive of `held` as neptune-exporter would have left it: without manifests."""
    for part in held.archive.data.rglob("*_part_0.parquet"):
        pq.write_table(pq.read_table(part).replace_schema_metadata(None), part)
    return held.archive


def merging_with(archive: Archive, folder: Path, *paths: Path, fails: int = 0) -> Exported:
    config = NeptuneLocalConfig(paths=paths, merge="archive")
    own = archive_in(folder)
    made = Exported(own, NeptuneLocalSource(config, own, None, archive))
    made.export(fails=fails)
    return made


def test_an_adopted_archive_is_only_read(
    held: Exported, adopted: Archive, offline3: Path, tmp_path: Path
) -> None:
    """What lies there and what the directory holds are one run in an archive of their own."""
    before = tree(adopted.data), tree(adopted.files)
    made = merging_with(adopted, tmp_path / "merged", offline3)
    assert (tree(adopted.data), tree(adopted.files)) == before
    assert [(step, value) for step, _, value in made.series("second", "parent")][-2:] == [
        (7 * 10**6, 9.0),
        (123_456_789_123_456, 4.0),
    ]
    assert repr([v for _, _, v in made.series("loss", "parent")]) == "[0.0, nan, inf, 77.0, 2.5]"
    found = made.values("parent")
    assert (found["only there"], found["int"]) == (("string", "yes"), ("int", 5))
    assert (found["memory"], found["placed"]) == (("file", b"other bytes"), ("file", b"placed"))
    manifest = made.manifest("parent")
    assert manifest.notes[0].startswith(f"merged with what the archive {adopted.data} had of it")
    assert f"nothing proves that the run was whole in the archive {adopted.data}" in manifest.notes
    assert "memory is another file in the directory; the other's stands" in manifest.conflicts
    assert [one for one in manifest.damage if "the file of gone" not in one] == []
    assert not any("merged" in note for note in made.manifest("fork").notes)
    digest = manifest.digest
    made.export()
    assert made.manifest("parent").digest == digest


def test_a_merged_run_replaces_at_a_target_what_came_from_the_old_archive(
    adopted: Archive, offline3: Path, tmp_path: Path
) -> None:
    made = merging_with(adopted, tmp_path / "merged", offline3)
    for archive in (adopted, made.archive):
        onward.load(archive, lambda: mlflow_backend.make(tmp_path))
    there = mlflow_backend.whole(tmp_path)
    assert sorted(name for _, name, *_ in there["runs"]) == ["fork", "parent"]
    found = {name: value for run, name, value in there["parameters"] if run == "parent"}
    assert (found["only there"], found["text"]) == ("yes", writing.TEXT)


def test_what_is_damaged_there_stays_named(
    held: Exported, adopted: Archive, offline3: Path, tmp_path: Path
) -> None:
    """A file that is gone there is the directory's where that has it; the damage is still said."""
    [gone] = [path for path in adopted.files.rglob("*") if path.is_file() and "memory" in str(path)]
    gone.unlink()
    made = merging_with(adopted, tmp_path / "merged", offline3)
    assert made.values("parent")["memory"] == ("file", b"bytes")
    assert made.values("parent")["only there"] == ("string", "yes")
    [damage] = [d for d in made.manifest("parent").damage if "the file of gone" not in d]
    assert damage.startswith(f"the archive {adopted.data}: ")
    assert gone.name in damage
    for part in adopted.data.rglob("parent*_part_0.parquet"):
        part.write_bytes(b"not Parquet")
    made = merging_with(adopted, tmp_path / "other", offline3, fails=1)
    [(key, error)] = made.report.failures
    assert key.run == "parent", error
    assert "Restore it there from a backup" in str(error)
    assert [key.run for key in made.found()] == ["fork"]


def test_the_archive_to_merge_with_is_another_one(
    tmp_path: Path, offline3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = archive_in(tmp_path / "own"), archive_in(tmp_path / "other")
    paths = [offline3]
    settings = SourceSettings(archive=own, local_paths=paths, local_merge_with=other)
    with pytest.raises(ConfigError, match="Set MIGRATION_LOCAL_MERGE=archive"):
        make_source("neptune_local", settings)
    settings = replace(settings, local_merge="archive", local_merge_with=own)
    with pytest.raises(ConfigError, match="what another tool wrote is never rewritten"):
        make_source("neptune_local", settings)
    monkeypatch.chdir(tmp_path)
    archive = ArchiveResource(data_path="own/data", files_path="own/files")
    given = {"kind": "neptune_local", "local_path": str(offline3), "local_merge": "archive"}
    with pytest.raises(MissingSettingError, match="MIGRATION_LOCAL_MERGE_FILES_PATH"):
        SourceResource(**given, local_merge_data_path="other/data").open(archive)
    both = {"local_merge_data_path": "other/data", "local_merge_files_path": "other/files"}
    with pytest.raises(ConfigError, match=r"LOCAL_MERGE_DATA_PATH is .*other/data.*no directory"):
        SourceResource(**given, **both).open(archive)
    other.data.mkdir(parents=True)
    assert SourceResource(**given, **both).open(archive).list_projects() == ["acme/vision"]
