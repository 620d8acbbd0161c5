"""3.x ingestion, as neptune-scale sends it: one operation a request, checked later by its id.

Operations take effect before the request is answered, so a check always finds its request done.
What each error means is said by the names and comments of `IngestCode` in the protocol itself;
the gRPC code beside it is assumed, the clients only look whether it is OK.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import Any

from google.protobuf.message import DecodeError
from neptune_query.generated.neptune_api.proto.google_rpc.code_pb2 import Code
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1 import common_pb2
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.ingest_pb2 import IngestCode
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.pub import (
    client_pb2,
    ingest_pb2,
)
from starlette.requests import Request
from starlette.responses import Response

from .retrieval3 import PROTOBUF
from .store import CONFIG_TYPES, Attribute, FileValue, HistogramValue, Project, Run, Store
from .types3 import access_denied, bad_request

MAX_PATH = 1024
MAX_STRING = 1 << 20
MAX_BINS = 512
MAX_STEP = 1_000_000_000_000
_MICROS = 1_000_000
_KEPT_RESULTS = 100_000
_READ_ONLY = frozenset(
    f"sys/{name}"
    for name in ("id", "custom_run_id", "creation_time", "modification_time", "ping_time")
)
_READ_ONLY_BELOW = ("sys/forking/", "sys/experiment/", "sys/diagnostics/")

_GRPC = {IngestCode.OK: Code.OK}
_GRPC |= dict.fromkeys(
    (IngestCode.RUN_DUPLICATE, IngestCode.SERIES_POINT_DUPLICATE), Code.ALREADY_EXISTS
)
_GRPC |= dict.fromkeys(
    (
        IngestCode.PROJECT_NOT_FOUND,
        IngestCode.RUN_NOT_FOUND,
        IngestCode.RUN_FORK_PARENT_NOT_FOUND,
    ),
    Code.NOT_FOUND,
)


class Refused(Exception):
    """A part of an operation that has no effect, with the IngestCode that says why."""

    def __init__(self, code: Any) -> None:
        super().__init__(IngestCode.Name(code))
        self.code = code


class Ingestion:
    """Takes operations and remembers what became of each. One instance per server."""

    def __init__(self, store: Store, user: str) -> None:
        self.store = store
        self.user = user
        self._ids = itertools.count(1)
        self._refusals: dict[str, Counter[Any]] = {}
        self._lock = threading.Lock()

    def submit(self, _: Request, body: bytes) -> Response:
        """Carry out a RunOperation and answer its id."""
        operation = ingest_pb2.RunOperation()
        try:
            operation.ParseFromString(body)
        except DecodeError as error:
            raise bad_request(f"The request's body is not a RunOperation: {error}") from error
        outcome: Counter[Any] = Counter()
        with self.store.lock:
            self._carry_out(operation, outcome)
        with self._lock:
            request_id = f"request-{next(self._ids)}"
            if outcome:
                self._refusals[request_id] = outcome
            while len(self._refusals) > _KEPT_RESULTS:
                del self._refusals[next(iter(self._refusals))]
        answer = client_pb2.SubmitResponse(request_id=request_id, request_ids=[request_id])
        return Response(answer.SerializeToString(), media_type=PROTOBUF)

    def check(self, request: Request, body: bytes) -> Response:
        """The outcome of requests, in their order: OK once, or else the refusals counted."""
        project = request.query_params.get("projectIdentifier", "")
        if project not in self.store.projects and not self.store.create_missing_projects:
            raise access_denied(project)
        asked = client_pb2.RequestIdList()
        try:
            asked.ParseFromString(body)
        except DecodeError as error:
            raise bad_request(f"The request's body is not a RequestIdList: {error}") from error
        answer = client_pb2.BulkRequestStatus()
        for one in asked.ids:
            status = answer.statuses.add()
            outcome = self._refusals.get(one.value) or Counter({IngestCode.OK: 1})
            for detail, count in outcome.items():
                code = _GRPC.get(detail, Code.INVALID_ARGUMENT)
                status.code_by_count.add(code=code, detail=detail, count=count)
        return Response(answer.SerializeToString(), media_type=PROTOBUF)

    def _carry_out(self, operation: Any, outcome: Counter[Any]) -> None:
        try:
            project = self._project(operation)
            kind = operation.WhichOneof("operation")
            if kind == "create":
                self._create(project, operation.run_id, operation.create)
                return
            run = project.find(operation.run_id)
            if run is None:
                raise Refused(IngestCode.RUN_NOT_FOUND)
        except Refused as refused:
            outcome[refused.code] += 1
            return
        batch = operation.update_batch.snapshots if kind == "update_batch" else [operation.update]
        for snapshot in batch:
            _Update(run, snapshot, outcome).apply()
        run.touch()
        run.attributes["sys/ping_time"] = Attribute("datetime", self.store.clock())

    def _project(self, operation: Any) -> Project:
        project = self.store.projects.get(operation.project)
        if project is not None:
            return project
        if not (operation.create_missing_project or self.store.create_missing_projects):
            raise Refused(IngestCode.PROJECT_NOT_FOUND)
        try:
            return self.store.project(operation.project)
        except ValueError as error:
            raise Refused(IngestCode.PROJECT_INVALID_NAME) from error

    def _create(self, project: Project, run_id: str, asked: Any) -> None:
        """A run that exists is resumed: a duplicate, or a conflict when its fork point differs.

        A fork whose parent is unknown becomes a run of its own, with a warning.
        """
        if not run_id or "/" in run_id:
            raise Refused(IngestCode.RUN_INVALID_CREATION_PARAMETERS)
        forked = asked.HasField("fork_point")
        parent = project.find(asked.fork_point.parent_run_id) if forked else None
        step = _step(asked.fork_point.step) if forked else None
        existing = project.find(run_id)
        if existing is not None:
            same = existing.parent is parent and existing.fork_step == step
            raise Refused(IngestCode.RUN_DUPLICATE if same else IngestCode.RUN_CONFLICTING)
        created = _milliseconds(asked.creation_time) if asked.HasField("creation_time") else None
        run = project.create_run(
            run_id,
            experiment=asked.experiment_id or None,
            parent=parent,
            fork_step=step if parent is not None else None,
            created=created,
            owner=self.user,
        )
        if asked.family:
            run.attributes["sys/family"] = Attribute("string", asked.family)
        if parent is not None and asked.inherit_configs:
            _inherit_configs(run, parent)
        if forked and parent is None:
            raise Refused(IngestCode.RUN_FORK_PARENT_NOT_FOUND)


class _Update:
    """Applies one snapshot: what is refused has no effect, the rest has."""

    def __init__(self, run: Run, snapshot: Any, outcome: Counter[Any]) -> None:
        self.run = run
        self.snapshot = snapshot
        self.outcome = outcome
        self.timestamp = (
            _milliseconds(snapshot.timestamp)
            if snapshot.HasField("timestamp")
            else run.project.store.clock()
        )

    def apply(self) -> None:
        """Configs and files, then sets, then points."""
        for path, value in self.snapshot.assign.items():
            self._guarded(path, self._assign, value)
        for path, change in self.snapshot.modify_sets.items():
            self._guarded(path, self._modify, change)
        if self.snapshot.append:
            try:
                step = self._step_of_points()
            except Refused as refused:
                self.outcome[refused.code] += len(self.snapshot.append)
                return
            for path, value in self.snapshot.append.items():
                self._guarded(path, self._append, (step, value))

    def _guarded(self, path: str, action: Any, argument: Any) -> None:
        try:
            if not path:
                raise Refused(IngestCode.FIELD_PATH_EMPTY)
            if len(path.encode()) > MAX_PATH:
                raise Refused(IngestCode.FIELD_PATH_EXCEEDS_SIZE_LIMIT)
            if path in _READ_ONLY or path.startswith(_READ_ONLY_BELOW):
                raise Refused(IngestCode.FIELD_PATH_NON_WRITABLE)
            action(path, argument)
        except Refused as refused:
            self.outcome[refused.code] += 1
        except TypeError:
            self.outcome[IngestCode.FIELD_TYPE_CONFLICTING] += 1

    def _assign(self, path: str, value: Any) -> None:
        type_, content = _scalar(value)
        self._keeps_type(path, type_)
        self.run.attributes[path] = Attribute(type_, content)
        if path == "sys/name":
            self.run.project.make_head(self.run, content)

    def _modify(self, path: str, change: Any) -> None:
        self._keeps_type(path, "string_set")
        before = self.run.attributes.get(path)
        members = dict.fromkeys(before.value if before is not None else ())
        for member, operation in change.string.values.items():
            if operation == common_pb2.SET_OPERATION.ADD:
                members[member] = None
            elif operation == common_pb2.SET_OPERATION.REMOVE:
                members.pop(member, None)
        self.run.attributes[path] = Attribute("string_set", tuple(members))

    def _append(self, path: str, point: tuple[float, Any]) -> None:
        step, value = point
        kind = value.WhichOneof("value")
        if kind in ("float64", "int64"):
            self._append_float(path, step, float(getattr(value, kind)))
            return
        type_, content = _point(value)
        if path in self.run.attributes:
            self._keeps_type(path, type_)
            series = self.run.object_series(path, type_)
            last = len(series) - 1
            if last >= 0:
                same = series.values[last] == content
                _in_order(step, series.steps[last], same, self.timestamp, series.timestamps[last])
        self._after_fork(step)
        self.run.object_series(path, type_).append(step, self.timestamp, content)

    def _append_float(self, path: str, step: float, value: float) -> None:
        self._keeps_type(path, "float_series")
        self._after_fork(step)
        series = self.run.attributes[path].value if path in self.run.attributes else None
        preview = self.snapshot.HasField("preview") and self.snapshot.preview.is_preview
        if series is not None and len(series):
            last, before = float(series.steps[-1]), float(series.values[-1])
            if preview and step <= last:
                raise Refused(IngestCode.SERIES_PREVIEW_STEP_NOT_AFTER_LAST_COMMITTED_STEP)
            same = before == value or (before != before and value != value)
            _in_order(step, last, same, self.timestamp, int(series.timestamps[-1]))
        series = self.run.float_series(path)
        if preview:
            completion = self.snapshot.preview.completion_ratio
            series.previews[step] = (self.timestamp, value, completion)
        else:
            series.append(step, self.timestamp, value)

    def _keeps_type(self, path: str, type_: str) -> None:
        before = self.run.attributes.get(path)
        if before is not None and before.type != type_:
            raise Refused(IngestCode.FIELD_TYPE_CONFLICTING)

    def _after_fork(self, step: float) -> None:
        """A point at the fork step itself is accepted (measured), one before is not."""
        if self.run.fork_step is not None and step < self.run.fork_step:
            raise Refused(IngestCode.SERIES_STEP_NOT_AFTER_FORK_POINT)

    def _step_of_points(self) -> float:
        """The snapshot's step, else the successor of the highest among its series."""
        if self.snapshot.HasField("step"):
            return _step(self.snapshot.step)
        found = (self.run.attributes.get(path) for path in self.snapshot.append)
        lasts = [
            float(attribute.value.steps[-1])
            for attribute in found
            if attribute is not None and attribute.type.endswith("_series") and attribute.value
        ]
        return max(lasts) + 1 if lasts else 0.0


