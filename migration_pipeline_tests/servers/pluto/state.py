"""What an account of the stand-in holds, and the rules of merging, ranking and time in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

STATUSES = ("RUNNING", "COMPLETED", "TERMINATED", "CANCELLED", "FAILED")
"""By rank: a terminal one gives way to a later one of the list only (S lib/run-status.ts)."""
LOG_TYPES = frozenset(
    "METRIC IMAGE VIDEO AUDIO FILE TEXT ARTIFACT HISTOGRAM TABLE DATA".split()  # noqa: SIM905
)
SILENT_SECONDS, BEATING_SECONDS = 1800.0, 150.0
"""How long a run may be quiet: one that never had a heartbeat, and one that had (S server.py)."""

Point = tuple[int, float]
"""Time in ms, value."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Run:
    """One row of `runs`."""

    id: int
    number: int
    project: str
    name: str
    external_id: str | None
    tags: list[str]
    config: dict[str, Any] | None
    system_metadata: Any
    logger_settings: Any
    created: int
    updated: int
    status: str = "RUNNING"
    status_updated: int | None = None
    status_metadata: Any = None
    log_names: dict[str, str] = field(default_factory=dict)
    """Name → type."""
    fork: tuple[int, int] | None = None
    """Run and step."""
    heartbeat: int | None = None

    def finish(self, status: str, at: int | None) -> None:
        """A new status, if the present one gives way to it; a repeated one keeps its time."""
        if self.status != "RUNNING" and status != "RUNNING":
            if STATUSES.index(status) < STATUSES.index(self.status):
                return
            if status == self.status and at is None:
                return
        self.status, self.status_updated = status, now_ms() if at is None else at


@dataclass
class Rows:
    """What was ingested for one run of one project; runs need not be there for that."""

    lines: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    """Step, time and values of every line of metrics: the raw table, which keeps all."""
    data: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    _points: dict[str, dict[int, Point]] = field(default_factory=dict)
    _merged: int = 0
    """Lines that are in `_points`; they are merged when somebody asks, not when they come."""

    @property
    def points(self) -> dict[str, dict[int, Point]]:
        """Name → step → the point that counts."""
        points = self._points
        for step, at, values in self.lines[self._merged :]:
            for name, value in values.items():
                series = points.setdefault(name, {})
                if step not in series or at >= series[step][0]:
                    series[step] = (at, value)
        self._merged = len(self.lines)
        return points

    def point(self, name: str, step: int) -> Point | None:
        """One of them, found without merging the others."""
        found = self._points.get(name, {}).get(step)
        for of_step, at, values in self.lines[self._merged :]:
            if of_step == step and name in values and (found is None or at >= found[0]):
                found = (at, values[name])
        return found

    def highest_step(self) -> int | None:
        return max((step for series in self.points.values() for step in series), default=None)

    def newest(self) -> int | None:
        """ms of the newest point."""
        return max((p[0] for series in self.points.values() for p in series.values()), default=None)


@dataclass
class PlutoAccount:
    """One organization."""

    key: str
    runs: dict[int, Run] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    """Project → the prefix of its display ids."""
    rows: dict[tuple[str, int], Rows] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """project/run/log name/file name → bytes."""
    summaries: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    """What /statistics knows, as of `refresh`."""
    at_limit: bool = False
    read_only: bool = False
    _coming: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def slug(self) -> str:
        return f"org-{hashlib.blake2b(self.key.encode(), digest_size=8).hexdigest()}"

    def of(self, project: str, run: int) -> Rows:
        return self.rows.setdefault((project, run), Rows())

    def find(self, project: str, external_id: str) -> Run | None:
        return next(
            (
                run
                for run in self.runs.values()
                if run.project == project and run.external_id == external_id
            ),
            None,
        )

    def display_id(self, run: Run) -> str:
        return f"{self.prefixes[run.project]}-{run.number}"

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Makes a change now, or lets it be seen only after some seconds."""
        if seconds:
            self._coming.append((time.monotonic() + seconds, change))
        else:
            change()

    def settle(self) -> None:
        """Makes the changes whose time has come."""
        while self._coming and self._coming[0][0] <= time.monotonic():
            self._coming.pop(0)[1]()

    def refresh(self) -> None:
        """What the server does every five minutes: the summary of every series' finite values."""
        self.summaries = {
            (project, run, name): [v for _, v in series.values() if math.isfinite(v)]
            for (project, run), rows in self.rows.items()
            for name, series in rows.points.items()
        }

    def reap(self, now: int) -> None:
        """Turns running runs that were quiet for too long into failed ones."""
        for run in self.runs.values():
            if run.status != "RUNNING":
                continue
            newest = self.of(run.project, run.id).newest()
            allowed = SILENT_SECONDS if run.heartbeat is None else BEATING_SECONDS
            quiet_since = run.heartbeat or newest or run.created
            last = max(quiet_since, run.status_updated or 0)
            if now - last > allowed * 1000:
                run.finish("FAILED", now)


def prefix_of(project: str) -> str:
    """Letters and digits of a project's words, at most four (S lib/run-prefix.ts, roughly)."""
    words = re.findall(r"[A-Za-z0-9]+", project)
    return ("".join(word[0] for word in words) or "RUN")[:4].upper()


def javascript(text: str) -> Any:
    """JSON as JavaScript reads it and writes it again: all numbers are doubles, there is no NaN.

    Raises:
        ValueError: it is none.
    """

    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(text, parse_int=_int, parse_float=_float, parse_constant=refuse)


def _int(text: str) -> Any:
    return _float(text) if abs(int(text)) > 2**53 else int(text)


def _float(text: str) -> Any:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def deep_merge(target: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Objects key by key; anything else replaces (S lib/deep-merge.ts)."""
    merged = dict(target)
    for key, value in source.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        merged[key] = deep_merge(known, value) if both else value  # type: ignore[arg-type]
    return merged


def iso(ms: int | None) -> str | None:
    """As JavaScript's toISOString."""
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def clickhouse_time(ms: int) -> str:
    """As ClickHouse writes a DateTime64(3)."""
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{ms % 1000:03d}"
