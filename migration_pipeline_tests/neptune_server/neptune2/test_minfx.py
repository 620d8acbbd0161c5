"""minfx.neptune_v2, a fork of the 2.x client with words of its own, against the same server."""

from __future__ import annotations

import json
import math
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import neptune
import numpy as np
from minfx import neptune_v2 as minfx

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.store import Run

from .clients import PROJECT, QUIET, Raw, open_run, tree


@contextmanager
def fork_run(server: RunningServer, **more: Any) -> Iterator[Any]:
    settings = {"project": PROJECT, "api_token": server.token, "mode": "sync", **QUIET, **more}
    with minfx.init_run(**settings) as run:
        yield run


def stored(server: RunningServer, sys_id: str = "TAB-1") -> Run:
    return server.store.projects[PROJECT].runs[sys_id]


def test_numbers_that_json_does_not_have(server: RunningServer) -> None:
    values = [1.5, math.nan, math.inf, -math.inf, -0.0]
    with fork_run(server) as run:
        for number, value in enumerate(values):
            run[f"value/{number}"] = value
        run["curve"].extend(values)
        run["from -0"].append(2.0, step=-0.0)
        with neptune.init_run(
            project=PROJECT, api_token=server.token, with_id="TAB-1", mode="read-only"
        ) as read:
            texts = [read[f"value/{number}"].fetch() for number in range(5)]
    attributes = stored(server).attributes
    singles = np.array([attributes[f"value/{number}"].value for number in range(5)])
    assert singles.tobytes() == np.array(values).tobytes()
    assert attributes["curve"].value.values.tobytes() == np.array(values).tobytes()
    assert np.signbit(attributes["from -0"].value.steps[0])
    assert texts == [1.5, "NaN", "Infinity", "-Infinity", -0.0]


def test_files_sets_and_artifacts(server: RunningServer, tmp_path: Path) -> None:
    large = random.Random(1).randbytes(6 << 20)
    for name, content in {"d/a.txt": b"a", "d/sub/b.txt": b"b", "large": large}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "out").mkdir()
    with fork_run(server) as run:
        run["small"].upload("d/a.txt")
        run["large"].upload("large")
        run["set"].upload_files("d")
        run["tracked"].track_files("d")
        for field in ("small", "large", "set"):
            run[field].download("out")
        listed = run["tracked"].fetch_files_list()
    got = tree(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "set.zip") as archive:
        names = sorted(archive.namelist())
    assert (got["small.txt"], got["large"]) == (b"a", large)
    assert names == ["/", "d/", "d/a.txt", "d/sub/", "d/sub/b.txt"]
    assert [(file.file_path, file.size) for file in listed] == [("a.txt", 1), ("sub/b.txt", 1)]


def test_series_of_pages_files_and_images(server: RunningServer, tmp_path: Path) -> None:
    from minfx.neptune_v2.types import File

    with fork_run(server) as run:
        for number in range(3):
            pixels = np.full((4, 4), number / 4)
            run["images"].append(File.as_image(pixels), step=10 * number)
            page = File.from_content(f"<html>{number}", extension="html")
            run["pages"].append(page, step=10 * number)
            run["tables"].append(File.from_content(f"a,{number}", extension="csv"), step=number)
        run["odd"].append(File.from_content(b"odd", extension="tensor"))
        for field in ("images", "pages", "tables", "odd"):
            run[field].download(f"out/{field}")
            run[field].download_last(f"last/{field}")
    got = tree(tmp_path / "out")
    assert {name: got[name] for name in got if not name.startswith("images")} == {
        **{f"pages/{number}.html": b"<html>%d" % number for number in range(3)},
        **{f"tables/{number}.csv": b"a,%d" % number for number in range(3)},
        "odd/0.tensor": b"odd",
    }
    images = sorted(name for name in got if name.startswith("images"))
    assert images == [f"images/{number}.png" for number in range(3)]
    last = ["images/2.png", "odd/0.tensor", "pages/2.html", "tables/2.csv"]
    assert sorted(tree(tmp_path / "last")) == last
    assert stored(server).attributes["pages"].value.steps == [0, 10, 20]


def test_a_series_keeps_to_what_was_logged_first(server: RunningServer) -> None:
    from minfx.neptune_v2.types import File

    value = {"data": "YQ==", "name": None, "description": None, "extension": "csv"}
    entry = {"value": value, "step": 7, "timestampMilliseconds": 0}
    operations = [
        {"path": "series", "logFiles": {"entries": [entry]}},
        {"path": "series", "logImages": {"entries": [entry]}},
        {"path": "lr", "logHtml": {"entries": [entry]}},
        {"path": "lr", "clearHtmlSeries": {}},
        {"path": "lr", "clearFileSeries": {}},
    ]
    with fork_run(server) as run:
        run["lr"] = 0.5
        run["series"].append(File.from_content("<html>", extension="html"))
        raw = Raw(server, run, "series")
        refused = raw.post("/operations", json.dumps(operations).encode()).json()
        assert len(refused) == len(operations)
        assert refused[0]["errorDescription"] == "Attribute series of TAB-1 is htmlSeries"
        kept = stored(server).attributes["series"].value
        assert (kept.steps, [file.size for file in kept.values]) == ([0], [6])
        cleared = b'[{"path": "series", "clearHtmlSeries": {}}]'
        assert raw.post("/operations", cleared).json() == []
        assert raw.post("/operations", json.dumps(operations[:1]).encode()).json() == []
        assert stored(server).attributes["series"].value.steps == [7]


def test_tables_take_filters_in_place_of_a_query(server: RunningServer) -> None:
    for tags, name in ((["a", "b"], "one"), (["a"], "two"), ([], "three")):
        with open_run(server, tags=tags, name=name) as run:
            run["number"] = len(name)
    with minfx.init_project(project=PROJECT, api_token=server.token, mode="read-only") as project:

        def ids(**filters: Any) -> list[str]:
            rows = project.fetch_runs_table(sort_by="sys/id", ascending=True, **filters).to_rows()
            return [row.get_attribute_value("sys/id") for row in rows]

        assert ids() == ["TAB-1", "TAB-2", "TAB-3"]
        assert ids(tag=["a", "b"]) == ["TAB-1"]
        assert ids(tag="a") == ["TAB-1", "TAB-2"]
        assert ids(id=["TAB-3", "TAB-1"]) == ["TAB-1", "TAB-3"]
        assert ids(owner="somebody") == []
        assert ids(trashed=True) == []
        table = project.fetch_runs_table(columns=["number"], sort_by="number").to_pandas()
        assert table["number"].tolist() == [5, 3, 3]


def test_both_clients_in_one_process_see_the_same_run(server: RunningServer) -> None:
    with open_run(server, custom_run_id="shared") as run:
        run["lr"] = 0.5
        run["loss"].extend([3.0, 2.0, 1.0])
    with minfx.init_run(
        project=PROJECT, api_token=server.token, with_id="TAB-1", mode="read-only"
    ) as fork:
        assert fork["lr"].fetch() == 0.5
        values = fork["loss"].fetch_values(include_timestamp=False)
    assert values["value"].tolist() == [3.0, 2.0, 1.0]
