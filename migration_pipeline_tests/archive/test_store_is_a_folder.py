"""What is said of an archive on S3 is, word for word, what is said of the same one in a folder.

The archives are real ones of neptune-exporter, whole and with what it left after failures.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.errors_file import errors_files
from migration_pipeline.archive.doctor.examine import examine, examine_archive
from migration_pipeline.archive.doctor.repair import repair
from migration_pipeline.archive.doctor.report import as_plain
from migration_pipeline.archive.location import location
from migration_pipeline.archive.salvage import salvage
from migration_pipeline.archive.schema import float_series_batch
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.summary.figures import ProjectFigures
from migration_pipeline.archive.summary.listing import projects_on_disk
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.errors import ConfigError, DamagedPartError
from migration_pipeline_tests.archive.doctor.projects import (
    PROJECT,
    adopted,
    key,
    own_project,
    training,
)
from migration_pipeline_tests.archive.making import archive_in, fill, points
from migration_pipeline_tests.archive.summary.summarizing import drawn, summed
from migration_pipeline_tests.servers.s3 import S3Server
from migration_pipeline_tests.stores import upload

DATA = Path(__file__).parents[1] / "data"


def archives(folder: Path, bucket: StorePath) -> tuple[Archive, Archive]:
    """The one in the folder, and its copy."""
    upload(folder, bucket)

    def at(place: Path | StorePath) -> Archive:
        model = (folder / "model_data").is_dir()
        names = ("data", "files", "model_data", "model_files")
        return Archive(*(place / n if model or not n.startswith("model") else None for n in names))  # type: ignore[arg-type]

    return at(folder), at(bucket)


def said(thing: object, folder: Path, bucket: StorePath) -> str:
    """Without what differs by nature: the place."""
    return str(thing).replace(str(folder), "<>").replace(str(bucket), "<>")


def diagnosis(archive: Archive) -> dict[str, Any]:
    found = as_plain(examine_archive(archive, errors=errors_files(archive)))
    for one in (found, *found["projects"]):
        for name in [name for name in one if name in ("examined_at", "seconds")]:
            del one[name]
    return found


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Runs of ours, of another tool, one whose file is gone, one whose part is cut off."""
    made = archive_in(tmp_path / "broken")
    own_project(made, runs=2)
    for number in (2, 3, 4):
        adopted(made, key(f"run {number}"), training(number))
    (made.files_root(PROJECT) / "run_4" / "model" / "weights").unlink()
    part = next(made.project_directory(PROJECT).glob("run_3*"))
    part.write_bytes(part.read_bytes()[:-9])
    return tmp_path / "broken"


@pytest.mark.parametrize("name", ["neptune2-complete", "neptune3-failed-requests", "broken"])
def test_doctor_and_summary_say_the_same(
    name: str, broken: Path, bucket: StorePath, tmp_path: Path
) -> None:
    folder = broken if name == "broken" else DATA / name
    here, there = archives(folder, bucket)
    assert said(diagnosis(there), folder, bucket) == said(diagnosis(here), folder, bucket)
    projects, problems = projects_on_disk(here)
    assert said(projects_on_disk(there), folder, bucket) == said(
        (projects, problems), folder, bucket
    )
    for project in projects:
        ours, theirs = summed(there, project), summed(here, project)
        assert isinstance(ours.figures, ProjectFigures)
        assert said(ours, folder, bucket) == said(theirs, folder, bucket)
        metrics = [path for path, _, _ in theirs.series][:3]
        assert str(drawn(there, metrics, project)) == str(drawn(here, metrics, project))


def test_a_repaired_copy_comes_from_a_store_as_from_a_folder(
    broken: Path, bucket: StorePath, tmp_path: Path
) -> None:
    copies = []
    for number, archive in enumerate(archives(broken, bucket)):
        to = tmp_path / str(number)
        report = repair(archive, examine(archive, PROJECT), to)
        assert report.left_out
        copies.append({p.relative_to(to): p.read_bytes() for p in to.rglob("*") if p.is_file()})
    assert copies[0] == copies[1] != {}


def test_what_is_left_of_a_damaged_run_is_read(broken: Path, bucket: StorePath) -> None:
    here, there = archives(broken, bucket)
    for archive in (here, there):
        with pytest.raises(DamagedPartError, match="run_3"):
            archive.runs(PROJECT)
        damaged: list[DamagedPartError] = []
        assert len(archive.runs(PROJECT, damaged)) == 4
        assert len(damaged) == 1
        assert salvage(archive, key("run 3"), ["cut off"]) is None
    rows = []
    for archive in (here, there):
        left = salvage(archive, key("run 4"), ["a file is gone"])
        assert left is not None
        rows.append([row for batch in left.batches() for row in batch.to_pylist()])
    assert str(rows[0]) == str(rows[1])  # NaN is not equal to itself
    assert any(row["attribute_type"] == "file" and row["file_value"] is None for row in rows[1])


def test_a_part_of_many_megabytes_is_read_in_few_requests(bucket: StorePath, s3: S3Server) -> None:
    chance = random.Random(1)
    run = RunKey("ws/big", "one")
    archive = archive_in(bucket)
    with RunWriter(archive, run, "test") as writer:
        for _ in range(3):
            values = [chance.random() for _ in range(200_000)]
            fill(writer, points("loss", range(0, 200_000 * 10**6, 10**6), values))
            writer.flush()
        manifest = writer.commit()
    found = archive.find(run)
    assert found is not None
    assert found.bytes_on_disk > 4 << 20
    s3.requests.clear()
    assert found.sums().digest() == manifest.digest
    assert len(s3.requests) < 10, s3.requests


def test_a_part_is_read_some_megabytes_at_a_time(
    bucket: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Arrow has read for one call it keeps until the next: all at once would be all of it."""
    run, rows, groups = RunKey("ws/big", "one"), 200_000, 12
    archive, chance = archive_in(bucket), np.random.default_rng(1)
    loss = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["loss"]))
    with RunWriter(archive, run, "test") as writer:
        for group in range(groups):
            at = np.arange(group * rows, (group + 1) * rows)
            values = chance.normal(size=rows)
            writer.write(float_series_batch(run.project, run.run, loss, at * 10**6, at, values))
            writer.flush()
        manifest = writer.commit()
    found = archive.find(run)
    assert found is not None
    assert len(found.parts) == 1
    assert found.bytes_on_disk > 20 << 20
    asked: list[int] = []
    read = StorePath.read_range

    def recorded(path: StorePath, start: int, end: int) -> bytes:
        asked.append(end - start)
        return read(path, start, end)

    monkeypatch.setattr(StorePath, "read_range", recorded)
    assert found.sums().digest() == manifest.digest
    assert max(asked) < 12 << 20
    assert len(asked) < groups


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3://", "no bucket"),
        ("s3://bucket/../other", "no bucket"),
        ("ftp://host/path", "no store that is known"),
        ("s3://key:secret@bucket/data", "more than bucket and folder"),
        ("s3://bucket/data?secret=x", "more than bucket and folder"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secrets(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        location(text, "MIGRATION_DATA_PATH")
    assert "MIGRATION_DATA_PATH" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_folder_keeps_its_name() -> None:
    assert location("exports/data", "X") == Path("exports/data").absolute()
    assert str(location("s3://bucket//a/./b/", "X")) == "s3://bucket/a/b"
