"""What a Comet account holds, and what it refuses."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from migration_pipeline_tests.servers.comet.rates import Rates

EXISTS, BAD_KEY, NO_ACCESS, NO_WORKSPACE = 90999, 90212, 90210, 90219
VIEW_ONLY, NAME_TOO_LONG, PROJECT_FULL, HISTOGRAMS_FULL = 7000011, 1341241, 7000020, 7000013
HISTOGRAM = "histogram3d"
KEPT = 15_000
"""Points of a metric that reading gives (D)."""
KEY = re.compile(r"[0-9A-Za-z]{32,50}")
PROJECT_NAME = 100
"""Characters at which a project's name is too long (C)."""

Point = tuple[float, int | None, int, int | None, str | None]
"""Value, step, time in ms, epoch, context."""


class Refused(Exception):
    """An answer with an error.

    Args:
        status: HTTP's.
        code: `sdk_error_code`, where there is one.
    """

    def __init__(self, status: int, message: str, code: int = 0) -> None:
        self.status, self.code = status, code
        super().__init__(message)


@dataclass
class Asset:
    """A file of an experiment."""

    id: str
    name: str
    type: str
    step: int | None
    content: bytes
    metadata: str = ""

    def listed(self, experiment: str) -> dict[str, Any]:
        folder, _, _ = self.name.rpartition("/")
        return {
            "assetId": self.id,
            "fileName": self.name,
            "fileSize": len(self.content),
            "type": self.type,
            "step": self.step,
            "dir": folder or "others",
            "runContext": None,
            "createdAt": now(),
            "metadata": self.metadata or None,
            "experimentKey": experiment,
            "tags": [],
        }


@dataclass
class Experiment:
    """One experiment."""

    key: str
    workspace: str
    project: str
    name: str = ""
    started: int = 0
    ended: int | None = None
    running: bool = True
    crashed: bool = False
    archived: bool = False
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    assets: dict[str, Asset] = field(default_factory=dict)
    machine: list[tuple[str, Any]] = field(default_factory=list)
    """What was told of the machine and the program: system details, output, code, git."""

    def metadata(self) -> dict[str, Any]:
        end = now() if self.running or self.ended is None else self.ended
        return {
            "experimentKey": self.key,
            "experimentName": self.name or None,
            "workspaceName": self.workspace,
            "projectName": self.project,
            "projectId": project_id(self.workspace, self.project),
            "archived": self.archived,
            "running": self.running,
            "hasCrashed": self.crashed,
            "startTimeMillis": self.started,
            "endTimeMillis": end,
            "durationMillis": end - self.started,
            "throttle": False,
            "fileName": None,
            "filePath": None,
            "optimizationId": None,
        }

    def shown(self, metric: str, most: int = KEPT) -> list[Point]:
        return sample(self.metrics.get(metric, []), most)


