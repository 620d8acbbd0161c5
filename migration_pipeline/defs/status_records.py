"""What Dagster's own records say of each project: runs there, and how the last attempts went.

Nothing else is asked: no source, no target, no archive. The records of a project are summed once;
what an earlier status has summed is taken from there, and only what came since is read. So a status
costs a query for each kind of record and one for each project, however much was moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import dagster as dg

from migration_pipeline.defs import console, partitions, records
from migration_pipeline.defs.checks import HELD, WHOLE
from migration_pipeline.defs.events import BATCH
from migration_pipeline.status.figures import ARCHIVE, REASONS_KEPT, Stage, state_of

EXPORT_STEPS = "neptune__export"
"""Before the dot in the keys of an export's steps."""
TOTAL, DUE, LEFT_OUT = "runs to be there", "runs due", "runs left out by decision"
DONE, POINTS, BYTES = "runs", "points", "bytes of files"
"""Figures that steps put beside their outputs, and records beside their runs."""
NEW, VERIFIED, UNCOUNTED = "runs new here", "runs verified", "runs whose points are not known"
"""The first two of a chunk's output, the others of the one record of all runs (`summarised`)."""
DAMAGED = "runs damaged"
"""Of an archive that was graded, in the one record of all runs (`examined`)."""
_RUNS = 10
"""Dagster runs of a project, the newest, among which the last attempts are searched."""
_TYPES = {
    dg.DagsterEventType.STEP_OUTPUT,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


@dataclass
class Sums:
    """Over the latest records of a project's runs.

    Args:
        last: id of the newest record that is in it.
        uncounted: records that do not say how many points the run has.
        at: seconds since 1970 when the one record was written that says all this; 0: none did.
        damaged: runs whose grade is that; `named` are the first of them, with the reasons.
    """

    count: int = 0
    last: int = 0
    points: int = 0
    bytes: int = 0
    uncounted: int = 0
    verified: int = 0
    at: float = 0.0
    damaged: int = 0
    named: list[list[str]] = field(default_factory=list)

    @classmethod
    def of_all_runs(cls, number: int, at: float, metadata: Mapping[str, dg.MetadataValue]) -> Sums:
        names = (DONE, POINTS, BYTES, UNCOUNTED, VERIFIED, DAMAGED)
        count, points, size, uncounted, verified, damaged = (_number(metadata, n) for n in names)
        return cls(count, number, points, size, uncounted, verified, at, damaged)

    def add(self, partition: str, metadata: Mapping[str, dg.MetadataValue]) -> None:
        self.points += _number(metadata, POINTS)
        self.bytes += _number(metadata, BYTES)
        self.uncounted += POINTS not in metadata
        self.verified += bool("verified" in metadata and metadata["verified"].value)
        if "grade" in metadata and metadata["grade"].value == "damaged":
            self.damaged += 1
            if len(self.named) < REASONS_KEPT:
                why = metadata["reasons"].value if "reasons" in metadata else ""
                self.named.append([partition, f"damaged: {why}"])


@dataclass
class Attempt:
    """What one or more Dagster runs, the newest first, did for one stage."""

    run_id: str = ""
    total: int | None = None
    due: int = 0
    left_out: int = 0
    planned_at: float = 0.0
    last_at: float = 0.0
    done: int = 0
    points: int = 0
    failed: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    bad: bool = False
    """A step failed, or a check did that is more than a warning."""
    ended: bool = False
    """Its last step ended."""
    running: bool = False


def stages_of(
    instance: dg.DagsterInstance, targets: Sequence[str], before: Mapping[str, Any], now: float
) -> tuple[list[Stage], dict[str, Any]]:
    """All projects' stages, and what a next call takes as `before`.

    Args:
        targets: names of all targets that may have records.
        before: of an earlier call, or empty.
    """
    keys = {ARCHIVE: records.EXPORTED, **{name: records.loaded(name) for name in targets}}
    there = {place: _by_project(instance, key) for place, key in keys.items()}
    used = [place for place, ids in there.items() if ids and place != ARCHIVE]
    known = instance.get_dynamic_partitions(str(partitions.projects.name))
    projects = sorted({*known, *(project for ids in there.values() for project in ids)})
    stages, seen = [], {}
    for project in projects:
        remembered = before.get(project, {})
        runs = instance.get_run_records(
            dg.RunsFilter(tags={"dagster/partition": project}), limit=_RUNS
        )
        sums = {
            place: _summed(instance, keys[place], ids[project], remembered.get(place))
            for place, ids in there.items()
            if project in ids
        }
        state = [[r.dagster_run.run_id, r.dagster_run.status.value] for r in runs]
        finished = all(r.dagster_run.is_finished for r in runs)
        if finished and sums == _sums_in(remembered) and state == remembered.get("runs"):
            found = [Stage.from_plain(plain) for plain in remembered["stages"]]
        else:
            rates = {s["place"]: s["rate"] for s in remembered.get("stages", ())}
            found = _stages(instance, project, runs, sums, targets, rates, now)
        stages += [*found, *_not_begun(found, used)]
        seen[project] = {
            **{place: asdict(one) for place, one in sums.items()},
            "runs": state,
            "stages": [stage.plain() for stage in found],
        }
    return stages, seen


def _by_project(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, list[int]]:
    """Project's partition → ids of the latest records of its runs. One query for all.

    Where a project's newest record is one for all its runs, it is the only one, and negative.
    """
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    found: dict[str, list[int]] = defaultdict(list)
    of_all: dict[str, int] = {}
    for partition, number in latest.items():
        project = partition.partition("|")[0]
        if partitions.is_all_runs(partition):
            of_all[project] = number
        else:
            found[project].append(number)
    for project, number in of_all.items():
        if number > max(found[project], default=0):
            found[project] = [-number]
    return found


def _not_begun(found: Sequence[Stage], used: Sequence[str]) -> list[Stage]:
    """Of a project that is in the archive: the targets that have runs of others and none of it."""
    (archive,) = (stage for stage in found if stage.place == ARCHIVE)
    left = set(used) - {stage.place for stage in found} if archive.there else ()
    return [
        Stage(archive.project, place, "not begun", total=archive.there, verified=0)
        for place in left
    ]


def _sums_in(remembered: Mapping[str, Any]) -> dict[str, Sums]:
    return {k: Sums(**v) for k, v in remembered.items() if k not in ("runs", "stages")}


def _summed(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    ids: Sequence[int],
    before: Mapping[str, Any] | None,
) -> Sums:
    if ids[0] < 0:
        return _of_all_runs(instance, key, -ids[0])
    sums = Sums(**before) if before and not before.get("at") else Sums()
    new = sorted(number for number in ids if number > sums.last)
    if len(ids) - len(new) != sums.count:  # some of those that were summed have newer records
        sums, new = Sums(), sorted(ids)
    for start in range(0, len(new), BATCH):
        some = dg.AssetRecordsFilter(key, storage_ids=new[start : start + BATCH])
        for one in instance.fetch_materializations(some, limit=BATCH).records:
            if one.asset_materialization:
                sums.add(str(one.partition_key), one.asset_materialization.metadata)
    sums.count, sums.last = len(ids), max(ids)
    return sums


def _of_all_runs(instance: dg.DagsterInstance, key: dg.AssetKey, number: int) -> Sums:
    one = dg.AssetRecordsFilter(key, storage_ids=[number])
    for record in instance.fetch_materializations(one, limit=1).records:
        if record.asset_materialization:
            return Sums.of_all_runs(number, record.timestamp, record.asset_materialization.metadata)
    return Sums(last=number)


def _with_later(
    instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord], step: str, sums: Sums
) -> Sums:
    """What one record said of all runs, and what chunks of a stage say that ended since."""
    later = replace(sums)
    for record in runs:
        if record.end_time and record.end_time < sums.at:
            continue
        run_id = record.dagster_run.run_id
        outputs = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
        for one in outputs.records:
            entry = one.event_log_entry
            if entry.timestamp <= sums.at or not (entry.step_key or "").startswith(f"{step}."):
                continue
            assert entry.dagster_event
            metadata = entry.dagster_event.step_output_data.metadata or {}
            later.count += _number(metadata, NEW)
            later.uncounted += _number(metadata, NEW)
            later.verified = min(later.verified + _number(metadata, VERIFIED), later.count)
    return later


