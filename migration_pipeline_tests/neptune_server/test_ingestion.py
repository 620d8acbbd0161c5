"""What the real neptune-scale writes, the real neptune-query reads back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from neptune_query import runs
from neptune_scale import Run
from neptune_scale.projects import create_project, list_projects
from neptune_scale.types import File, Histogram

from migration_pipeline.neptune_server import RunningServer, Store, running_server

from .conftest import PROJECT, forget_query, point_query_at

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
CONFIGS = {
    "int": 2**53 + 1,
    "negative": -(2**63),
    "float": 0.1,
    "nan": float("nan"),
    "inf": float("-inf"),
    "text": 'line\n"π"',
    "flag": False,
    "when": START + timedelta(milliseconds=123),
    "set": ["b", "a"],
    "näme with.dots/and `ticks`": 1,
}
METRICS = [(0, 0.0), (0.5, float("nan")), (1, float("inf")), (1.25, -0.0), (123456789.123456, 2.5)]
BIG = np.random.default_rng(0).bytes(700_000)


@contextlib.contextmanager
def scale_run(folder: Path, problems: list[str], **settings: object) -> Iterator[Run]:
    """A run that is closed when all it sent is processed; problems are named by their type."""

    def problem(error: BaseException, _: object) -> None:
        problems.append(type(error).__name__)

    run = Run(
        project=PROJECT,
        log_directory=folder,
        enable_console_log_capture=False,
        source_tracking_config=None,
        on_error_callback=problem,
        on_warning_callback=problem,
        **settings,  # type: ignore[arg-type]
    )
    yield run
    run.close()


@pytest.fixture(scope="module")
def problems() -> list[str]:
    return []


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, problems: list[str]
) -> Iterator[RunningServer]:
    """A parent and its fork; each stores its files with another provider."""
    folder = tmp_path_factory.mktemp("scale")
    with (
        running_server(Store(create_missing_projects=False)) as server,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("NEPTUNE_API_TOKEN", server.token)
        # Smaller than the file, so that Google's upload takes several requests.
        env.setenv("NEPTUNE_FILE_UPLOAD_CHUNK_SIZE", str(256 * 1024))
        create_project(PROJECT, key="VIS")
        assert list_projects() == [PROJECT]
        settings = {"run_id": "parent", "experiment_name": "exp", "creation_time": START}
        with scale_run(folder, problems, **settings) as run:
            write_parent(run, folder)
        server.object_stores.provider = "aws"
        server.object_stores.multipart_above = 500_000
        server.object_stores.part_size = 300_000
        fork = {"run_id": "fork", "fork_run_id": "parent", "fork_step": 1}
        with scale_run(folder, problems, experiment_name="exp", **fork) as run:
            run.log_configs({"text": "mine"})
            run.log_metrics({"loss": -2.0}, step=2, timestamp=START + timedelta(seconds=60))
            run.assign_files({"big": File(BIG)})
        server.object_stores.provider = "azure"
        with scale_run(folder, problems, run_id="parent", experiment_name="exp") as run:
            run.log_metrics({"loss": 7.0}, step=1)
            run.log_configs({"text": 5})
            run.assign_files({"azure": File(BIG), "azure empty": File(b"")})
        point_query_at(server)
        yield server
        forget_query()


def write_parent(run: Run, folder: Path) -> None:
    run.log_configs(CONFIGS)
    for index, (step, value) in enumerate(METRICS):
        at = START + timedelta(seconds=index)
        run.log_metrics({"loss": value, "second": index}, step=step, timestamp=at)
        run.log_string_series({"log": f"line {index} π\n"}, step=step, timestamp=at)
    run.log_metrics({"loss": 9.0}, step=2e8, preview=True, preview_completion=0.25)
    run.log_histograms({"counts": Histogram([0, 1, 2.5], counts=[3, 2**40])}, step=1)
    run.log_histograms({"densities": Histogram([0, 1, 2.5], densities=[0.5, 0.25])}, step=1)
    run.add_tags(["x", "y", "z"])
    run.remove_tags(["y"])
    run.add_tags(["group"], group_tags=True)
    local = folder / "notes.md"
    local.write_text("# notes")
    run.assign_files(
        {
            "local": str(local),
            "big": File(BIG, mime_type="image/png"),
            "empty": File(b""),
            "placed": File(b"placed", destination="my/place.txt"),
        }
    )
    run.log_files({"images": File(b"first", mime_type="image/png")}, step=0.5)
    run.log_files({"images": File(b"second", mime_type="image/png")}, step=1)


def test_only_what_was_wrong_is_reported(written: RunningServer, problems: list[str]) -> None:
    """The third session resumed a run, wrote an old step and another type."""
    assert sorted(problems) == [
        "NeptuneAttributeTypeMismatch",
        "NeptuneRunDuplicate",
        "NeptuneSeriesStepNonIncreasing",
    ]


def test_configs(written: RunningServer) -> None:
    table = runs.fetch_runs_table(project=PROJECT, runs=["parent"], attributes=list(CONFIGS))
    row = table.loc["parent"].to_dict()
    for name, value in CONFIGS.items():
        if name == "set":
            assert row[name] == {"a", "b"}
        elif name == "nan":
            assert np.isnan(row[name])
        else:
            assert row[name] == value, name
    stored = written.store.project(PROJECT).runs["VIS-1"].attributes["set"]
    assert stored.value == ("b", "a")


def test_metrics_and_previews(written: RunningServer) -> None:
    frame = runs.fetch_metrics(
        project=PROJECT,
        runs=["parent"],
        attributes=["loss"],
        include_time="absolute",
        include_point_previews=True,
    )
    expected = [*METRICS, (2e8, 9.0)]
    assert frame.index.to_list() == [("parent", step) for step, _ in expected]
    values = frame[("loss", "value")].to_numpy()
    assert values.tobytes() == np.array([value for _, value in expected]).tobytes()
    times = frame[("loss", "absolute_time")].to_list()[:-1]
    assert times == [START + timedelta(seconds=n) for n in range(5)]
    assert frame[("loss", "is_preview")].to_list() == [False] * 5 + [True]
    assert frame[("loss", "preview_completion")].to_list() == [1.0] * 5 + [0.25]


def test_strings_and_histograms(written: RunningServer) -> None:
    frame = runs.fetch_series(
        project=PROJECT, runs=["parent"], attributes=["log", "counts", "densities"]
    )
    assert frame["log"].dropna().to_list() == [f"line {n} π\n" for n in range(5)]
    counts, densities = frame.loc[("parent", 1.0), ["counts", "densities"]]
    assert (counts.type, counts.edges, counts.values) == ("COUNTING", [0, 1, 2.5], [3, 2**40])
    assert (densities.type, densities.values) == ("DENSITY", [0.5, 0.25])


def test_files_of_all_three_stores(written: RunningServer, tmp_path: Path) -> None:
    names = ["local", "big", "empty", "placed", "azure", "azure empty"]
    table = runs.fetch_runs_table(project=PROJECT, runs=["parent", "fork"], attributes=names)
    local = table.loc["parent", "local"]
    assert (local.mime_type, local.size_bytes) == ("text/markdown", 7)
    assert table.loc["parent", "big"].mime_type == "image/png"
    assert table.loc["parent", "placed"].path == "my/place.txt"
    paths = runs.download_files(files=table, destination=tmp_path)
    found = {
        (run, name): Path(path).read_bytes()
        for (run, _), row in paths.iterrows()
        for name, path in row.items()
        if isinstance(path, str)
    }
    assert found == {
        ("parent", "local"): b"# notes",
        ("parent", "big"): BIG,
        ("parent", "empty"): b"",
        ("parent", "placed"): b"placed",
        ("parent", "azure"): BIG,
        ("parent", "azure empty"): b"",
        ("fork", "big"): BIG,
    }
    images = runs.fetch_series(project=PROJECT, runs=["parent"], attributes=["images"])
    paths = runs.download_files(files=images, destination=tmp_path / "images")
    assert [Path(p).read_bytes() for p in paths["images"]] == [b"first", b"second"]
    assert written.requests["POST /api/storagebridge/v1/s3/completeMultipartUpload"] == 1


def test_system_attributes(written: RunningServer) -> None:
    table = runs.fetch_runs_table(project=PROJECT, attributes="^sys/", sort_direction="asc")
    parent, fork = table.loc["parent"], table.loc["fork"]
    assert (parent["sys/id"], fork["sys/id"]) == ("VIS-1", "VIS-2")
    assert parent["sys/name"] == fork["sys/name"] == "exp"
    assert (parent["sys/experiment/is_head"], fork["sys/experiment/is_head"]) == (False, True)
    assert parent["sys/creation_time"] == START
    assert parent["sys/modification_time"] > START
    assert parent["sys/tags"] == {"x", "z"}
    assert parent["sys/group_tags"] == {"group"}
    assert parent["sys/family"] == "parent"
    assert (fork["sys/forking/parent"], fork["sys/forking/step"]) == ("VIS-1", 1.0)
    assert (parent["sys/forking/depth"], fork["sys/forking/depth"]) == (0, 1)


def test_a_fork_shows_its_parents_points_and_has_its_configs(written: RunningServer) -> None:
    frame = runs.fetch_metrics(project=PROJECT, runs=["fork"], attributes=["loss"])
    assert frame.index.to_list() == [("fork", step) for step in (0.0, 0.5, 1.0, 2.0)]
    table = runs.fetch_runs_table(project=PROJECT, runs=["fork"], attributes=["text", "int"])
    assert table.loc["fork"].to_dict() == {"text": "mine", "int": 2**53 + 1}
