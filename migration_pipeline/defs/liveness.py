"""Dagster runs whose process is gone: a killed `migrate` must not block the next one.

A killed process leaves its runs "started" and their slots in the pools taken. Runs that a launcher
started are watched by Dagster's daemon; those of `dagster job execute` by nobody. So they carry the
name of their process, and whoever migrates next closes those whose process is no more.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from migration_pipeline.archive.lease import is_gone, this_process
from migration_pipeline.defs import execution

__all__ = ["TAG", "close_dead_runs", "sign", "this_process"]

TAG = "migration/process"
_UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def sign(context: dg.OpExecutionContext) -> None:
    """Writes this process into the run's tags, where it is the one that does the run."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or run.tags.get(TAG) == this_process():
        return
    given: Any = run.run_config
    config = given.get("execution", {}).get("config") or {execution.chosen(): {}}
    if "in_process" in config:
        context.instance.add_run_tags(context.run_id, {TAG: this_process()})


def close_dead_runs(instance: dg.DagsterInstance) -> int:
    """Fails runs of this host whose process is gone and frees their slots; returns how many."""
    closed = 0
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        if is_gone(_process_of(run, instance)):
            instance.report_run_failed(run, "Its process is gone; the next start does the rest.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed += 1
    return closed


def _process_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    """Empty where it did not sign yet and has the tag of the run that it repeats."""
    signed = run.tags.get(TAG, "")
    repeated = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return "" if repeated is not None and repeated.tags.get(TAG) == signed else signed
