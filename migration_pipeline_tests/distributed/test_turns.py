"""Two runs on one project at the same moment, in every order of what they write and see; and two
workers at one step."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from migration_pipeline import progress
from migration_pipeline.defs import guards, liveness
from migration_pipeline.errors import BusyProjectError
from migration_pipeline_tests.distributed.machines import machines
from migration_pipeline_tests.targets.stores import postgres_database

OPERATIONS = 3
"""Of a run that is alone: it starts, looks, writes that it goes on."""
SCHEDULES = [
    "".join("A" if i in of_first else "B" for i in range(2 * OPERATIONS))
    for of_first in itertools.combinations(range(2 * OPERATIONS), OPERATIONS)
]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Turnstile:
    """One operation at a time, in the order of a schedule; what it does not say goes freely."""

    def __init__(self, schedule: str) -> None:
        self._left = list(schedule)
        self._changed = threading.Condition()

    @contextmanager
    def __call__(self, who: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._left or self._left[0] == who)
            if self._left:
                del self._left[0]
            yield
            self._changed.notify_all()

    def leave(self, who: str) -> None:
        with self._changed:
            self._left = [one for one in self._left if one != who]
            self._changed.notify_all()


class Contender:
    """A run that starts and asks whether it may go on, operation by operation."""

    def __init__(
        self,
        name: str,
        partition: str,
        instance: dg.DagsterInstance,
        began: datetime,
        turnstile: Turnstile,
    ) -> None:
        tags = {guards.PARTITION_TAG: partition, liveness.TAG: liveness.this_process()}
        self.run = dg.DagsterRun(job_name="migrate_project", tags=tags)
        instance.add_run(self.run)
        self.name, self.run_id, self.partition_key = name, self.run.run_id, partition
        self.outcome = "died"
        self._real, self._began, self._turnstile = instance, began, turnstile

    @property
    def instance(self) -> Any:
        real = self._real
        return SimpleNamespace(
            get_run_by_id=real.get_run_by_id,
            get_runs=real.get_runs,
            get_run_records=self._gated(real.get_run_records),
            add_run_tags=self._gated(real.add_run_tags),
        )

    def _gated(self, operation: Any) -> Any:
        def gated(*arguments: Any) -> Any:
            with self._turnstile(self.name):
                return operation(*arguments)

        return gated

    def contend(self) -> None:
        try:
            self._report(dg.DagsterEventType.RUN_START)
            guards.refuse_second(self, self.partition_key)  # type: ignore[arg-type]
            self.outcome = "went on"
        except BusyProjectError:
            self._report(dg.DagsterEventType.RUN_FAILURE)
            self.outcome = "gave up"
        finally:
            self._turnstile.leave(self.name)

    def _report(self, kind: dg.DagsterEventType) -> None:
        event = dg.DagsterEvent(event_type_value=kind.value, job_name=self.run.job_name)
        self._gated(self._real.handle_run_event)(self.run_id, event, self._began)


@contextmanager
def on_postgres(folder: Path) -> Iterator[dg.DagsterInstance]:
    with (
        postgres_database() as database,
        machines(folder, DAGSTER_POSTGRES_URL=database) as made,
        made.instance() as opened,
    ):
        yield opened


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    sqlite = request.param == "SQLite"
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) if sqlite else on_postgres(tmp_path)
    ) as opened:
        yield opened


def test_of_two_runs_one_goes_on_in_whatever_order_they_start_look_and_write(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's clock is an hour ahead of the other's, then behind it."""
    monkeypatch.setattr(guards, "_LOOK_SECONDS", 0.001)
    for number, schedule in enumerate(SCHEDULES):
        turnstile = Turnstile(schedule)
        ahead = timedelta(hours=(-1) ** number)
        pair = [
            Contender("A", schedule, instance, NOON + ahead, turnstile),
            Contender("B", schedule, instance, NOON, turnstile),
        ]
        threads = [threading.Thread(target=one.contend) for one in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.outcome for one in pair) == ["gave up", "went on"], schedule


class Worker(threading.Thread):
    """Does a step that takes until it is told to end."""

    def __init__(self, instance: dg.DagsterInstance, step: str) -> None:
        super().__init__(daemon=True)
        self.said: list[str] = []
        self.at_it, self.end = threading.Event(), threading.Event()
        self._context: Any = SimpleNamespace(
            instance=instance,
            run_id="run",
            log=SimpleNamespace(info=self.said.append),
            get_step_execution_context=lambda: SimpleNamespace(step=SimpleNamespace(key=step)),
        )
        self.start()

    def run(self) -> None:
        with guards._alone(self._context):
            self.at_it.set()
            self.end.wait()


def test_a_step_that_is_given_out_twice_waits_for_the_first_and_not_for_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    with on_postgres(tmp_path) as instance:
        first = Worker(instance, "chunk[c1]")
        assert first.at_it.wait(60)
        second, other = Worker(instance, "chunk[c1]"), Worker(instance, "chunk[c2]")
        assert other.at_it.wait(60)
        while not second.said:
            assert second.is_alive()
        assert second.said[0].startswith("another worker is at this step; waiting for it to end: ")
        assert not second.at_it.is_set()
        first.end.set()
        assert second.at_it.wait(60)

        third = Worker(instance, "chunk[c1]")
        while not third.said:
            assert third.is_alive()
        assert not third.at_it.is_set()
        with instance.run_storage.connect() as connection:  # what is left when a process dies
            dead = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON "
            dead += "d.oid = database WHERE locktype = 'advisory' AND datname = current_database()"
            connection.execute(text(dead))
        assert third.at_it.wait(60)
        for worker in (second, other, third):
            worker.end.set()
            worker.join()