def _stages(
    instance: dg.DagsterInstance,
    partition: str,
    runs: Sequence[dg.RunRecord],
    sums: Mapping[str, Sums],
    targets: Sequence[str],
    rates: Mapping[str, float | None],
    now: float,
) -> list[Stage]:
    steps = {f"{records.folder(name)}__load": name for name in targets} | {EXPORT_STEPS: ARCHIVE}
    attempts = _attempts(instance, runs, steps)
    sums = {
        place: _with_later(instance, runs, step, sums[place]) if sums[place].at else sums[place]
        for step, place in steps.items()
        if place in sums
    }
    exported = sums.get(ARCHIVE, Sums()).count
    found = []
    for place in (ARCHIVE, *targets):
        if place != ARCHIVE and place not in sums and place not in attempts:
            continue
        of, attempt = sums.get(place, Sums()), attempts.get(place, Attempt())
        if place == ARCHIVE:
            total, verified = max(attempt.total or 0, of.count), None
        else:
            total, verified = max(exported - attempt.left_out, of.count), of.verified
        seconds = (now if attempt.running else attempt.last_at) - attempt.planned_at
        moved = attempt.planned_at and attempt.points and seconds > 0
        left = max(0, attempt.due - attempt.done)
        found.append(
            Stage(
                project=_name(partition),
                place=place,
                state=state_of(
                    total=total,
                    there=of.count,
                    verified=verified,
                    failed=attempt.bad,
                    running=attempt.running,
                    stopped=bool(attempt.run_id) and not attempt.ended,
                    damaged=bool(of.damaged),
                ),
                total=total,
                there=of.count,
                verified=verified,
                failed=attempt.failed,
                damaged=of.damaged,
                points=of.points,
                bytes=of.bytes,
                uncounted=of.uncounted,
                rate=attempt.points / seconds if moved else rates.get(place),
                seconds_left=seconds / attempt.done * left
                if attempt.running and attempt.done
                else None,
                reasons=_reasons(of, attempt),
                attempt=attempt.run_id,
            )
        )
    return found


