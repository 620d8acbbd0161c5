"""Where attributes are read from: tables for most, the object itself where a table may not know."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migration_pipeline.errors import IncompleteAnswerError, RunGoneError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2 import creation
from migration_pipeline.neptune_server.store import Attribute, Project, Run, Store
from migration_pipeline.sources.neptune2 import reader, values
from migration_pipeline.sources.source import Rows, RunDone, Selection
from migration_pipeline_tests.sources.protocols import NEPTUNE2
from migration_pipeline_tests.sources.serving import Exported, add_points, long_ago

RUNS = Selection(kinds=("run",))
TABLE = "POST /api/leaderboard/v1/leaderboard/entries/search"
ITSELF = "GET /api/leaderboard/v1/attributes"


@contextmanager
def seconds_ago(store: Store, seconds: int) -> Iterator[None]:
    clock = store.clock
    store.clock = lambda: clock() - 1000 * seconds
    try:
        yield
    finally:
        store.clock = clock


def old_runs(project: Project, count: int, attributes: int = 3) -> list[Run]:
    with long_ago(project.store):
        made = [creation.create_run(project) for _ in range(count)]
        for i, run in enumerate(made):
            for number in range(attributes):
                run.set(f"n/{number}", "int", 100 * i + number)
    return made


def assert_whole(exported: Exported, runs: list[Run], attributes: int = 3) -> None:
    assert exported.runs == {run.sys_id for run in runs}
    for run in runs:
        assert exported.values(run.sys_id) == {
            path: one.value for path, one in run.attributes.items() if path.startswith("n/")
        }
        assert len(exported.values(run.sys_id)) == attributes


@pytest.mark.parametrize(("seconds", "by_itself"), [(0, True), (170, True), (190, False)])
@pytest.mark.parametrize("what", ["modification", "ping"])
def test_what_was_touched_of_late_is_read_from_itself(
    exported: Exported, project: Project, what: str, seconds: int, by_itself: bool
) -> None:
    """A table lags behind by up to a minute; the object knows. The clock is the server's."""
    runs = old_runs(project, 3)
    with seconds_ago(project.store, seconds):
        touched = Attribute("datetime", project.store.clock())
    runs[1].attributes[f"sys/{what}_time"] = touched
    project.store.changes += 1
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert exported.server.requests.get(ITSELF, 0) == by_itself


def test_a_run_that_the_table_does_not_have_yet_is_read_from_itself(
    exported: Exported, project: Project
) -> None:
    runs = old_runs(project, 3)
    nothing = json.dumps({"matchingItemCount": 0, "entries": []}).encode()
    exported.server.faults.add(NEPTUNE2.fault_of_values(status=200, content=nothing))
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert exported.server.requests[ITSELF] == 3


def test_a_run_that_was_deleted_after_it_was_listed_is_named_and_costs_no_other(
    exported: Exported, project: Project
) -> None:
    runs = old_runs(project, 4)

    def delete(body: bytes) -> bool:
        if b"attributeFilters" not in body and runs[1].sys_id in project.runs:
            with project.store.lock:
                project.remove(runs[1])
                project.store.changes += 1
        return False

    exported.server.faults.add(Fault("entries/search", body=delete))
    exported.export(RUNS)
    assert_whole(exported, [runs[0], *runs[2:]])
    assert set(exported.failed) == {"TAB-2"}
    error = exported.failed["TAB-2"]
    assert isinstance(error, RunGoneError)
    assert "acme/vision|TAB-2" in str(error)
    assert "deleted after it was listed" in str(error)


def test_a_run_that_is_deleted_while_its_points_are_read_is_named(
    exported: Exported, project: Project
) -> None:
    runs = old_runs(project, 2)
    with long_ago(project.store):
        add_points(runs[1], "loss", [0.0])

    def delete(_: bytes) -> bool:
        with project.store.lock:
            if runs[1].sys_id in project.runs:
                project.remove(runs[1])
        return False

    exported.server.faults.add(Fault("series/float", body=delete))
    exported.export(RUNS)
    assert_whole(exported, runs[:1])
    assert set(exported.failed) == {"TAB-2"}
    assert isinstance(exported.failed["TAB-2"], RunGoneError)


