"""Whose points a fork shows: the examples of the vendor's end-to-end tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import neptune_query
import pytest
from neptune_query import runs

from migration_pipeline.neptune_server import RunningServer, Store
from migration_pipeline.neptune_server.lineage import Scope, float_points, object_points, owners
from migration_pipeline.neptune_server.store import Run

from .conftest import NOON, PROJECT, add_points

FULL, OWN, EXPERIMENT = Scope(True, False), Scope(False, False), Scope(False, True)


@pytest.fixture
def store() -> Store:
    """A (0-4) in experiment P; B forks A at 4, logs 5-8; C forks B at 8, logs 9-11; B, C in Q."""
    store = Store()
    project = store.project(PROJECT)
    a = project.create_run("A", experiment="P")
    b = project.create_run("B", experiment="Q", parent="A", fork_step=4)
    c = project.create_run("C", experiment="Q", parent="B", fork_step=8)
    for run, steps in ((a, range(5)), (b, range(5, 9)), (c, range(9, 12))):
        add_points(run, "loss", list(steps))
        run.extend_series(
            "log", "string_series", [(s, NOON + s, f"{run.run_id}{s}") for s in steps]
        )
    return store


def run_of(store: Store, name: str) -> Run:
    run = store.project(PROJECT).find(name)
    assert run is not None
    return run


def steps_of(run: Run, scope: Scope, path: str = "loss") -> list[float]:
    points = float_points(run, path, scope, previews=False)
    return [] if points is None else points.steps.tolist()


def test_the_three_scopes(store: Store) -> None:
    c = run_of(store, "C")
    assert steps_of(c, FULL) == list(range(12))
    assert steps_of(c, EXPERIMENT) == list(range(5, 12))
    assert steps_of(c, OWN) == list(range(9, 12))
    log = object_points(c, "log", EXPERIMENT)
    assert log is not None
    assert log.values == ["B5", "B6", "B7", "B8", "C9", "C10", "C11"]


def test_the_same_through_the_client(store: Store, serve: Callable[[Store], RunningServer]) -> None:
    serve(store)

    def steps(frame: object) -> list[float]:
        return [step for _, step in frame.index]  # type: ignore[attr-defined]

    for fetch, path in ((neptune_query.fetch_metrics, "loss"), (neptune_query.fetch_series, "log")):
        full = fetch(project=PROJECT, experiments=["Q"], attributes=[path])
        own = fetch(
            project=PROJECT, experiments=["Q"], attributes=[path], lineage_to_the_root=False
        )
        assert steps(full) == list(range(12))
        assert steps(own) == list(range(5, 12))
    alone = runs.fetch_metrics(
        project=PROJECT, runs=["C"], attributes=["loss"], lineage_to_the_root=False
    )
    assert steps(alone) == [9, 10, 11]
    early = runs.fetch_metrics(project=PROJECT, runs=["C"], attributes=["loss"], step_range=(0, 4))
    assert steps(early) == [0, 1, 2, 3, 4]
    tail = runs.fetch_metrics(project=PROJECT, runs=["C"], attributes=["loss"], tail_limit=5)
    assert steps(tail) == [7, 8, 9, 10, 11]


def test_every_fork_step_on_the_way_clips(store: Store) -> None:
    project = store.project(PROJECT)
    late = project.create_run("late", parent="C", fork_step=6)
    assert steps_of(late, FULL) == list(range(7))
    beyond = project.create_run("beyond", parent="A", fork_step=100)
    add_points(beyond, "loss", [101])
    assert steps_of(beyond, FULL) == [0, 1, 2, 3, 4, 101]
    assert [limit for _, limit in owners(late, FULL)] == [math.inf, 6, 6, 4]


def test_inherited_points_keep_their_times_and_the_child_wins_at_the_fork_step(
    store: Store,
) -> None:
    child = store.project(PROJECT).create_run("child", parent="A", fork_step=2)
    child.extend_float_series("loss", [2, 3], [5, 6], [-2, -3])
    points = float_points(child, "loss", FULL, previews=False)
    assert points is not None
    assert points.steps.tolist() == [0, 1, 2, 3]
    assert points.values.tolist() == [0, 1, -2, -3]
    assert points.timestamps.tolist() == [NOON, NOON + 1000, 5, 6]


def test_an_ancestor_of_another_experiment_is_left_out(store: Store) -> None:
    project = store.project(PROJECT)
    d = project.create_run("D", experiment="P", parent="C", fork_step=10)
    add_points(d, "loss", [12])
    assert steps_of(d, EXPERIMENT) == [0, 1, 2, 3, 4, 12]


def test_a_series_that_only_the_parent_has(store: Store) -> None:
    add_points(run_of(store, "A"), "only", [0, 1])
    assert steps_of(run_of(store, "B"), FULL, "only") == [0, 1]
    assert float_points(run_of(store, "B"), "only", OWN, previews=False) is None


def test_a_circle_of_forks_ends(store: Store) -> None:
    run_of(store, "A").parent = run_of(store, "C")
    assert steps_of(run_of(store, "C"), FULL) == list(range(12))
