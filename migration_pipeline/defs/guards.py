"""What a step makes sure of before it begins, because it may not be the only one at work.

Steps of one run may be done by workers on several machines, long after somebody ended the run, and
a second run of the same project may have been started by cron, by the page or by hand. Runs and
their states in Dagster's storage, which all of them share, are the lock.
"""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

import migration_pipeline
from migration_pipeline.defs import liveness
from migration_pipeline.errors import BusyProjectError, OtherCodeError, RunEndedError

PARTITION_TAG = "dagster/partition"
CODE = "code"
"""Name of the planning machine's code in what a plan hands to other steps."""
_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def _digest() -> str:
    root, hasher = Path(migration_pipeline.__file__).parent, hashlib.blake2b(digest_size=4)
    for module in sorted(root.rglob("*.py")):
        hasher.update(module.relative_to(root).as_posix().encode() + b"\0" + module.read_bytes())
    return hasher.hexdigest()


THIS_CODE = f"{migration_pipeline.__version__} ({_digest()})"
"""The version and a digest of all modules, for two checkouts of one version may differ. Taken when
this process imports them: what changes on disk later is not what it runs."""


def begin(context: dg.OpExecutionContext, *handed: dict[str, Any]) -> None:
    """Before a step that another one planned.

    Args:
        handed: what the plan handed to the step.

    Raises:
        OtherCodeError: it was planned by other code than this worker's.
        RunEndedError: the run was ended while this step waited for a worker.
    """
    for payload in handed:
        if payload[CODE] != THIS_CODE:
            raise OtherCodeError(socket.gethostname(), THIS_CODE, payload[CODE])
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and run.is_finished:
        raise RunEndedError(context.run_id)


def refuse_second(context: dg.OpExecutionContext, project: str) -> None:
    """Before the first step of a project: of two runs that do the same, the later one gives up.

    Both are in the storage as started before either looks, so never both go on, whichever looks
    first. Their starts are compared by the clocks of their machines.

    Raises:
        BusyProjectError: an earlier run is at work on the same assets of this project.
    """
    liveness.sign(context)
    if _earlier(context):
        liveness.close_dead_runs(context.instance)
        if other := _earlier(context):
            began = datetime.fromtimestamp(other.start_time or 0, UTC)
            raise BusyProjectError(
                project, other.dagster_run.run_id, f"{began:%Y-%m-%d %H:%M:%S} UTC"
            )


def _earlier(context: dg.OpExecutionContext) -> dg.RunRecord | None:
    """The first of the other runs at work on this partition."""
    tags = {PARTITION_TAG: context.partition_key}
    at_work = dg.RunsFilter(tags=tags, statuses=_AT_WORK)
    records = {r.dagster_run.run_id: r for r in context.instance.get_run_records(at_work)}
    mine = records.pop(context.run_id, None)
    if mine is None:  # ended, or of a storage that does not keep it
        return None
    others = [r for r in records.values() if _order(r) < _order(mine) and _overlap(r, mine)]
    return min(others, key=_order, default=None)


def _order(record: dg.RunRecord) -> tuple[float, int]:
    return record.start_time or 0.0, record.storage_id


def _overlap(one: dg.RunRecord, other: dg.RunRecord) -> bool:
    """Whether they make an asset in common; a run that names none makes all of its job."""
    first, second = one.dagster_run.asset_selection, other.dagster_run.asset_selection
    return first is None or second is None or bool(first & second)