def _in_order(
    step: float, last_step: float, same_value: bool, timestamp: int, last_timestamp: int
) -> None:
    if step == last_step and same_value:
        raise Refused(IngestCode.SERIES_POINT_DUPLICATE)
    if step <= last_step:
        raise Refused(IngestCode.SERIES_STEP_NON_INCREASING)
    if timestamp < last_timestamp:
        raise Refused(IngestCode.SERIES_TIMESTAMP_DECREASING)


def _inherit_configs(run: Run, parent: Run) -> None:
    """What `inherit_configs` says it does: the parent's single values, as they are now (assumed).

    Series are not copied; they are seen through the lineage.
    """
    for path, attribute in parent.attributes.items():
        if attribute.type in CONFIG_TYPES and not path.startswith("sys/"):
            run.attributes[path] = Attribute(attribute.type, attribute.value)


def _scalar(value: Any) -> tuple[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "float64":
        return "float", value.float64
    if kind == "int64":
        return "int", value.int64
    if kind == "bool":
        return "bool", value.bool
    if kind == "string":
        _check_length(value.string, IngestCode.STRING_VALUE_EXCEEDS_SIZE_LIMIT)
        return "string", value.string
    if kind == "timestamp":
        return "datetime", _milliseconds(value.timestamp)
    if kind == "string_set":
        return "string_set", tuple(dict.fromkeys(value.string_set.values))
    if kind == "file_ref":
        return "file", _file(value.file_ref)
    raise Refused(IngestCode.FIELD_TYPE_UNSUPPORTED)


def _point(value: Any) -> tuple[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "string":
        _check_length(value.string, IngestCode.STRING_VALUE_EXCEEDS_SIZE_LIMIT)
        return "string_series", value.string
    if kind == "histogram":
        return "histogram_series", _histogram(value.histogram)
    if kind == "file_ref":
        return "file_series", _file(value.file_ref)
    raise Refused(IngestCode.FIELD_TYPE_UNSUPPORTED)


def _histogram(histogram: Any) -> HistogramValue:
    """Counts become doubles; the label COUNTING is measured, DENSITY assumed."""
    edges = tuple(histogram.bin_edges)
    counted = histogram.WhichOneof("values") == "counts"
    values = histogram.counts.values if counted else histogram.densities.values
    if any(edge != edge for edge in edges):
        raise Refused(IngestCode.HISTOGRAM_BIN_EDGES_CONTAINS_NAN)
    if len(edges) > MAX_BINS + 1:
        raise Refused(IngestCode.HISTOGRAM_TOO_MANY_BINS)
    if any(a >= b for a, b in itertools.pairwise(edges)):
        raise Refused(IngestCode.HISTOGRAM_BIN_EDGES_NOT_INCREASING)
    if len(values) != len(edges) - 1:
        raise Refused(IngestCode.HISTOGRAM_VALUES_LENGTH_DOESNT_MATCH_BINS)
    label = "COUNTING" if counted else "DENSITY"
    return HistogramValue(label, edges, tuple(float(value) for value in values))


def _file(ref: Any) -> FileValue:
    if len(ref.path.encode()) > 4096:
        raise Refused(IngestCode.FILE_REF_EXCEEDS_SIZE_LIMIT)
    return FileValue(ref.path, ref.size_bytes, ref.mime_type)


def _check_length(text: str, code: Any) -> None:
    if len(text) > MAX_STRING // 4 and len(text.encode()) > MAX_STRING:
        raise Refused(code)


def _step(step: Any) -> float:
    """The double nearest to whole + micro / 10**6."""
    if step.whole >= MAX_STEP:
        raise Refused(IngestCode.SERIES_STEP_TOO_LARGE)
    if step.micro >= _MICROS:
        raise Refused(IngestCode.SERIES_STEP_INVALID)
    return float((step.whole * _MICROS + step.micro) / _MICROS)


def _milliseconds(timestamp: Any) -> int:
    """Rounded: the client derives nanoseconds from a float, so they may be one short."""
    return int(timestamp.seconds * 1000 + round(timestamp.nanos / 1e6))
