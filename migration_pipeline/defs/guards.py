"""What a step makes sure of before it begins, because it may not be the only one at work.

Steps of one run may be done by workers on several machines, long after somebody ended the run, and
a second run of the same project may have been started by cron, by the page or by hand. Runs and
their states in Dagster's storage, which all of them share, are the lock.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.runs import SqlRunStorage
from sqlalchemy import text

import migration_pipeline
from migration_pipeline.defs import liveness, partitions
from migration_pipeline.errors import (
    BusyProjectError,
    OtherCodeError,
    PartitionGoneError,
    RunEndedError,
)
from migration_pipeline.progress import still

PARTITION_TAG = "dagster/partition"
CODE = "code"
"""Name of the planning machine's code in what a plan hands to other steps."""
TURN = "migration/turn"
"""Holds a run's own id when it went on. Repeated runs inherit tags, but not ids."""
_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_UNDECIDED_SECONDS, _LOOK_SECONDS = 60.0, 0.2
"""How long a run is waited for that has started and not yet said whether it goes on."""


def _digest() -> str:
    root, hasher = Path(migration_pipeline.__file__).parent, hashlib.blake2b(digest_size=4)
    for module in sorted(root.rglob("*.py")):
        hasher.update(module.relative_to(root).as_posix().encode() + b"\0" + module.read_bytes())
    return hasher.hexdigest()


THIS_CODE = f"{migration_pipeline.__version__} ({_digest()})"
"""The version and a digest of all modules, for two checkouts of one version may differ. Taken when
this process imports them: what changes on disk later is not what it runs."""


@contextmanager
def begun(context: dg.OpExecutionContext, handed: dict[str, Any]) -> Iterator[None]:
    """`begin`, and nobody else is at the same step of the same run while the block runs.

    A broker that was away, or for which a step took too long, gives it to a second worker while
    the first is still at it. That one waits here. The lock is one of PostgreSQL's that end with
    their connection, and so with their process; with other storages there is one machine and no
    broker.
    """
    with _alone(context):
        begin(context, handed)
        yield


@contextmanager
def _alone(context: dg.OpExecutionContext) -> Iterator[None]:
    storage = context.instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        yield
        return
    with storage.connect() as connection:
        if connection.dialect.name == "postgresql":
            step = f"{context.run_id} {context.get_step_execution_context().step.key}"
            number = hashlib.blake2b(step.encode(), digest_size=8).digest()
            taken = text("SELECT pg_try_advisory_lock(:number)").bindparams(
                number=int.from_bytes(number, "big", signed=True)
            )
            with still(context.log.info, "another worker is at this step; waiting for it to end"):
                while not connection.execute(taken).scalar():
                    time.sleep(_LOOK_SECONDS)
        yield


def begin(context: dg.OpExecutionContext, handed: dict[str, Any]) -> None:
    """Before a step that another one planned.

    Args:
        handed: what the plan handed to the step.

    Raises:
        OtherCodeError: it was planned by other code than this worker's.
        RunEndedError: the run was ended while this step waited for a worker.
        PartitionGoneError: somebody deleted the project's partition meanwhile.
        BusyProjectError: the run repeats the steps of an earlier one, and another run is at work.
    """
    if handed[CODE] != THIS_CODE:
        raise OtherCodeError(socket.gethostname(), THIS_CODE, handed[CODE])
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and run.is_finished:
        raise RunEndedError(context.run_id)
    name = str(partitions.projects.name)
    if not context.instance.has_dynamic_partition(name, context.partition_key):
        raise PartitionGoneError(context.partition_key)
    if run is not None and not _went_on(run):
        refuse_second(context, handed["project"])


def refuse_second(context: dg.OpExecutionContext, project: str) -> None:
    """Before the first step of a project: of several runs that do the same, one goes on.

    Every run is in the storage as started before it looks at the others, and writes `TURN` when it
    goes on. Where it sees one that was made before it, or one that went on, it gives up. One that
    was made after it may have looked before this one started, so it is waited for until it has
    gone on or given up. So two never go on, and not all give up, in whatever order they start,
    look and write; clocks have no part in it. (Mutual exclusion by one bit each: Burns, Lamport.)

    Raises:
        BusyProjectError: another run is at work on the same assets of this project.
    """
    liveness.sign(context)
    until = time.monotonic() + _UNDECIDED_SECONDS
    closed: int | None = None
    while True:
        mine, others = _at_work(context)
        if mine is None or _went_on(mine.dagster_run):  # None: of a storage that keeps no runs
            return
        if not others:
            break
        if closed is None:
            closed = liveness.close_dead_runs(context.instance)
            continue
        before = [r for r in others if r.storage_id < mine.storage_id or _went_on(r.dagster_run)]
        if before or time.monotonic() > until:
            first = (before or others)[0]
            began = datetime.fromtimestamp(first.start_time or 0, UTC)
            raise BusyProjectError(
                project, first.dagster_run.run_id, f"{began:%Y-%m-%d %H:%M:%S} UTC"
            )
        time.sleep(_LOOK_SECONDS)
    context.instance.add_run_tags(context.run_id, {TURN: context.run_id})


def _went_on(run: dg.DagsterRun) -> bool:
    return run.tags.get(TURN) == run.run_id


def _at_work(context: dg.OpExecutionContext) -> tuple[dg.RunRecord | None, list[dg.RunRecord]]:
    """This run, and the others that are at work on the same assets of this partition."""
    tags = {PARTITION_TAG: context.partition_key}
    at_work = dg.RunsFilter(tags=tags, statuses=_AT_WORK)
    records = {r.dagster_run.run_id: r for r in context.instance.get_run_records(at_work)}
    mine = records.pop(context.run_id, None)
    if mine is None:
        return None, []
    return mine, [record for record in records.values() if _overlap(record, mine)]


def _overlap(one: dg.RunRecord, other: dg.RunRecord) -> bool:
    """Whether they make an asset in common; a run that names none makes all of its job."""
    first, second = one.dagster_run.asset_selection, other.dagster_run.asset_selection
    return first is None or second is None or bool(first & second)
