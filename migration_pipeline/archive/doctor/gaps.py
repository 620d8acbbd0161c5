"""What is not in a project at all: runs without a part, numbers without a run, parents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from migration_pipeline.archive.doctor.diagnosis import ProjectFinding
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.doctor.on_disk import RunOnDisk
from migration_pipeline.archive.doctor.rules import some

LISTING_FIXED = datetime(2026, 2, 3, tzinfo=UTC)
"""neptune-exporter listed 2.x projects without an order until then, and so might skip runs."""
_SYS_ID = re.compile(r"^(?P<prefix>.+)-(?P<number>[1-9]\d*)$", re.ASCII)
_OF_2X = {"sys/ping_time", "sys/running_time", "sys/monitoring_time"}
_SHOWN = 8


def unfinished(
    project: str, runs: Sequence[RunOnDisk], adopted: set[str]
) -> Iterator[ProjectFinding]:
    """Temporary parts of runs without a part, and beside runs whose manifest can be read.

    Args:
        adopted: stems of runs without a manifest; theirs is a reason to suspect the run.
    """
    headless = [run for run in runs if run.tmp and not run.numbers]
    if headless:
        names = [run.probable_id() for run in headless]
        text = f"{len(names)} run(s) have temporary parts only: {some(names)}"
        yield ProjectFinding(project, "run_never_finished", text)
    stray = [run.tmp[0] for run in runs if run.tmp and run.numbers and run.stem not in adopted]
    if stray:
        text = f"temporary parts lie beside {len(stray)} run(s) with a manifest: {some(stray)}"
        yield ProjectFinding(project, "stray_tmp", text)


def missing_ids(project: str, facts: Sequence[RunFacts]) -> Iterator[ProjectFinding]:
    """Numbers between 1 and the greatest that no run's sys/id has.

    A project numbers its runs from 1 on; nothing says how many there were after the last one here.
    Where runs were left out by intention, nothing is said.
    """
    runs = [run for run in facts if run.key.kind == "run"]
    if any(run.manifest is not None and run.manifest.selection for run in runs):
        return
    numbers: dict[str, set[int]] = {}
    for run in runs:
        if match := _SYS_ID.match(run.sys_id or ""):
            numbers.setdefault(match["prefix"], set()).add(int(match["number"]))
    unknown = sum(run.sys_id is None for run in runs)
    for prefix, there in sorted(numbers.items()):
        gaps = [(a + 1, b - 1) for a, b in pairwise([0, *sorted(there)]) if b - a > 1]
        if gaps:
            missing = sum(last - first + 1 for first, last in gaps)
            text = f"{missing} of {max(there)} numbers are missing: {_ranges(prefix, gaps)}"
            if unknown:
                text += f"; {unknown} run(s) have no readable sys/id and may be among them"
            yield ProjectFinding(project, "gap_in_ids", text)


def _ranges(prefix: str, gaps: Sequence[tuple[int, int]]) -> str:
    shown = [f"{prefix}-{a}" if a == b else f"{prefix}-{a} to {prefix}-{b}" for a, b in gaps]
    more = f" and {len(gaps) - _SHOWN} more gaps" if len(gaps) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def missing_parents(project: str, facts: Sequence[RunFacts]) -> Iterator[ProjectFinding]:
    """Parents of forks that are not here; 3.x names a parent by its sys/id, manifests by run id."""
    here = {run.key.run for run in facts} | {run.sys_id for run in facts}
    given = (
        run.manifest.parent if run.manifest else run.system.get("sys/forking/parent")
        for run in facts
    )
    absent = Counter(str(parent) for parent in given if parent and str(parent) not in here)
    if absent:
        text = f"{sum(absent.values())} run(s) are forked from runs that are not here: "
        yield ProjectFinding(project, "parent_missing", text + some(sorted(absent)))


def old_listing(project: str, facts: Iterable[RunFacts]) -> Iterator[ProjectFinding]:
    """2.x archives from before the listing was corrected.

    Nothing in an archive says when it was written. A time in its data is a lower bound; the time of
    its parts is the time of writing, unless they were copied without their times.
    """
    of_2x = [
        run
        for run in facts
        if run.manifest is None and run.key.kind == "run" and _OF_2X & set(run.system)
    ]
    if not of_2x:
        return
    written = datetime.fromtimestamp(min(run.written for run in of_2x), UTC)
    fixed = LISTING_FIXED.timestamp() * 1000
    newest = max((_newest(run) for run in of_2x), default=0)
    if written < LISTING_FIXED:
        text = f"parts of it were written on {written:%Y-%m-%d}, before {LISTING_FIXED:%Y-%m-%d}"
    elif newest < fixed:
        text = (
            f"nothing in it is newer than {LISTING_FIXED:%Y-%m-%d}, and its parts, of "
            f"{written:%Y-%m-%d}, may be copies: it may have been exported before"
        )
    else:
        return
    text += ". Compare the number of runs with what the project had"
    yield ProjectFinding(project, "listing_may_lack_runs", text)


def _newest(run: RunFacts) -> int:
    times = (run.system.get(f"sys/{name}") for name in ("modification_time", "ping_time"))
    return max((time for time in times if isinstance(time, int)), default=0)