def _reasons(of: Sums, attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """What the last attempt says; of damaged runs that it does not name, what their records say."""
    named = {where for where, _ in attempt.reasons}
    recorded = sorted((where, what) for where, what in of.named if where not in named)
    return tuple([*attempt.reasons, *recorded][:REASONS_KEPT])


def _name(partition: str) -> str:
    try:
        return partitions.project_of(partition)
    except ValueError:  # it was cut, and the key is what can be read of it
        return partition


def _attempts(
    instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord], steps: Mapping[str, str]
) -> dict[str, Attempt]:
    """Place → its last attempt; runs are read until each place that they tried has its plan.

    A run that goes on from another's failure has no plan of its own: that of the other counts.
    """
    found: dict[str, Attempt] = {}
    wanted: set[str] | None = None
    for record in runs:
        run = record.dagster_run
        events: dict[str, list[dg.EventLogEntry]] = defaultdict(list)
        for one in instance.get_records_for_run(run.run_id, of_type=_TYPES).records:
            prefix = (one.event_log_entry.step_key or "").partition(".")[0]
            if prefix in steps:
                events[steps[prefix]].append(one.event_log_entry)
        for place, of_place in events.items():
            attempt = found.get(place)
            if attempt is None:
                attempt = found[place] = Attempt(run.run_id)
                _take(attempt, of_place, result=True)
                attempt.running = not (run.is_finished or attempt.ended)
            elif attempt.total is None:
                _take(attempt, of_place, result=False)
        if wanted is None and events:
            wanted = set(steps.values())
        if wanted is not None and run.is_finished:
            without = {p for p in wanted if p not in found or found[p].total is None}
            if not without or not events:
                break
    return found


def _take(attempt: Attempt, events: Iterable[dg.EventLogEntry], result: bool) -> None:
    """Adds what events of one Dagster run say: the plan, and the result where that is wanted."""
    named: list[tuple[str, str]] = []
    messages: list[tuple[str, str]] = []
    for entry in events:
        event = entry.dagster_event
        assert event
        step = str(event.step_key)
        if event.event_type == dg.DagsterEventType.STEP_OUTPUT:
            _take_output(attempt, event, entry.timestamp, result)
        elif not result:
            continue
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if check.check_name in (HELD, WHOLE) and not check.passed:
                attempt.bad |= check.severity is dg.AssetCheckSeverity.ERROR
                attempt.failed += _number(check.metadata, "runs with findings")
                named += _findings(check.metadata)
        elif event.is_step_failure:
            failure = event.step_failure_data
            given = failure.user_failure_data
            rows = _findings(given.metadata) if given else []
            attempt.bad = True
            attempt.failed += len(rows)
            named += rows
            attempt.ended = True
            if not rows:
                said = (given and given.description) or console.message_of(failure.error)
                messages.append((step, said))
        elif event.is_step_success and ".finish_" in step:
            attempt.ended = True
    attempt.reasons += named or messages


def _take_output(attempt: Attempt, event: dg.DagsterEvent, at: float, result: bool) -> None:
    output = event.step_output_data
    metadata = output.metadata or {}
    if output.step_output_handle.output_name == "planned":
        attempt.total, attempt.due = _number(metadata, TOTAL), _number(metadata, DUE)
        attempt.left_out = _number(metadata, LEFT_OUT)
        attempt.planned_at = at if result else 0.0
    elif DONE in metadata and "_chunk" in str(event.step_key) and result:
        attempt.done += _number(metadata, DONE)
        attempt.points += _number(metadata, POINTS)
        attempt.last_at = at


def _findings(metadata: Mapping[str, dg.MetadataValue]) -> list[tuple[str, str]]:
    """The rows of `checks.findings_table`."""
    return [
        (str(row.data["where"]), str(row.data["what"]))
        for name, table in metadata.items()
        if name.startswith("findings (table") and isinstance(table, dg.TableMetadataValue)
        for row in table.records
    ]


def _number(metadata: Mapping[str, dg.MetadataValue], name: str) -> int:
    value = metadata[name].value if name in metadata else 0
    return int(value) if isinstance(value, int | float) else 0
