"""How far each project is, in the archive and at each target.

Plain data, made from whatever records there are (`defs.status_records` makes it from Dagster's), so
that table, picture and page show the same figures and can be written without asking anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ARCHIVE = "archive"
REASONS_KEPT = 20
"""Of a stage; the record of the Dagster run that failed has all."""
STATES = (
    "failed",
    "stopped",
    "running",
    "damaged",
    "not verified",
    "incomplete",
    "not begun",
    "done",
)
"""Of a stage, what needs a look first.

- failed: some runs, or the whole stage, failed at the last attempt, or do not compare equal.
- stopped: the last attempt was cancelled or killed; the next one does the rest.
- running: an attempt is under way.
- damaged: all runs are there, and of some it is proven that they are not whole.
- not verified: all runs are there, and not all were found equal when they were read back.
- incomplete: nothing failed, and not all runs are there.
- not begun: no run is there.
- done: all runs are there; at a target, all were read back and are equal.
"""


@dataclass(frozen=True)
class Stage:
    """A project in the archive, or at one target.

    Args:
        place: `ARCHIVE`, or a target's name.
        total: runs that there are for this stage: at the source, or in the archive.
        there: of them, those that arrived.
        verified: of those, those that were read back and are equal; None in the archive.
        failed: runs that the last attempt could not do, or that do not compare equal.
        damaged: runs of the archive that are proven not to be whole.
        points, bytes: of those that are there, as far as records tell; `uncounted` runs do not.
        rate: points a second of the last attempt that moved any.
        seconds_left: of the attempt under way, by the pace of its runs so far.
        reasons: (run or place, what is wrong), the first of them.
        attempt: id of the Dagster run that tried last.
    """

    project: str
    place: str
    state: str
    total: int = 0
    there: int = 0
    verified: int | None = None
    failed: int = 0
    damaged: int = 0
    points: int = 0
    bytes: int = 0
    uncounted: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    reasons: tuple[tuple[str, str], ...] = ()
    attempt: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Stage:
        reasons = tuple((where, what) for where, what in plain["reasons"])
        return cls(**{**plain, "reasons": reasons})

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Status:
    """All of it.

    Args:
        as_of: ISO 8601, UTC: when the records were read.
        based_on: what the figures come from, in one sentence.
        moment: what had just happened, in a few words.
    """

    stages: tuple[Stage, ...]
    as_of: str
    based_on: str
    moment: str = ""

    def places(self) -> list[str]:
        """The archive, then the targets by name."""
        return sorted({s.place for s in self.stages}, key=lambda place: (place != ARCHIVE, place))


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """By project; of each the archive first, then its targets by name."""
    return sorted(stages, key=lambda s: (s.project, s.place != ARCHIVE, s.place))


def state_of(
    *,
    total: int,
    there: int,
    verified: int | None,
    failed: bool,
    running: bool,
    stopped: bool,
    damaged: bool = False,
) -> str:
    """One of `STATES`."""
    if running:
        return "running"
    if failed:
        return "failed"
    if stopped:
        return "stopped"
    if not there and total:
        return "not begun"
    if there < total:
        return "incomplete"
    if damaged:
        return "damaged"
    return "done" if verified is None or verified >= there else "not verified"


def sums(stages: Sequence[Stage]) -> dict[str, int]:
    """Figures over stages of one place."""
    names = ("total", "there", "failed", "damaged", "points", "bytes")
    found = {name: sum(getattr(stage, name) for stage in stages) for name in names}
    return {**found, "verified": sum(stage.verified or 0 for stage in stages)}


def headline(status: Status) -> str:
    """One line for each place: what is there of what there is."""
    lines = []
    for place in status.places():
        stages = [stage for stage in status.stages if stage.place == place]
        of = sums(stages)
        said = f"{of['there']:,} of {of['total']:,} runs"
        if place != ARCHIVE:
            said += f", {of['verified']:,} verified"
        for what in ("failed", "damaged"):
            said += f", {of[what]:,} {what}" if of[what] else ""
        done = sum(stage.state == "done" for stage in stages)
        lines.append(f"{place}: {said}; {done} of {len(stages)} projects done")
    return "\n".join(lines) or "no project is known yet"


def counted(stage: Stage, said: str) -> str:
    """A figure of points or bytes, and whether it tells all."""
    if not stage.uncounted:
        return said
    return f"≥ {said}" if stage.uncounted < stage.there else "not counted"


def duration(seconds: float | None) -> str:
    """`42 s`, `5 min`, `3.4 h`; empty when it is not known."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