@dataclass
class Account:
    """Everything that one API key sees; what may be changed by a test is up here.

    Args:
        read_only: it may look and not write.
        reuse_deleted_keys: whether an experiment may get the key of a deleted one (A: not).
        rates: None: nothing is limited.
        rejects: names of metrics and parameters for which a whole batch is refused.
    """

    key: str
    workspaces: list[str] = field(default_factory=lambda: ["team"])
    read_only: bool = False
    reuse_deleted_keys: bool = False
    rates: Rates | None = None
    rejects: set[str] = field(default_factory=set)
    experiments_per_project: int = 25_000
    metrics_per_experiment: int = 50_000
    parameters_per_experiment: int = 50_000
    histograms_per_experiment: int = 1_000_000
    """There is a limit (C: its error code), and no number."""
    asset_name_max_length: int = 500
    asset_max_bytes: int = 100 * 2**30
    experiments: dict[str, Experiment] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def create(self, wanted: dict[str, Any]) -> Experiment:
        """logger/add/run."""
        key = str(wanted.get("experimentKey") or "")
        workspace = wanted.get("teamName") or self.workspaces[0]
        project = wanted.get("projectName") or "general"
        if not KEY.fullmatch(key):
            raise Refused(400, "experiment key must be 32 to 50 letters and digits")
        if workspace not in self.workspaces:
            raise Refused(400, f"no such workspace: {workspace}", NO_WORKSPACE)
        self.check_writable(VIEW_ONLY)
        if len(project) >= PROJECT_NAME:
            raise Refused(400, "project name is too long", NAME_TOO_LONG)
        there = self.experiments.get(key)
        if there is not None and wanted.get("getOrCreateEnabled"):
            return there
        if there is not None or (key in self.deleted and not self.reuse_deleted_keys):
            raise Refused(400, f"experiment {key} already exists", EXISTS)
        if len(self.of(workspace, project)) >= self.experiments_per_project:
            raise Refused(400, "this project has all the experiments it may have", PROJECT_FULL)
        self.experiments[key] = Experiment(key, workspace, project, started=now())
        return self.experiments[key]

    def check_writable(self, code: int = NO_ACCESS) -> None:
        if self.read_only:
            raise Refused(403, "this user may only view", code)

    def to_write(self, key: Any) -> Experiment:
        self.check_writable()
        if key not in self.experiments:
            raise Refused(400, "no write access to that experiment", NO_ACCESS)
        return self.experiments[key]

    def to_read(self, key: Any) -> Experiment:
        if key not in self.experiments:
            raise Refused(404, f"no such experiment: {key}")
        return self.experiments[key]

    def of(self, workspace: str, project: str, archived: bool = False) -> list[Experiment]:
        return [
            one
            for one in self.experiments.values()
            if (one.workspace, one.project, one.archived) == (workspace, project, archived)
        ]

    def count(self, kind: str, values: int) -> float:
        """Seconds to wait, 0 when there is room."""
        return self.rates.wait_for(kind, values) if self.rates else 0.0

    def log_metrics(self, experiment: Experiment, values: list[dict[str, Any]]) -> None:
        """All or none of a batch."""
        points: dict[str, list[Point]] = {}
        for value in values:
            name, point = self._point(value)
            if name in points:
                points[name].append(point)
            else:
                points[name] = [point]
        names = set(points)
        self._check_names(names, len(names | experiment.metrics.keys()), "metrics")
        for name, some in points.items():
            experiment.metrics.setdefault(name, []).extend(some)

    @staticmethod
    def _point(value: dict[str, Any]) -> tuple[str, Point]:
        get = value.get
        name: Any = get("metricName")
        number: Any = get("metricValue")
        step, at = get("step"), get("timestamp")
        plain = type(name) is str and name and type(step) is int and type(at) is int
        if not plain or type(number) is not float or not isfinite(number):
            check_point(name, number, step, at)
        return name, (number, step, now() if at is None else at, get("epoch"), get("context"))

    def log_parameters(self, experiment: Experiment, values: list[dict[str, Any]]) -> None:
        given: dict[str, str] = {}
        for value in values:
            name, content = value.get("parameterName"), value.get("parameterValue")
            if not isinstance(name, str) or not name or content is None:
                raise Refused(400, f"not a parameter: {name!r}")
            given[name] = content if isinstance(content, str) else str(content)
        self._check_names(set(given), len(given.keys() | experiment.parameters.keys()), "params")
        experiment.parameters |= given

    def _check_names(self, names: set[str], together: int, kind: str) -> None:
        metrics = kind == "metrics"
        most = self.metrics_per_experiment if metrics else self.parameters_per_experiment
        if together > most:
            raise Refused(400, f"an experiment has at most {most:,} {kind}")
        if bad := sorted(names & self.rejects):
            raise Refused(400, f"value of {bad[0]!r} is not accepted")

    def add_asset(self, experiment: Experiment, asked: Any, content: bytes, about: str) -> Asset:
        name = asked.get("fileName") or ""
        if not name or len(name) > self.asset_name_max_length:
            raise Refused(400, f"asset names have 1 to {self.asset_name_max_length} characters")
        if len(content) > self.asset_max_bytes:
            raise Refused(400, f"assets have at most {self.asset_max_bytes:,} bytes")
        kind, step = asked.get("type") or "asset", asked.get("step")
        drawn = sum(one.type == HISTOGRAM for one in experiment.assets.values())
        if kind == HISTOGRAM and drawn >= self.histograms_per_experiment:
            raise Refused(400, "no more histograms", HISTOGRAMS_FULL)
        if (asked.get("overwrite") or "").lower() == "true":
            for old in [a for a in experiment.assets.values() if a.name == name]:
                del experiment.assets[old.id]
        made = asked.get("assetId") or f"{next(self._ids):032x}"
        asset = Asset(made, name, kind, int(step) if step else None, content, about)
        experiment.assets[made] = asset
        return asset


def check_point(name: Any, number: Any, step: Any, time_ms: Any) -> None:
    """
    Raises:
        Refused: what Comet's documentation does not call a metric.
    """
    if not isinstance(name, str) or not name:
        raise Refused(400, f"not a name of a metric: {name!r}")
    if type(number) not in (float, int) or not isfinite(number):
        raise Refused(400, f"value of {name!r} is not a number: {number!r}")
    if step is not None and type(step) is not int:
        raise Refused(400, f"step of {name!r} is not a whole number: {step!r}")
    if time_ms is not None and type(time_ms) is not int:
        raise Refused(400, f"time of {name!r} is not in whole milliseconds: {time_ms!r}")


def sample(points: list[Point], most: int) -> list[Point]:
    """At most so many points, evenly, with the first, the last, the smallest and the largest."""
    if len(points) <= most:
        return points
    values = [point[0] for point in points]
    chosen = {0, len(points) - 1, values.index(min(values)), values.index(max(values))}
    spare = most - len(chosen)
    for i in range(spare):
        chosen.add(round(i * (len(points) - 1) / max(spare - 1, 1)))
    return [points[i] for i in sorted(chosen)]


def project_id(workspace: str, project: str) -> str:
    return hashlib.blake2b(f"{workspace}/{project}".encode(), digest_size=16).hexdigest()


def now() -> int:
    return time.time_ns() // 1_000_000
