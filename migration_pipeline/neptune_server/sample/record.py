"""A run of the sample as a script would log it, and its way into an archive.

What the service adds by itself (the `sys` namespace) is made here in one place. The names and types
are those that Neptune documents at docs.neptune.ai/sys and that neptune-query knows without asking.
`sys/forking/parent` holds the parent's custom run id, not its `sys/id`: Neptune's documentation
calls `sys/id` a legacy identifier to be ignored, scripts pass the value straight back as a run id,
and neptune-exporter looks it up among custom run ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.archive.schema import MICROS, float_series_batch, make_batch
from migration_pipeline.archive.writer import RunWriter

# sys/diagnostics/attributes/<name>_count, by the archive's type
_COUNTED = {
    "bool": "bool",
    "file": "file_ref",
    "file_series": "file_ref_series",
    "float": "float",
    "float_series": "float_series",
    "histogram_series": "histogram_series",
    "int": "int",
    "string": "string",
    "string_series": "string_series",
    "string_set": "string_set",
}


def micros(step: float | str) -> int:
    """A step as whole millionths; a text is read as a decimal, so that 0.29 is 290000."""
    whole, _, decimals = str(step).partition(".")
    return int(whole) * MICROS + int(decimals.ljust(6, "0")[:6] or 0)


def milliseconds(when: str) -> int:
    """ISO time in UTC → ms since 1970."""
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


@dataclass
class _File:
    path: str
    type: str
    content: bytes
    extension: str
    step: int | None = None
    time: int | None = None


@dataclass(eq=False)
class Run:
    """One run; `created` and `ended` are ms since 1970, `fork_step` millionths.

    `experiment` None: a run that belongs to no experiment and so has no `sys/name`.
    """

    run_id: str
    created: int
    ended: int = 0
    experiment: str | None = None
    owner: str = "ada"
    tags: Sequence[str] = ()
    group_tags: Sequence[str] = ()
    description: str | None = None
    archived: bool = False
    failed: bool = False
    parent: Run | None = None
    fork_step: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    floats: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    files: list[_File] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    def config(self, path: str, kind: str, value: object) -> None:
        """A single value: float, int, string, bool, datetime (ms) or string_set."""
        self.rows.append({"path": path, "type": kind, "value": value})

    def configs(self, values: dict[str, object]) -> None:
        """Single values whose type is that of the Python value."""
        kinds = {bool: "bool", int: "int", float: "float", str: "string", list: "string_set"}
        for path, value in values.items():
            self.config(path, kinds[type(value)], value)

    def point(self, path: str, step: int, time: int, value: float) -> None:
        """A point of a float series; steps of a series grow, as the service demands."""
        points = self.floats.setdefault(path, [])
        if points and points[-1][0] >= step:
            raise ValueError(f"{path}: step {step} after {points[-1][0]}")
        points.append((step, time, float(value)))
        self.ended = max(self.ended, time)

    def text(self, path: str, step: int, time: int, value: str) -> None:
        """A point of a string series."""
        self._row(path, "string_series", step, time, value)

    def histogram(
        self, path: str, step: int, time: int, edges: Iterable[float], values: Iterable[float],
        kind: str = "COUNTING",
    ) -> None:  # fmt: skip
        """A point of a histogram series; `kind` is COUNTING or DENSITY."""
        numbers = {"edges": [float(e) for e in edges], "values": [float(v) for v in values]}
        self._row(path, "histogram_series", step, time, {"type": kind, **numbers})

    def file(self, path: str, content: bytes, extension: str = "") -> None:
        self.files.append(_File(path, "file", content, extension))

    def file_at(self, path: str, step: int, time: int, content: bytes, extension: str) -> None:
        """A point of a file series."""
        self.files.append(_File(path, "file_series", content, extension, step, time))
        self.ended = max(self.ended, time)

    def _row(self, path: str, kind: str, step: int, time: int, value: object) -> None:
        row = {"path": path, "type": kind, "step": step, "timestamp": time, "value": value}
        self.rows.append(row)
        self.ended = max(self.ended, time)

    def write(self, archive: Archive, project: str, sys_id: str, head: bool) -> Manifest:
        """Publishes the run with its system attributes.

        Args:
            archive: where to.
            project: `workspace/name`.
            sys_id: KEY-n.
            head: whether it is the newest run of its experiment.
        """
        with RunWriter(archive, RunKey(project, self.run_id), "neptune3") as writer:
            file_rows = [self._add_file(writer, n, file) for n, file in enumerate(self.files)]
            system = self._system(project, sys_id, head)
            writer.write(make_batch(project, self.run_id, [*system, *self.rows, *file_rows]))
            if self.floats:
                writer.write(self._float_batch(project))
            return writer.commit(
                sys_id=sys_id,
                parent=self.parent.run_id if self.parent else None,
                modified=datetime.fromtimestamp(self._modified / 1000, UTC),
            )

    @property
    def _modified(self) -> int:
        """The service still writes aggregates a moment after the last point."""
        return max(self.ended, self.created) + 2137

    def _add_file(self, writer: RunWriter, number: int, file: _File) -> dict[str, Any]:
        staged = writer.staging_path(str(number))
        staged.write_bytes(file.content)
        step = "" if file.step is None else f"{file.step // MICROS}.{file.step % MICROS:06d}"
        path = writer.add_file(staged, file.path, step, file.extension)
        return {
            "path": file.path,
            "type": file.type,
            "value": path,
            "step": file.step,
            "timestamp": file.time,
        }

    def _float_batch(self, project: str) -> pa.RecordBatch:
        points = [(path, *point) for path, series in self.floats.items() for point in series]
        paths, steps, times, values = zip(*points, strict=True)
        return float_series_batch(
            project,
            self.run_id,
            pa.array(paths, type=pa.string()).dictionary_encode(),
            np.array(steps, dtype=np.int64),
            np.array(times, dtype=np.int64),
            np.array(values, dtype=np.float64),
        )

    def _system(self, project: str, sys_id: str, head: bool) -> list[dict[str, Any]]:
        seconds = (max(self.ended, self.created) - self.created) / 1000
        project_uuid = uuid.uuid5(uuid.NAMESPACE_URL, project)
        attributes: list[tuple[str, str, object]] = [
            ("id", "string", sys_id),
            ("custom_run_id", "string", self.run_id),
            ("family", "string", self.run_id),
            ("owner", "string", self.owner),
            ("creation_time", "datetime", self.created),
            ("modification_time", "datetime", self._modified),
            ("ping_time", "datetime", max(self.ended, self.created) + 1004),
            ("running_time_seconds", "float", seconds),
            ("tags", "string_set", list(self.tags)),
            ("group_tags", "string_set", list(self.group_tags)),
            ("archived", "bool", self.archived),
            ("failed", "bool", self.failed),
            ("trashed", "bool", False),
            ("size", "int", sum(len(file.content) for file in self.files)),
            ("forking/depth", "int", self.depth),
            ("diagnostics/project_uuid", "string", str(project_uuid)),
            ("diagnostics/run_uuid", "string", str(uuid.uuid5(project_uuid, self.run_id))),
            *self._diagnostics(),
        ]
        if self.experiment is not None:
            attributes += [
                ("name", "string", self.experiment),
                ("experiment/name", "string", self.experiment),
                ("experiment/is_head", "bool", head),
            ]
        if self.description is not None:
            attributes.append(("description", "string", self.description))
        if self.parent is not None and self.fork_step is not None:
            attributes.append(("forking/parent", "string", self.parent.run_id))
            attributes.append(("forking/step", "float", self.fork_step / MICROS))
        return [{"path": f"sys/{name}", "type": t, "value": v} for name, t, v in attributes]

    def _diagnostics(self) -> list[tuple[str, str, object]]:
        found = {(row["path"], row["type"]) for row in self.rows}
        found |= {(path, "float_series") for path in self.floats}
        found |= {(file.path, file.type) for file in self.files}
        kinds = [kind for _, kind in found]
        series = sum("step" in row for row in self.rows) + sum(map(len, self.floats.values()))
        series += sum(file.step is not None for file in self.files)
        counts: list[tuple[str, str, object]] = [
            (f"diagnostics/attributes/{name}_count", "int", kinds.count(kind))
            for kind, name in _COUNTED.items()
        ]
        counts.append(("diagnostics/attributes/total_count", "int", len(kinds)))
        counts.append(("diagnostics/attributes/total_series_datapoints", "int", series))
        return counts


def write_project(archive: Archive, project: str, key: str, runs: Sequence[Run]) -> list[Manifest]:
    """Writes runs in the order of their creation, numbered `key`-1, `key`-2 …"""
    ordered = sorted(runs, key=lambda run: run.created)
    heads = {run.experiment: run for run in ordered}
    return [
        run.write(archive, project, f"{key}-{number}", heads[run.experiment] is run)
        for number, run in enumerate(ordered, start=1)
    ]
