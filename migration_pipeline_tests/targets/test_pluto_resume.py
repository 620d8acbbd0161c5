"""Loads into Pluto that were cut off, and runs that changed: what is gone on with, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.pluto import connection, read_back, sending
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
from migration_pipeline_tests.targets.pluto_backend import account, make, server, whole
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


@pytest.mark.parametrize("keyed", [lambda line: "FILE", lambda line: line["fileType"]])
def test_addresses_of_files_may_be_keyed_by_their_type(
    folder: Path, tmp_path: Path, keyed: Callable[[Any], str]
) -> None:
    """As the SDK takes them to be; two files of one name are still two."""
    rows = (
        Row("one/img", "file_series", b"one", "1", START),
        Row("two/img", "file_series", b"two", "1", START),
    )
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", rows),)))
    target = make(folder)
    presign = target._to.presign

    def by_type(project: str, run: int, files: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for log, found in presign(project, run, files).items():
            (kind,) = {keyed(line) for line in files if line["logName"] == log}
            answer.setdefault(kind, []).extend(found)
        return answer

    target._to.presign = by_type  # type: ignore[method-assign]
    result = load_all(target, archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []


def test_a_file_without_an_address_is_no_complete_run(folder: Path, tmp_path: Path) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", (Row("f", "file", b"f"),)),)))
    target = make(folder)
    target._to.presign = lambda *_: {}  # type: ignore[method-assign]
    (run,) = load_all(target, archive).runs
    assert "gives no address to send files/f/f to" in str(run.error)
    assert target.find(run.key, NO_MAPPING).state is LoadState.PARTIAL


def test_files_of_a_series_with_a_long_name_come_back(folder: Path, tmp_path: Path) -> None:
    """Their names are cut, and no longer begin as those of a series do."""
    path = f"images/{'x' * 250}"
    rows = [Row(path, "file_series", str(i).encode(), str(i), START) for i in range(3)]
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(rows)),)))
    result = load_all(make(folder), archive)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []


def test_a_run_that_is_discarded_while_it_is_loaded_is_not_called_complete(
    folder: Path, tmp_path: Path
) -> None:
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    target, other = make(folder), make(folder)
    key = RunKey(PROJECT, "RUN-1")
    send = target._to.client.send

    def disturbed(request: Any, **options: Any) -> Any:
        answer = send(request, **options)
        if request.url.path == "/ingest/metrics":
            other.discard(key, NO_MAPPING)
        return answer

    target._to.client.send = disturbed  # type: ignore[method-assign]
    (run,) = load_all(target, archive).runs
    assert "was discarded while it was loaded" in str(run.error)
    assert other.find(key, NO_MAPPING).state is LoadState.ABSENT
    assert account(folder).runs[1].status == "CANCELLED"


def test_a_complete_run_that_a_listing_has_passed_over_is_not_discarded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or that another process has finished since."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", ROWS),)))
    assert all(run.good for run in load_all(make(folder), archive).runs)
    before = whole(folder)
    target = make(folder)
    monkeypatch.setattr(target, "runs", lambda *_: {})
    assert all(run.good for run in load_all(target, archive).runs)
    assert whole(folder) == before
    assert len(account(folder).runs) == 1


def test_nobody_waits_longer_than_their_patience() -> None:
    assert connection._when(connection._Again("busy", 2.0)) == 2.0
    assert connection._when(connection._Again("busy", 3600.0)) is False


def test_a_stretch_without_an_end_asks_for_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JavaScript has no such numbers as would stand for it."""
    monkeypatch.setattr(read_back, "_TOGETHER", 0)
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 3))),)))
    target = make(folder)
    asked: list[dict[str, Any]] = []
    get = target._to.get

    def noted(path: str, doing: str, **given: Any) -> Any:
        asked.append(given)
        return get(path, doing, **given)

    target._to.get = noted  # type: ignore[method-assign]
    assert all(run.good for run in load_all(target, archive).runs)
    assert {given["stepMax"] for given in asked if "stepMax" in given} == {2}
