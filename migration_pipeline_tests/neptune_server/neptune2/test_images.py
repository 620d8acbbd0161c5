"""Series of images: elements by index, names by content, replacement and order."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from neptune.exceptions import MetadataInconsistency
from neptune.types import File, FileSeries
from PIL import Image

from migration_pipeline.neptune_server import RunningServer

from .clients import PROJECT, Raw, open_run, tree

NOON = 1_700_000_000


def shade(level: int) -> np.ndarray:
    return np.full((3, 5), level, np.uint8)


def pixels(content: bytes) -> int:
    """The level of an image of one shade."""
    with Image.open(io.BytesIO(content)) as image:
        (level,) = set(np.asarray(image.convert("L")).ravel().tolist())
    return int(level)


def png(level: int) -> File:
    return File.as_image(Image.fromarray(shade(level)))


def levels(folder: Path) -> dict[str, int]:
    return {name: pixels(content) for name, content in tree(folder).items()}


def test_elements_come_back_by_index_with_the_same_pixels(
    server: RunningServer, tmp_path: Path
) -> None:
    with open_run(server) as run:
        for number, level in enumerate([7, 99, 255]):
            run["val/images"].append(png(level), step=10 * number, timestamp=NOON + number)
        run["val/images"].download("all")
        run["val/images"].download_last("last")
        value = server.store.projects[PROJECT].runs["TAB-1"].attributes["val/images"].value
    assert levels(tmp_path / "all") == {"0.png": 7, "1.png": 99, "2.png": 255}
    assert levels(tmp_path / "last") == {"2.png": 255}
    assert (value.steps, value.timestamps) == (
        [0, 10, 20],
        [NOON * 1000 + n for n in (0, 1000, 2000)],
    )


def test_names_follow_the_content(server: RunningServer, tmp_path: Path) -> None:
    Image.fromarray(shade(40)).save("photo.anything", format="JPEG")
    Image.fromarray(shade(41)).save("picture", format="GIF")
    with open_run(server) as run:
        run["images"].extend([File("photo.anything"), File("picture")])
        run["images"].download("out")
    assert levels(tmp_path / "out") == {"0.jpeg": 40, "1.gif": 41}


def test_a_bulk_assignment_replaces_and_append_adds(server: RunningServer, tmp_path: Path) -> None:
    with open_run(server) as run:
        run["images"] = FileSeries([png(1), png(2), png(3)])
        run["images"] = FileSeries([png(4)])
        run["images"].append(png(5))
        run["images"].download("out")
        assert levels(tmp_path / "out") == {"0.png": 4, "1.png": 5}
        del run["images"]
        run["images"].append(png(6))
        run["images"].download("again")
    assert levels(tmp_path / "again") == {"0.png": 6}


def test_the_answer_has_a_count_and_no_steps(server: RunningServer) -> None:
    with open_run(server) as run:
        for step in (5, 50, 500):
            run["images"].append(png(1), step=step)
        raw = Raw(server, run, "images")
        answer = raw.get("/series/image", limit=2, offset=1).json()
        assert answer["totalItemCount"] == 3
        assert [list(value) for value in answer["values"]] == [["imageUrl"], ["imageUrl"]]
        assert raw.get("/series/image/single", index=3).status_code == 404
        assert raw.get("/series/file").status_code == 404
        raw.about["attribute"] = "sys/id"
        assert raw.get("/series/image").status_code == 404


def test_all_at_once_as_a_zip(server: RunningServer) -> None:
    with open_run(server) as run:
        run["images"].extend([png(8), png(9)])
        answer = Raw(server, run, "images").get("/imageSeries/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        got = {name: pixels(archive.read(name)) for name in archive.namelist()}
    assert got == {"0.png": 8, "1.png": 9}


def test_only_points_whose_step_does_not_increase_are_dropped(
    server: RunningServer, tmp_path: Path
) -> None:
    with open_run(server) as run:
        run["images"].append(png(1), step=10)
        with pytest.raises(
            MetadataInconsistency,
            match="1 points were skipped, the first at step 3",
        ):
            run["images"].append(png(2), step=3)
        with pytest.raises(MetadataInconsistency, match="first at step 10"):
            run["images"].append(png(2), step=10)
        run["images"].append(png(3), step=10.5)
        run["images"].download("out")
    assert levels(tmp_path / "out") == {"0.png": 1, "1.png": 3}


def test_types_are_fixed_and_an_empty_series_exists(server: RunningServer) -> None:
    operations = (
        b'[{"path": "lr", "logImages": {"entries": []}},'
        b' {"path": "empty", "logImages": {"entries": []}},'
        b' {"path": "none", "clearImageSeries": {}},'
        b' {"path": "lr", "clearImageSeries": {}}]'
    )
    with open_run(server) as run:
        run["lr"] = 0.5
        raw = Raw(server, run, "empty")
        refused = raw.post("/operations", operations).json()
        assert [error["errorType"] for error in refused] == ["metadata_inconsistency"] * 2
        assert raw.get("/series/image").json() == {"totalItemCount": 0, "values": []}
        raw.about["attribute"] = "none"
        assert raw.get("/series/image").status_code == 404
        assert run["lr"].fetch() == 0.5
