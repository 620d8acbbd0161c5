"""Loads into Pluto that were cut off, and runs that changed: what is gone on with, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.pluto import read_back, sending
from migration_pipeline.targets.pluto.naming import run_tag
from migration_pipeline.targets.target import LoadState
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    param,
    write_run,
)
from migration_pipeline_tests.servers.pluto.state import now_ms
from migration_pipeline_tests.targets.pluto_backend import account, make, server
from migration_pipeline_tests.targets.pluto_runs import NO_MAPPING, ROWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_changed_run_is_a_new_attempt_and_the_old_one_says_so(
    folder: Path, tmp_path: Path
) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    assert all(run.good for run in load_all(make(folder), archive).runs)
    write_run(archive, RunData("RUN-1", tuple(curve("m", 4))))
    assert all(run.good for run in load_all(make(folder), archive).runs)
    old, new = account(folder).runs.values()
    assert (old.status, old.config["neptune"]["state"]) == ("CANCELLED", "discarded")  # type: ignore[index]
    assert old.tags == ["import:neptune", "import:discarded", run_tag(RunKey(PROJECT, "RUN-1"))]
    assert new.external_id == f"neptune~2::{PROJECT}::RUN-1"
    assert make(folder).find(RunKey(PROJECT, "RUN-1"), NO_MAPPING).ids == (str(new.id),)


def test_text_that_may_have_arrived_is_not_sent_twice(folder: Path, tmp_path: Path) -> None:
    """The answer is lost: a new attempt has each line once. Points are sent into the same run."""
    rows = (*curve("m", 3), Row("log", "string_series", "line", "1", START))
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    for path, attempts in (("/ingest/metrics", 1), ("/ingest/data", 2)):
        there = folder / path.strip("/")
        target = make(there)
        send = target._to.client.send

        def lost(request: Any, path: str = path, send: Any = send, **options: Any) -> Any:
            answer = send(request, **options)
            if request.url.path == path:
                raise ConnectionResetError("the answer is lost")
            return answer

        target._to.client.send = lost  # type: ignore[method-assign]
        (run,) = load_all(target, archive).runs
        assert run.error is not None
        assert make(there).find(run.key, NO_MAPPING).state is LoadState.PARTIAL
        assert all(run.good for run in load_all(make(there), archive).runs)
        found = account(there)
        assert len(found.runs) == attempts
        last = found.of(PROJECT, attempts)
        assert [line["data"] for line in last.data] == ["line"]
        assert {name: len(points) for name, points in last.points.items()} == {"m": 3}


def test_a_run_whose_tags_were_removed_is_found_by_its_external_id(
    folder: Path, tmp_path: Path
) -> None:
    """Listings cannot be asked for external ids, but no second run of one can be made."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    assert all(run.good for run in load_all(make(folder), archive).runs)
    (run,) = account(folder).runs.values()
    run.tags = []
    result = load_all(make(folder), archive)
    assert all(run.good for run in result.runs)
    states = {r.external_id: r.config["neptune"]["state"] for r in account(folder).runs.values()}  # type: ignore[index]
    assert states == {
        f"neptune::{PROJECT}::RUN-1": "discarded",
        f"neptune~2::{PROJECT}::RUN-1": "complete",
    }


def test_the_monitor_of_stale_runs_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """In the middle of a load, and after it: the status is final from the beginning, and healed
    where the monitor came between."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    target = make(folder)
    send = target._to.client.send

    def reaped(request: Any, **options: Any) -> Any:
        answer = send(request, **options)
        (run,) = account(folder).runs.values() or (None,)
        if run and request.url.path == "/ingest/metrics":
            run.finish("RUNNING", 0)  # as somebody's resume would
        account(folder).reap(now_ms())
        return answer

    target._to.client.send = reaped  # type: ignore[method-assign]
    assert all(run.good for run in load_all(target, archive).runs)
    (run,) = account(folder).runs.values()
    assert (run.status, run.status_updated) == ("COMPLETED", START + 1000)
    account(folder).reap(now_ms())
    assert run.status == "COMPLETED"


def test_points_and_files_that_are_shown_late_are_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server(), "slow", 0.4)
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))
    assert [
        str(run.error or run.verdict)
        for run in load_all(make(folder), archive).runs
        if not run.good
    ] == []
    monkeypatch.setattr(server(), "slow", 3600.0)
    monkeypatch.setattr(sending, "SEEN_SECONDS", 0.2)
    (run,) = load_all(make(tmp_path / "other"), archive).runs
    assert "it took points and does not show it" in str(run.error)
    assert make(tmp_path / "other").find(run.key, NO_MAPPING).state is LoadState.PARTIAL


def test_a_series_longer_than_a_page_is_read_in_stretches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point of it, and no point twice; with a page of 10 as with one of 10,000."""
    monkeypatch.setattr(read_back, "METRIC_POINTS_PER_PAGE", 10)
    monkeypatch.setattr(read_back, "_TOGETHER", 0)
    rows = (
        *curve("long", 137),
        *floats("far", [(str(10**i), START + i, float(i)) for i in range(12)]),
    )
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    assert [
        str(run.error or run.verdict)
        for run in load_all(make(folder), archive).runs
        if not run.good
    ] == []


def test_a_run_that_another_process_has_begun_anew_is_read_there(
    folder: Path, tmp_path: Path
) -> None:
    """What is known of a run is looked at again when it turns out to be discarded."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    target, other = make(folder), make(folder)
    assert all(run.good for run in load_all(target, archive).runs)
    key = write_run(archive, RunData("RUN-1", (*curve("m", 4), param("sys/name", "string", "new"))))
    assert all(run.good for run in load_all(other, archive).runs)
    assert target.facts(key, NO_MAPPING).name == "new"
    other.discard(key, NO_MAPPING)
    with pytest.raises(TargetRefusedError, match="is not at"):
        target.facts(key, NO_MAPPING)
