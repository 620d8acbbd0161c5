"""A server that gives less than it was asked for, at every endpoint: nothing is lost or doubled."""

from __future__ import annotations

import pytest

from migration_pipeline.neptune_server.store import HistogramValue, Project
from migration_pipeline.sources.neptune3 import series, source, tasks, values
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import NOON, Exported, add_points, points_of

COUNTS = (0, 1, 6, 7, 8, 14, 50)
RUNS = ("a", "b")


@pytest.fixture(autouse=True)
def runs(project: Project) -> None:
    for name in RUNS:
        run = project.create_run(name)
        for count in COUNTS:
            run.set(f"n/{count}", "int", count)
            steps = [i * 0.29 for i in range(count)]
            add_points(run, f"loss/{count}", steps)
            texts = [(s, NOON + i, f"{name} {i}") for i, s in enumerate(steps)]
            run.extend_series(f"log/{count}", "string_series", texts)
        histograms = [
            (float(i), NOON, HistogramValue("COUNTING", (0.0, 1.0), (float(i),))) for i in range(4)
        ]
        run.extend_series("hist", "histogram_series", histograms)
        stored = [run.set_file(f"f/{i}", b"%d" % i, f"{name}/{i}.txt", "") for i in range(4)]
        images = [(float(i), NOON, file) for i, file in enumerate(stored)]
        run.extend_series("images", "file_series", images)


def assert_complete(exported: Exported) -> None:
    assert exported.runs == set(RUNS)
    for name in RUNS:
        found = exported.values(name)
        assert [found[f"n/{count}"] for count in COUNTS] == list(COUNTS)
        assert [found[f"f/{i}"] for i in range(4)] == [b"%d" % i for i in range(4)]
        for count in COUNTS:
            steps = [i * 0.29 for i in range(count)]
            assert exported.series(name, f"loss/{count}") == points_of(steps)
            assert exported.series(name, f"log/{count}") == [
                (step, NOON + i, f"{name} {i}") for i, (step, _, _) in enumerate(points_of(steps))
            ]
        assert [h["values"] for _, _, h in exported.series(name, "hist")] == [
            [float(i)] for i in range(4)
        ]
        images = exported.series(name, "images")
        assert images == [(i * 10**6, NOON, b"%d" % i) for i in range(4)]


@pytest.mark.parametrize(
    "limits",
    [
        {"float_points": 7},
        {"float_points": 1},
        {"series_points": 7},
        {"series_points": 1},
        {"values": 3},
        {"search": 1},
        {"float_points": 3, "series_points": 3, "values": 2, "search": 2},
    ],
)
def test_pages_smaller_than_asked_for(exported: Exported, limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        setattr(exported.server.faults.limits, name, limit)
    exported.export_all()
    assert_complete(exported)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pages_of_our_own(exported: Exported, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(series, "POINTS_PER_REQUEST", size)
    monkeypatch.setattr(values, "PAGE_VALUES", size)
    monkeypatch.setattr(tasks, "FLOAT_SERIES_PER_REQUEST", 4)
    monkeypatch.setattr(tasks, "OTHER_SERIES_PER_REQUEST", 3)
    monkeypatch.setattr(tasks, "FILES_PER_REQUEST", 2)
    monkeypatch.setattr(source, "GROUP_RUNS", 2)
    exported.export_all()
    assert_complete(exported)


@pytest.mark.parametrize("cap", [None, 1, 2, 3])
def test_previews_behind_the_last_point_are_paged_too(
    exported: Exported, project: Project, cap: int | None
) -> None:
    """The server's last step is that of the last ordinary point."""
    run = project.create_run("previews")
    add_points(run, "loss", [0.0, 1.0])
    run.float_series("loss").previews = {s: (NOON + 9, s, 0.5) for s in (2.0, 3.0, 4.0, 5.0)}
    exported.server.faults.limits.float_points = cap
    exported.export_all(Selection(run_ids=("previews",), previews=True))
    assert exported.series("previews", "loss") == [
        *points_of([0.0, 1.0]),
        *((int(s) * 10**6, NOON + 9, s) for s in (2.0, 3.0, 4.0, 5.0)),
    ]


def test_previews_that_were_left_out_are_exported_when_asked_for(
    exported: Exported, project: Project
) -> None:
    run = project.create_run("later")
    add_points(run, "loss", [0.0])
    run.float_series("loss").previews = {1.0: (NOON + 9, 1.0, 0.5)}
    exported.export_all(Selection(run_ids=("later",)))
    assert exported.series("later", "loss") == points_of([0.0])
    exported.export_all(Selection(run_ids=("later",), previews=True))
    assert exported.series("later", "loss") == [*points_of([0.0]), (10**6, NOON + 9, 1.0)]
    exported.export_all(Selection(run_ids=("later",)))  # what is there is more than is asked for
    assert len(exported.series("later", "loss")) == 2


def test_requests_for_a_whole_project_are_few(exported: Exported) -> None:
    """Values, float series, other series and signatures of two runs: one request each."""
    exported.source.list_projects()
    exported.server.traffic.reset()
    exported.export_all()
    asked = {name.rpartition("/v1/")[2]: n for name, n in exported.server.requests.items()}
    downloads = asked.pop("GET /storage/gcp")
    assert downloads == 2 * 8
    assert asked == {
        "projects/get": 1,
        "proto/leaderboard/entries/search": 1,
        "proto/leaderboard/attributes/query": 1,
        "proto/attributes/series/float": 1,
        "proto/attributes/series": 1,
        "signedUrl": 2,
    }
