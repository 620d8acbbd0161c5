"""An archive is served with the values it has, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from neptune_query import runs

from migration_pipeline.archive.layout import name_on_disk, part_name
from migration_pipeline.archive.schema import SCHEMA, make_batch
from migration_pipeline.errors import DamagedPartError
from migration_pipeline.neptune_server import RunningServer, Store
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.store import FileValue, HistogramValue

from .conftest import NOON, PROJECT, Api

Rows = list[dict[str, Any]]
Serve = Callable[[Store], RunningServer]


def row(path: str, type_: str, value: Any, step: float | None = None, at: int = NOON) -> Any:
    micros = None if step is None else round(step * 10**6)
    timestamp = None if step is None else at
    return {"path": path, "type": type_, "value": value, "step": micros, "timestamp": timestamp}


def write_run(folder: Path, run_id: str, *parts: Rows, project: str = PROJECT) -> None:
    """Parts of one run, as neptune-exporter names them."""
    directory = folder / "data" / name_on_disk(project)
    directory.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(parts):
        table = pa.Table.from_batches([make_batch(project, run_id, rows)]).cast(SCHEMA)
        pq.write_table(table, directory / part_name(name_on_disk(run_id), number))


def write_file(folder: Path, path: str, content: bytes) -> None:
    file = folder / "files" / name_on_disk(PROJECT) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def load(folder: Path) -> Store:
    store = Store()
    load_archive(store, folder / "data", folder / "files")
    return store


def system(sys_id: str, run_id: str, created: int, **more: tuple[str, Any]) -> Rows:
    rows = [
        row("sys/id", "string", sys_id),
        row("sys/custom_run_id", "string", run_id),
        row("sys/creation_time", "datetime", NOON + created),
    ]
    return rows + [row(f"sys/{name}", *value) for name, value in more.items()]


HISTOGRAM = {"type": "COUNTING", "edges": [0.0, 1.0], "values": [3.0]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_file(tmp_path, "one/picture.png", b"picture")
    write_run(
        tmp_path,
        "one",
        [
            *system("KEY-7", "one", 1, name=("string", "exp")),
            row("int", "int", 2**53 + 1),
            row("nan", "float", float("nan")),
            row("none", "float", None),
            row("mixed", "string", None),
            row("mixed", "int", 3),
            row("set", "string_set", ["b", "a"]),
            row("empty set", "string_set", []),
            row("picture", "file", "one/picture.png"),
            row("gone", "file", "one/gone.txt"),
            row("loss", "float_series", 3.0, 2),
            row("loss", "float_series", 1.0, 0.1),
            row("loss", "float_series", None, 1),
            row("hist", "histogram_series", HISTOGRAM, 1),
            row("log", "string_series", "b", 1, NOON + 1),
            row("log", "string_series", "a", 0),
        ],
        [
            row("loss", "float_series", float("nan"), 123456789.123456),
            row("far", "float_series", 1.0, 999_999_999_999),
            row("images", "file_series", "one/picture.png", 0.5),
            row("old", "artifact", "one/list.json"),
        ],
    )
    fork = {"name": ("string", "exp"), "archived": ("bool", True)}
    write_run(
        tmp_path,
        "two",
        [
            *system("KEY-9", "two", 2, **fork),
            row("sys/forking/parent", "string", "KEY-7"),
            row("sys/forking/step", "float", 0.5),
            row("loss", "float_series", -1.0, 3),
        ],
    )
    write_run(tmp_path, "no ids", [row("int", "int", 1)])
    return tmp_path


def test_values_are_those_of_the_rows(folder: Path) -> None:
    run = load(folder).project(PROJECT).runs["KEY-7"]
    values = {path: attribute.value for path, attribute in run.attributes.items()}
    assert values["int"] == 2**53 + 1
    assert values["nan"] != values["nan"]
    assert "none" not in values
    assert (run.attributes["mixed"].type, values["mixed"]) == ("int", 3)
    assert values["set"] == ("b", "a")
    assert values["empty set"] == ()
    assert values["picture"] == FileValue("one/picture.png", 7, "image/png")
    assert values["gone"] == FileValue("one/gone.txt", 0, "text/plain")
    assert values["loss"].steps.tolist() == [0.1, 2, 123456789.123456]
    assert values["loss"].values[:2].tolist() == [1, 3]
    assert values["far"].steps.tolist() == [999_999_999_999]
    assert values["log"].values == ["a", "b"]
    assert values["log"].timestamps == [NOON, NOON + 1]
    assert values["hist"].values == [HistogramValue("COUNTING", (0.0, 1.0), (3.0,))]
    assert values["images"].values == [FileValue("one/picture.png", 7, "image/png")]


def test_runs_are_addressed_and_tied(folder: Path) -> None:
    project = load(folder).project(PROJECT)
    two = project.runs["KEY-9"]
    assert two.parent is project.runs["KEY-7"]
    assert two.fork_step == 0.5
    assert [run.run_id for run in project.heads()] == ["two"]
    unnamed = project.find("no ids")
    assert unnamed is not None
    assert unnamed.sys_id == "KEY-1"
    assert set(unnamed.attributes) == {"int"}
    assert project.create_run("new").sys_id == "KEY-10"


def test_the_client_sees_the_archive_and_no_more(
    folder: Path, serve: Serve, tmp_path: Path
) -> None:
    server = serve(load(folder))
    assert runs.list_runs(project=PROJECT) == ["no ids", "one", "two"]
    assert runs.list_attributes(project=PROJECT, runs=["no ids"]) == ["int"]
    frame = runs.fetch_metrics(project=PROJECT, runs=["two"], attributes=["loss"])
    assert frame["loss"].to_dict() == {("two", 0.1): 1.0, ("two", 3.0): -1.0}
    found = runs.list_attributes(project=PROJECT, runs=["one"])
    assert "old" not in found
    assert {"picture", "gone", "hist", "log", "loss", "sys/id"} <= set(found)
    table = runs.fetch_runs_table(project=PROJECT, runs=["one"], attributes=["picture", "gone"])
    paths = runs.download_files(files=table, destination=tmp_path / "downloads").iloc[0]
    assert Path(paths["picture"]).read_bytes() == b"picture"
    assert not isinstance(paths["gone"], str)
    assert Api(server).floats(f"CUSTOM/{PROJECT}/no ids", "int") == []


def test_two_runs_with_one_sys_id_are_both_served(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path, name, [row("sys/id", "string", "KEY-1"), row("n", "string", name)])
    project = load(tmp_path).project(PROJECT)
    assert {run.run_id: sys_id for sys_id, run in project.runs.items()} == {
        "a": "KEY-1",
        "b": "KEY-2",
    }
    assert project.runs["KEY-2"].attributes["sys/id"].value == "KEY-1"


def test_a_damaged_part_is_named(folder: Path) -> None:
    broken = next((folder / "data").rglob("*_part_0.parquet"))
    broken.write_bytes(b"PAR1 no more")
    with pytest.raises(DamagedPartError, match=r"part_0\.parquet"):
        load(folder)


def test_a_path_with_two_types_keeps_the_first_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path, "run", [row("x", "int", 1), row("x", "string", "one")])
    run = load(tmp_path).project(PROJECT).find("run")
    assert run is not None
    assert run.attributes["x"].value == 1
    assert "'x' is served as int" in caplog.text
