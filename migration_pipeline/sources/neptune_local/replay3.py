"""A 3.x run from its databases: every operation in its order, as a server would have done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1 import common_pb2

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.schema import MICROS
from migration_pipeline.sources.copying import copied
from migration_pipeline.sources.neptune_local.database import Database, Operation
from migration_pipeline.sources.neptune_local.finding import Execution
from migration_pipeline.sources.neptune_local.points import NO_STEP, Points
from migration_pipeline.sources.neptune_local.snapshots import Numbers, decode
from migration_pipeline.sources.reading import Damage, Item, Missing, Remark, Selected, Task
from migration_pipeline.sources.source import DownloadedFile, RunRef, Selection

_PREVIEWS = "{count} points are previews, which the archive does not mark"
_LEFT_OUT = "{count} points that were marked as previews are left out"
_FINER = "{count} times are finer than a millisecond; the archive keeps milliseconds"
_ROUNDED = "{count} integers beyond 2**53 became the nearest double: {list}"
_ERRORS = "{count} errors that the client noted: {list}"
_INHERITS = "single values that the run inherits from its parent are with the parent: {list}"
_NAMED = "{list}"
_UNKNOWN = "{count} values of types that this version does not know: {list}"
_NANOS = 10**6


@dataclass
class _Loose:
    """Float points of messages that hold other things too."""

    paths: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, int, int, float, bool]] = field(default_factory=list)
    """Message, code of the path, step, time, value, whether it is a preview."""

    def add(
        self, message: int, path: str, step: int, time: int, value: float, is_preview: bool
    ) -> None:
        code = self.paths.setdefault(path, len(self.paths))
        self.rows.append((message, code, step, time, value, is_preview))


class Replay3(Task):
    """The databases of one run, one execution after another.

    Args:
        executions: in the order in which they ran.
        scratch: for copies of databases and files, on the archive's file system.
        said: sentences for the manifest.
    """

    def __init__(
        self,
        run: RunRef,
        executions: Sequence[Execution],
        selection: Selection,
        scratch: Path,
        numbers: Iterator[int],
        said: Sequence[str],
    ) -> None:
        super().__init__([run])
        self._run, self._executions, self._said = run, executions, said
        self._selection, self._scratch, self._numbers = selection, scratch, numbers

    def advance(self) -> Iterator[Item]:
        self._points = Points(self._run, self._selection)
        self._values: dict[str, tuple[str, Any]] = {}
        self._files: dict[str, tuple[Any, Execution]] = {}
        self._finer = self._previews = 0
        for execution in self._executions:
            yield from self._execution(execution)
        for path, (kind, value) in sorted(self._values.items()):
            if self._points.wants(path, kind):
                yield from self._points.row(path, kind, value)
        yield from self._points.rows()
        yield from self._points.remarks()
        if self._finer:
            yield Remark(self._run, _FINER, count=self._finer)
        if self._previews:
            sentence = _PREVIEWS if self._selection.previews else _LEFT_OUT
            yield Remark(self._run, sentence, count=self._previews)
        for sentence in self._said:
            yield Remark(self._run, _NAMED, sentence)
        yield Selected(self._run, len(self._points.attributes))
        self.finished = True

    def _execution(self, execution: Execution) -> Iterator[Item]:
        place = f"{execution.path.name}: "
        scratch = self._scratch / f"database-{next(self._numbers)}"
        with Database(execution.path, scratch) as database:
            self._database, self._execution_ = database, execution
            self._uploads = database.uploads()
            singles: dict[str, Any] = {}
            before = 0
            for group in database.operations():
                if not before and group[0][0] > 1:
                    yield Damage(
                        self._run,
                        f"{place}operations 1 to {group[0][0] - 1} are not there: the client had "
                        "sent them, and only the server has them",
                    )
                yield from self._gaps(before, group)
                before = group[-1][0]
                yield from self._group(group, singles)
            for path, reference in sorted(singles.items()):
                yield from self._file(path, "file", reference)
            if not before:
                yield Damage(self._run, f"{place}no operation is there")
            for said in database.errors():
                yield Remark(self._run, _ERRORS, said)
            for text in database.damage:
                yield Damage(self._run, place + text)

    def _gaps(self, before: int, group: Sequence[Operation]) -> Iterator[Item]:
        """Numbers are consecutive: the client removes operations from the first one on only."""
        ids = np.array([before or group[0][0] - 1, *(number for number, _, _ in group)])
        for at in np.flatnonzero(np.diff(ids) > 1).tolist():
            said = f"operations {ids[at] + 1} to {ids[at + 1] - 1} are missing"
            yield Damage(self._run, f"{self._execution_.path.name}: {said}")

    def _group(self, group: Sequence[Operation], singles: dict[str, Any]) -> Iterator[Item]:
        snapshots = []
        for number, kind, message in group:
            if kind == 0:
                snapshots.append(message)
            elif kind == 1:
                yield from self._create(number, message)
            else:
                yield Remark(self._run, _UNKNOWN, f"operation {number} of type {kind}")
        numbers, others = decode(snapshots)
        loose = _Loose()
        for i in others:
            try:
                snapshot = common_pb2.UpdateRunSnapshot.FromString(snapshots[i])
            except DecodeError as error:
                self._database.damage.append(f"an operation cannot be decoded ({error})")
                continue
            yield from self._snapshot(i, snapshot, loose, singles)
        yield from self._numbers_of(numbers, loose)

    def _create(self, number: int, message: bytes) -> Iterator[Item]:
        try:
            run = common_pb2.Run.FromString(message)
        except DecodeError as error:
            self._database.damage.append(f"operation {number} cannot be decoded ({error})")
            return
        said: dict[str, tuple[str, Any]] = {"sys/custom_run_id": ("string", self._run.key.run)}
        if run.HasField("creation_time"):
            said["sys/creation_time"] = ("datetime", self._milliseconds(run.creation_time))
        if run.experiment_id:
            said["sys/name"] = said["sys/experiment/name"] = ("string", run.experiment_id)
        if run.family:
            said["sys/family"] = ("string", run.family)
        if run.HasField("fork_point"):
            fork = run.fork_point
            said["sys/forking/parent"] = ("string", fork.parent_run_id)
            if fork.HasField("step"):
                step = fork.step.whole + fork.step.micro / MICROS
                said["sys/forking/step"] = ("float", step)
            if run.inherit_configs:
                yield Remark(self._run, _INHERITS, fork.parent_run_id)
        for path, (kind, value) in said.items():
            if path not in self._values and self._points.takes(path, kind):
                self._values[path] = (kind, value)

    def _snapshot(
        self, message: int, snapshot: Any, loose: _Loose, singles: dict[str, Any]
    ) -> Iterator[Item]:
        """A message that holds other things than float points: values, then sets, then points."""
        for path, value in snapshot.assign.items():
            yield from self._assign(path, value, singles)
        for path, change in snapshot.modify_sets.items():
            if self._points.takes(path, "string_set"):
                members = dict.fromkeys(self._values.get(path, ("", ()))[1])
                for member, operation in sorted(change.string.values.items()):
                    if operation == common_pb2.SET_OPERATION.ADD:
                        members[member] = None
                    elif operation == common_pb2.SET_OPERATION.REMOVE:
                        members.pop(member, None)
                self._values[path] = ("string_set", list(members))
        if not snapshot.append:
            return
        step = None
        if snapshot.HasField("step"):
            step = snapshot.step.whole * MICROS + snapshot.step.micro
        nanos = snapshot.timestamp.seconds * 10**9 + snapshot.timestamp.nanos
        for path, value in snapshot.append.items():
            kind = value.WhichOneof("value")
            if kind in ("float64", "int64"):
                number = getattr(value, kind)
                if kind == "int64" and int(float(number)) != number:
                    yield Remark(self._run, _ROUNDED, path)
                is_preview = snapshot.preview.is_preview
                loose.add(
                    message,
                    path,
                    int(NO_STEP) if step is None else step,
                    nanos,
                    float(number),
                    is_preview,
                )
            else:
                yield from self._append(path, kind, value, step, nanos)

    def _append(
        self, path: str, kind: str, value: Any, step: int | None, nanos: int
    ) -> Iterator[Item]:
        types = {
            "string": "string_series",
            "histogram": "histogram_series",
            "file_ref": "file_series",
        }
        if kind not in types:
            yield Remark(self._run, _UNKNOWN, f"{path} ({kind})")
            return
        ours = types[kind]
        if not self._points.takes(path, ours):
            return
        step, time = self._points.next_step(path, step), self._rounded(nanos)
        if not self._points.wants(path, ours):
            return
        if kind == "file_ref":
            yield from self._file(path, ours, value.file_ref, step, time)
        elif kind == "string":
            yield from self._points.row(path, ours, value.string, step, time)
        else:
            histogram = value.histogram
            counted = histogram.WhichOneof("values") == "counts"
            values = histogram.counts.values if counted else histogram.densities.values
            if counted and any(int(float(one)) != one for one in values):
                yield Remark(self._run, _ROUNDED, f"{path} (step {step / 1e6:g})")
            content = {
                "type": "COUNTING" if counted else "DENSITY",
                "edges": list(histogram.bin_edges),
                "values": [float(one) for one in values],
            }
            yield from self._points.row(path, ours, content, step, time)

    def _assign(self, path: str, value: Any, singles: dict[str, Any]) -> Iterator[Item]:
        kind = value.WhichOneof("value")
        content: Any
        match kind:
            case "float64":
                ours, content = "float", value.float64
            case "int64":
                ours, content = "int", value.int64
            case "bool":
                ours, content = "bool", value.bool
            case "string":
                ours, content = "string", value.string
            case "timestamp":
                ours, content = "datetime", self._milliseconds(value.timestamp)
            case "string_set":
                ours, content = "string_set", list(dict.fromkeys(value.string_set.values))
            case "file_ref":
                if self._points.takes(path, "file") and self._points.wants(path, "file"):
                    singles[path] = value.file_ref
                return
            case _:
                yield Remark(self._run, _UNKNOWN, f"{path} ({kind})")
                return
        if self._points.takes(path, ours):
            self._values[path] = (ours, content)

    def _file(
        self, path: str, kind: str, reference: Any, step: int | None = None, time: int | None = None
    ) -> Iterator[Item]:
        """By its path, else beside the database, where the directory was moved."""
        folder = self._execution_.path
        source, _ = self._uploads.get(reference.path, ("", 0))
        target = self._scratch / f"local-{next(self._numbers)}"
        places = [Path(one) for one in (source,) if one]
        places += [folder / Path(one).name for one in (source, reference.path) if one]
        name = path if step is None else f"{path} (step {step / 1e6:g})"
        if not any(copied(place, target) for place in places):
            yield Missing(self._run, name)
            why = f"not at {source}" if source else "not here: only the server has it"
            yield Damage(self._run, f"the file of {name} is {why}")
            return
        if (size := target.stat().st_size) != reference.size_bytes:
            said = f"{name}: {size} bytes, announced {reference.size_bytes}"
            yield Remark(self._run, "files of another size than announced: {list}", said)
        extension = extension_of(reference.path, reference.mime_type, path)
        yield DownloadedFile(self._run, path, kind, target, extension, step, time)

    def _numbers_of(self, found: Numbers | None, loose: _Loose) -> Iterator[Item]:
        """Float points of a group of messages, in the order of these."""
        paths: list[str] = [] if found is None else list(found.paths)
        empty = np.zeros(0, np.int64)
        columns: list[Any] = [empty, empty, empty, empty, empty.astype(float), empty.astype(bool)]
        if found is not None:
            columns = [
                found.messages,
                found.codes,
                found.steps,
                found.times,
                found.values,
                found.previews,
            ]
        if loose.rows:
            added = [np.array(one) for one in zip(*loose.rows, strict=True)]
            added[1] = added[1] + len(paths)
            columns = [np.concatenate(pair) for pair in zip(columns, added, strict=True)]
            order = np.argsort(columns[0], kind="stable")
            columns = [one[order] for one in columns]
            paths, again = _distinct([*paths, *loose.paths])
            columns[1] = again[columns[1]]
        _, codes, steps, times, values, previews = columns
        if marked := int(np.count_nonzero(previews)):
            self._previews += marked
            if not self._selection.previews:
                kept = ~previews
                codes, steps, times, values = (one[kept] for one in (codes, steps, times, values))
        if not len(codes):
            return
        self._finer += int(np.count_nonzero(times % _NANOS))
        rounded = (times + _NANOS // 2) // _NANOS
        yield from self._points.floats(paths, codes, steps, rounded, values)

    def _milliseconds(self, timestamp: Any) -> int:
        return self._rounded(timestamp.seconds * 10**9 + timestamp.nanos)

    def _rounded(self, nanos: int) -> int:
        """Rounded: the client makes nanoseconds of a double, so they may be one short."""
        self._finer += nanos % _NANOS != 0
        return (nanos + _NANOS // 2) // _NANOS


def _distinct(paths: Sequence[str]) -> tuple[list[str], Any]:
    """The different ones, and for each of all which it is."""
    numbers: dict[str, int] = {}
    again = np.array([numbers.setdefault(path, len(numbers)) for path in paths], np.int64)
    return list(numbers), again
