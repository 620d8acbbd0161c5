"""What Dagster's events say of the steps of a project's runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg


@dataclass
class Steps:
    """Of all runs of one project; every question reads the events anew."""

    instance: dg.DagsterInstance
    project: str

    def begun(self, op: str) -> dict[str, str]:
        """Step → the worker that had it last."""
        return {
            str(event.step_key): str(event.engine_event_data.metadata["Celery worker"].value)
            for event in self._events(op)
            if event.is_engine_event and "Celery worker" in event.engine_event_data.metadata
        }

    def processes(self, op: str) -> dict[str, int]:
        """Step → the process that began it last."""
        return {
            str(event.step_key): event.pid
            for event in self._events(op)
            if event.is_step_start and event.pid is not None
        }

    def done(self, op: str) -> set[str]:
        return {str(event.step_key) for event in self._events(op) if event.is_step_success}

    def failed(self, op: str) -> set[str]:
        return {str(event.step_key) for event in self._events(op) if event.is_step_failure}

    def starts(self, step: str) -> int:
        return sum(event.is_step_start for event in self._events(step))

    def order(self, step: str) -> list[str]:
        """How a step began and ended, as often as it did."""
        told = (event for event in self._events(step) if event.is_step_start or _is_end(event))
        return [event.event_type_value for event in told]

    def intervals(self, op: str) -> list[tuple[float, float]]:
        """When each step of a run began and ended well."""
        began: dict[str, float] = {}
        found = []
        for entry, event in self._entries(op):
            if event.is_step_start:
                began[str(event.step_key)] = entry.timestamp
            elif event.is_step_success:
                found.append((began[str(event.step_key)], entry.timestamp))
        return found

    def _events(self, op: str) -> Iterator[dg.DagsterEvent]:
        for _, event in self._entries(op):
            yield event

    def _entries(self, op: str) -> Iterator[tuple[dg.EventLogEntry, dg.DagsterEvent]]:
        tagged = dg.RunsFilter(tags={"dagster/partition": self.project})
        for run in reversed(self.instance.get_runs(filters=tagged)):
            for entry in self.instance.all_logs(run.run_id):
                event = entry.dagster_event
                if event is not None and event.step_key and op in event.step_key:
                    yield entry, event


def _is_end(event: dg.DagsterEvent) -> bool:
    return event.is_step_success or event.is_step_failure