def test_a_table_that_may_be_cut_is_not_trusted(
    exported: Exported, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its documentation speaks of 10,000 columns; the real number of what a run has may be more."""
    monkeypatch.setattr(values, "_MAX_COLUMNS", 30)
    runs = old_runs(project, 3, attributes=40)
    exported.export_all(RUNS)
    assert_whole(exported, runs, attributes=40)
    assert exported.server.requests[ITSELF] == 3


@pytest.mark.parametrize("shown", [[], ["another UUID"]])
def test_a_table_of_other_objects_than_those_asked_for_is_no_answer(
    exported: Exported, project: Project, shown: list[str]
) -> None:
    old_runs(project, 2)
    entries = [{"experimentId": uuid, "shortId": "TAB-1", "attributes": []} for uuid in shown]
    table = json.dumps({"matchingItemCount": 9, "entries": entries}).encode()
    exported.server.faults.add(NEPTUNE2.fault_of_values(status=200, content=table))
    exported.export(RUNS)
    assert set(exported.failed) == {"TAB-1", "TAB-2"}
    for error in exported.failed.values():
        assert isinstance(error, IncompleteAnswerError)
        assert "shows other objects in a table than those that it was asked for" in str(error)


@pytest.mark.parametrize("cap", [None, 1, 2])
def test_tables_are_asked_for_many_runs_at_once_and_small_pages_lose_none(
    exported: Exported, project: Project, cap: int | None
) -> None:
    runs = old_runs(project, 7)
    exported.server.faults.limits.search = cap
    exported.export_all(RUNS)
    assert_whole(exported, runs)
    assert ITSELF not in exported.server.requests
    pages = 1 if cap is None else -(-7 // cap)
    assert exported.server.requests[TABLE] == 2 * pages


def test_runs_of_many_attributes_come_in_smaller_pages(
    exported: Exported, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer's size is bounded by what the runs before had."""
    monkeypatch.setattr(reader, "MANY_ATTRIBUTES", 110)
    runs = old_runs(project, 55, attributes=40)  # and 13 of Neptune's own
    asked: list[int] = []

    def note(body: bytes) -> bool:
        if b"attributeFilters" not in body:
            asked.append(json.loads(body)["pagination"]["limit"])
        return False

    exported.server.faults.add(Fault("entries/search", body=note))
    exported.export_all(RUNS)
    assert_whole(exported, runs, attributes=40)
    assert asked == [50, 2, 2, 1]


def test_a_thousand_runs_of_parameters_take_a_fiftieth_of_a_request_each(
    exported: Exported, project: Project, tmp_path: Path
) -> None:
    """Handshake and everything else included."""
    runs = old_runs(project, 1_000, attributes=24)
    selection = Selection()
    listed = exported.source.list_runs(exported.project, selection)
    rows: Counter[str] = Counter()
    done = set()
    for event in exported.source.read(listed, selection, tmp_path):
        if isinstance(event, Rows):
            rows[event.run.key.run] += event.batch.num_rows
        elif isinstance(event, RunDone):
            done.add(event.run.key.run)
    assert done == {run.sys_id for run in runs} | {"TAB"}
    assert {run.sys_id: len(run.attributes) for run in runs}.items() <= rows.items()
    assert sum(exported.server.requests.values()) <= 20


def test_objects_of_all_kinds_are_exported_together(exported: Exported, project: Project) -> None:
    with long_ago(project.store):
        run = creation.create_run(project)
        model = creation.create_model(project, "NET")
        version = creation.create_model_version(model)
    metadata = creation.metadata(project)
    for number, one in enumerate((run, model, version, metadata)):
        one.set("n/0", "int", number)
    exported.export_all()
    found = {
        (key.kind, key.run): {
            row["attribute_path"]: row["int_value"] or row["string_value"]
            for batch in archived.batches()
            for row in batch.to_pylist()
        }
        for key, archived in exported.archive.runs(exported.project).items()
    }
    assert {key: of["n/0"] or 0 for key, of in found.items()} == {
        ("run", "TAB-1"): 0,
        ("model", "TAB-NET"): 1,
        ("model_version", "TAB-NET-1"): 2,
        ("project", "TAB"): 3,
    }
    assert found["model_version", "TAB-NET-1"]["sys/model_id"] == "TAB-NET"
    assert {m.parent for m in exported.report.exported} == {None}
    assert exported.export_all().due == []
