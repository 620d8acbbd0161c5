"""Dagster runs whose process is gone: a killed `migrate` must not block the next one.

A killed process leaves its runs "started" and their slots in the pools taken. Runs that a launcher
started are watched by Dagster's daemon; those of `dagster job execute` by nobody. So they carry the
name of their process, and whoever migrates next closes those whose process is no more.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import dagster as dg

from migration_pipeline.defs import execution

TAG = "migration/process"
_UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def this_process() -> str:
    """Host, process id, and when it began: ids are used again."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def sign(context: dg.OpExecutionContext) -> None:
    """Writes this process into the run's tags, where it is the one that does the run."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or TAG in run.tags:
        return
    given: Any = run.run_config
    config = given.get("execution", {}).get("config") or {execution.chosen(): {}}
    if "in_process" in config:
        context.instance.add_run_tags(context.run_id, {TAG: this_process()})


def close_dead_runs(instance: dg.DagsterInstance) -> int:
    """Fails runs of this host whose process is gone and frees their slots; returns how many."""
    closed = 0
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, process = run.tags.get(TAG, "").partition(" ")
        if host == socket.gethostname() and not _lives(process):
            instance.report_run_failed(run, "Its process is gone; the next start does the rest.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed += 1
    return closed


def _lives(process: str) -> bool:
    pid, _, began = process.partition(" ")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _began(int(pid)) == began


def _began(pid: int) -> str:
    """Clock ticks from boot to its start; empty where the system has no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
