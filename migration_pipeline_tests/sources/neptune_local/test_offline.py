"""What an offline client wrote, value by value; and not a byte of its folder changes."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.neptune_local import left, writing
from migration_pipeline_tests.sources.neptune_local.left import Exported, exported
from migration_pipeline_tests.sources.neptune_local.writing import NOON, POINTS, START, TEXT

SECOND = 1000


@pytest.fixture(scope="module")
def of_2x(offline2: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    before = left.tree(offline2)
    made = exported(tmp_path_factory.mktemp("of_2x"), offline2)
    assert left.tree(offline2) == before
    return made


@pytest.fixture(scope="module")
def of_3x(offline3: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    before = left.tree(offline3)
    made = exported(tmp_path_factory.mktemp("of_3x"), offline3)
    assert left.tree(offline3) == before
    return made


def test_2x_single_values(of_2x: Exported) -> None:
    found = of_2x.values()
    assert found["p/float"] == ("float", 0.1 + 0.2)
    assert repr(found["p/zero"][1]) == "-0.0"
    assert {path: value for path, value in found.items() if path.startswith("p/")} == {
        "p/int": ("int", 2**31 - 1),
        "p/float": ("float", 0.1 + 0.2),
        "p/zero": ("float", 0.0),
        "p/text": ("string", TEXT),
        "p/long": ("string", writing.LONG_TEXT),
        "p/yes": ("bool", True),
        "p/when": ("datetime", int(START.timestamp() * 1000) + 123),
        "p/twice": ("int", 2),
        'p/a: "b", {c': ("string", "odd"),
    }
    assert found["sys/name"] == ("string", "the name")
    assert found["sys/description"] == ("string", "what")
    assert found["sys/tags"] == ("string_set", ["b"])
    assert found["sys/group_tags"] == ("string_set", ["g"])
    assert found["sys/failed"] == ("bool", False)
    assert found["x/series"] == ("string", "now a text")
    assert "x/deleted" not in found


def test_2x_series(of_2x: Exported) -> None:
    assert of_2x.series("m/loss") == [
        (i * 125_000, int((NOON + i / 8) * 1000), 1 / (i + 1)) for i in range(POINTS)
    ]
    assert of_2x.series("m/one") == [
        (i * 10**6, int((NOON + i * 0.001) * 1000), i * 1e-5) for i in range(100)
    ]
    even = [(i * 10**6, (NOON + i) * SECOND, float(i)) for i in range(100)]
    assert of_2x.series('m/odd: "x", y') == even
    assert of_2x.series("m/auto") == even, "a step that is not given follows the last by 1"
    assert of_2x.series("m/tiny") == [
        (1, NOON * SECOND, 5e-324),
        (4 * 10**15, (NOON + 1) * SECOND, -1.7976931348623157e308),
    ]
    assert of_2x.series("m/cleared") == [(0, NOON * SECOND, 3.0)], "what was cleared is gone"
    assert of_2x.series("log") == [
        (10**6, NOON * SECOND, TEXT),
        (2 * 10**6, (NOON + 1) * SECOND, "later"),
    ]
    [(step, time, png)] = of_2x.series("img")
    assert (step, time) == (2 * 10**6, NOON * SECOND)
    assert (np.asarray(Image.open(io.BytesIO(png))) == writing.PIXELS).all()


def test_2x_files_sets_and_artifacts(of_2x: Exported) -> None:
    found = of_2x.values()
    assert found["f/path"] == ("file", b"A")
    assert found["f/memory"] == ("file", "<p>ü</p>".encode())
    assert "f/gone" not in found
    assert unpacked(of_2x, "f/set") == {"d/a.txt": b"A", "d/sub/b.bin": b"BB"}
    assert unpacked(of_2x, "art") == {"b.bin": b"BB"}
    listing = json.loads(next(c for c in contents(of_2x, "art") if c.startswith(b"{")))
    assert [(one["filePath"], one["size"]) for one in listing["files"]] == [("b.bin", 2)]


def contents(made: Exported, path: str) -> list[bytes]:
    return [row["value"] for row in made.rows() if row["path"] == path]


def unpacked(made: Exported, path: str) -> dict[str, bytes]:
    packed = next(one for one in contents(made, path) if one.startswith(b"PK"))
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_2x_the_artifacts_hash_is_the_clients(of_2x: Exported, offline2: Path) -> None:
    from neptune.internal.artifacts.file_hasher import FileHasher
    from neptune.internal.artifacts.types import ArtifactFileData
    from neptune.internal.artifacts.utils import sha1

    file = offline2 / "d/sub/b.bin"
    listed = ArtifactFileData("b.bin", sha1(file), "Local", {}, 2)
    listing = json.loads(next(c for c in contents(of_2x, "art") if c.startswith(b"{")))
    assert listing["hash"] == FileHasher.get_artifact_hash_without_metadata([listed])


def test_2x_says_what_is_lost_and_how_the_run_got_its_names(
    of_2x: Exported, offline2: Path
) -> None:
    manifest = of_2x.manifest()
    container = next((offline2 / ".neptune/offline").iterdir()).name.split("__")[1]
    assert (manifest.project, manifest.run) == ("local/training", container)
    assert manifest.missing_files == ["f/gone"]
    assert [text for text in manifest.damage if "gone.txt" in text and "f/gone" in text]
    assert len(manifest.damage) == 1
    notes = "\n".join(manifest.notes)
    assert "does not say of which run it is" in notes
    assert "MIGRATION_LOCAL_PROJECT" in notes
    assert "MIGRATION_LOCAL_RUN_IDS" in notes
    assert "ranges and units of series, which the archive does not hold: m/one" in notes
    assert "descriptions of images, which the archive does not hold: img (step 2)" in notes
    [run] = examine(of_2x.archive, manifest.project, thorough=True).runs
    assert (run.grade, [reason.code for reason in run.reasons]) == ("damaged", ["source_damaged"])


def test_settings_name_a_2x_run(offline2: Path, tmp_path: Path) -> None:
    container = next((offline2 / ".neptune/offline").iterdir()).name.split("__")[1]
    made = exported(tmp_path, offline2, project="acme/tabular", run_ids={container: "TAB-7"})
    assert [str(key) for key in made.found()] == ["acme/tabular|TAB-7"]
    assert "the project is that of MIGRATION_LOCAL_PROJECT" in "\n".join(made.manifest().notes)


def test_3x_single_values(of_3x: Exported) -> None:
    found = of_3x.values("parent")
    assert np.isnan(found.pop("nan")[1])
    noon = int(START.timestamp() * 1000)
    assert {path: value for path, value in found.items() if "/" not in path} == {
        "int": ("int", 2**53 + 1),
        "negative": ("int", -(2**63)),
        "float": ("float", 0.1),
        "text": ("string", TEXT),
        "flag": ("bool", False),
        "when": ("datetime", noon + 123),
        "set": ("string_set", ["b", "a"]),
        "local": ("file", b"# notes"),
        "memory": ("file", b"bytes"),
        "placed": ("file", b"placed"),
    }
    assert {path: value for path, value in found.items() if path.startswith("sys/")} == {
        "sys/custom_run_id": ("string", "parent"),
        "sys/creation_time": ("datetime", noon),
        "sys/experiment/name": ("string", "exp"),
        "sys/name": ("string", "exp"),
        "sys/family": ("string", "parent"),
        "sys/tags": ("string_set", ["x", "z"]),
        "sys/group_tags": ("string_set", ["group"]),
    }


def test_3x_series(of_3x: Exported) -> None:
    noon = int(START.timestamp() * 1000)
    steps = [0, 500_000, 10**6, 1_250_000, 123_456_789_123_456]
    loss = of_3x.series("loss", "parent")
    assert [(step, time) for step, time, _ in loss] == [
        (step, noon + i * 1000) for i, step in enumerate(steps)
    ]
    assert repr([value for _, _, value in loss]) == "[0.0, nan, inf, -0.0, 2.5]"
    assert of_3x.series("second", "parent") == [
        (step, noon + i * 1000, float(i)) for i, step in enumerate(steps)
    ]
    assert of_3x.series("log", "parent") == [
        (step, noon + i * 1000, f"line {i} π\n") for i, step in enumerate(steps)
    ]
    edges = [0.0, 1.0, 2.5]
    [(_, _, counts)] = of_3x.series("counts", "parent")
    assert counts == {"type": "COUNTING", "edges": edges, "values": [3.0, float(2**60)]}
    [(_, _, densities)] = of_3x.series("densities", "parent")
    assert densities == {"type": "DENSITY", "edges": edges, "values": [0.5, 0.25]}
    [(step, _, content)] = of_3x.series("series", "parent")
    assert (step, content) == (3 * 10**6, b"point")


def test_3x_says_what_is_lost(of_3x: Exported) -> None:
    manifest = of_3x.manifest("parent")
    assert manifest.missing_files == ["gone"]
    assert len(manifest.damage) == 1
    assert "gone.md" in manifest.damage[0]
    notes = "\n".join(manifest.notes)
    assert "1 integers beyond 2**53 became the nearest double: counts (step 1)" in notes
    assert "1 points that were marked as previews are left out" in notes
    assert "times are finer than a millisecond; the archive keeps milliseconds" in notes


def test_3x_previews_on_request(offline3: Path, tmp_path: Path) -> None:
    made = left.exporting(tmp_path, offline3)
    made.export(Selection(previews=True))
    assert made.series("loss", "parent")[-1][0::2] == (2 * 10**14, 9.0)
    assert "1 points are previews, which the archive does not mark" in made.manifest("parent").notes


def test_3x_forks(of_3x: Exported) -> None:
    found = of_3x.values("fork")
    assert of_3x.manifest("fork").parent == "parent"
    assert found["sys/forking/parent"] == ("string", "parent")
    assert found["sys/forking/step"] == ("float", 1.0)
    assert of_3x.series("loss", "fork") == [(2 * 10**6, int(START.timestamp() * 1000), -2.0)]


def test_a_directory_that_was_moved_keeps_its_files(offline3: Path, tmp_path: Path) -> None:
    moved = left.copy(offline3 / ".neptune", tmp_path / "elsewhere")
    for database in moved.rglob("*.sqlite3"):
        forget_places(database)
    made = exported(tmp_path, moved)
    assert made.values("parent")["memory"] == ("file", b"bytes")
    assert made.series("series", "parent")[0][2] == b"point"


def forget_places(database: Path) -> None:
    """Paths of files lead nowhere, as on another machine."""
    import sqlite3

    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE file_upload_requests SET source_path = replace(source_path, '/', '/no/')"
        )
    connection.close()


def test_a_directory_that_grew_is_exported_again(offline2: Path, tmp_path: Path) -> None:
    grown = left.copy(offline2, tmp_path / "training")
    made = exported(tmp_path, grown)
    before = made.manifest()
    made.export()
    assert made.report.runs == [], "nothing changed, nothing is done"
    directory = next((grown / ".neptune/offline").iterdir())
    point = {"value": 8.0, "step": 100, "ts": NOON}
    writing.put(directory, [{"type": "LogFloats", "path": ["m", "one"], "values": [point]}])
    made.export()
    assert made.manifest().modified > before.modified
    assert made.series("m/one")[-1] == (100 * 10**6, NOON * SECOND, 8.0)
    assert isinstance(before.modified, datetime)
