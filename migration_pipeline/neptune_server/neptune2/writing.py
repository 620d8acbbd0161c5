"""executeOperations: every way in which a 2.x client changes an object, but uploads.

Operations apply one by one, in their order. One that is refused becomes an entry in the answer,
and the others apply all the same: that is how the vendor's tests have it. Where they are silent
this server assumes: of points whose step does not increase only these are skipped, a point without
a step follows the last one by 1, what is absent may be deleted or cleared, and attributes that
the server writes itself cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.series import Floats, FloatSeries, Ints, ObjectSeries
from migration_pipeline.neptune_server.store import Attribute, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError

from . import artifacts, file_sets, images
from .attributes import WIRE_TYPES
from .creation import STAGES
from .finding import find_object, parsed
from .json_numbers import number_from, refuse_late, step_of
from .states import Liveness

STRING_SETS = frozenset({"sys/tags", "sys/group_tags"})
_SERVERS_OWN = frozenset(
    f"sys/{name}"
    for name in (
        "id",
        "owner",
        "custom_run_id",
        "model_id",
        "creation_time",
        "modification_time",
        "ping_time",
        "running_time",
        "monitoring_time",
        "size",
        "trashed",
        "visibility",
    )
)
_MUST_STAY = _SERVERS_OWN | STRING_SETS | {"sys/state", "sys/stage", "sys/failed"}

Json = dict[str, Any]
_POINT = {"step", "value", "timestampMilliseconds"}


class Refused(ValueError):
    """An operation, or some points of one, that has no effect."""


class Writing:
    """One instance per server."""

    def __init__(self, store: Store, liveness: Liveness) -> None:
        self.store = store
        self.liveness = liveness

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {"executeOperations": self.execute}

    def execute(self, request: Request, body: bytes) -> Response:
        """Apply the operations. The answer lists `{errorType, errorDescription}` of those refused,
        and is empty when all took effect."""
        operations = parsed(body, list)
        errors = []
        with self.store.lock:
            run = find_object(self.store, request.query_params.get("experimentId", ""))
            changes = _Changes(run, self.liveness)
            for operation in operations:
                try:
                    changes.apply(operation)
                except (ValueError, ApiError) as error:
                    errors.append(
                        {
                            "errorType": "metadata_inconsistency",
                            "errorDescription": str(error),
                        }
                    )
            run.touch()
        return JSONResponse(errors)


class _Changes:
    """Applies operations to one object, whose store is locked."""

    def __init__(self, run: Run, liveness: Liveness) -> None:
        self.run = run
        self.liveness = liveness

    def apply(self, operation: Json) -> None:
        """ValueError when it is refused, in whole or in part."""
        path = operation.get("path")
        names = [name for name in operation if name != "path"]
        if not path or not isinstance(path, str) or len(names) != 1:
            raise Refused(f"Not an operation on an attribute: {sorted(operation)}")
        action = _ACTIONS.get(names[0])
        if action is None:
            raise Refused(f"Unknown operation {names[0]} on {path}")
        try:
            action(self, path, operation[names[0]] or {})
        except (KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{names[0]} on {path} lacks something: {error!r}") from error

    def assign(self, type_: str, path: str, value: Any) -> None:
        """Set a single value; to tell the state and the stage is a matter of their own."""
        if path in _SERVERS_OWN:
            raise Refused(f"Attribute {path} is written by the server alone")
        if path == "sys/state" and type_ == "string":
            self.liveness.told(self.run)
            type_ = "run_state"
        if path == "sys/stage" and self.run.kind == "model_version" and value not in STAGES:
            raise Refused(f"{value!r} is not a stage: {', '.join(STAGES)}")
        self.keeps_type(path, type_)
        self.run.attributes[path] = Attribute(type_, value)

    def log_floats(self, path: str, entries: list[Json]) -> None:
        self.keeps_type(path, "float_series")
        series = self.run.float_series(path)
        last = float(series.steps[-1]) if len(series) else None
        if (columns := _columns(entries, last)) is not None:
            series.extend(*columns)
            return
        late = []
        for entry in entries:
            step = step_of(entry, last)
            if last is not None and step <= last:
                late.append(step)
                continue
            series.append(step, int(entry["timestampMilliseconds"]), number_from(entry["value"]))
            last = step
        refuse_late(path, late)

    def log_strings(self, path: str, entries: list[Json]) -> None:
        self.keeps_type(path, "string_series")
        series = self.run.object_series(path, "string_series")
        late = []
        for entry in entries:
            last = series.steps[-1] if len(series) else None
            step = step_of(entry, last)
            if last is not None and step <= last:
                late.append(step)
                continue
            series.append(step, int(entry["timestampMilliseconds"]), str(entry["value"]))
        refuse_late(path, late)

    def clear_series(self, type_: str, path: str) -> None:
        """Take all points out; the attribute and how it is drawn stay, if it is there."""
        self.keeps_type(path, type_)
        found = self.run.attributes.get(path)
        if found is None:
            return
        if isinstance(found.value, FloatSeries):
            config = found.value.config
            found.value = FloatSeries()
            found.value.config = config
        else:
            found.value = ObjectSeries()

    def configure(self, path: str, config: Json) -> None:
        self.keeps_type(path, "float_series")
        series = self.run.float_series(path)
        low, high = (
            None if config.get(n) is None else number_from(config[n]) for n in ("min", "max")
        )
        series.config = (low, high, config.get("unit"))

    def change_set(self, path: str, change: Callable[[dict[str, None]], None]) -> None:
        """Change the members of a set of strings, which keep their order."""
        if path not in STRING_SETS:
            raise Refused(f"{path} cannot be a StringSet: only sys/tags and sys/group_tags are")
        self.keeps_type(path, "string_set")
        before = self.run.attributes.get(path)
        members = dict.fromkeys(before.value if before is not None else ())
        change(members)
        self.run.attributes[path] = Attribute("string_set", tuple(members))

    def delete(self, path: str) -> None:
        if path in _MUST_STAY:
            raise Refused(f"Attribute {path} cannot be deleted")
        self.run.attributes.pop(path, None)

    def keeps_type(self, path: str, type_: str) -> None:
        found = self.run.attributes.get(path)
        if found is not None and found.type != type_:
            raise Refused(
                f"Attribute {path} of {self.run.sys_id} is {WIRE_TYPES.get(found.type, found.type)}"
                f", not {WIRE_TYPES[type_]}"
            )


def _columns(entries: list[Json], last: float | None) -> tuple[Floats, Ints, Floats] | None:
    """Steps, times and values of points that are all plain numbers, each step beyond the one
    before; None for others, which are looked at one by one."""
    if not entries or not all(entry.keys() >= _POINT for entry in entries):
        return None
    steps, values = [e["step"] for e in entries], [e["value"] for e in entries]
    times = [e["timestampMilliseconds"] for e in entries]
    if not {*map(type, steps), *map(type, values)} <= {int, float} or {*map(type, times)} != {int}:
        return None
    grown = np.array(steps, np.float64)
    if (np.diff(grown) <= 0).any() or (last is not None and grown[0] <= last):
        return None
    return grown, np.array(times, np.int64), np.array(values, np.float64)


def _without(members: dict[str, None], values: list[str]) -> None:
    for value in values:
        members.pop(value, None)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"{value!r} is not a whole number")
    return value


def _whole_of_32_bits(value: Any) -> int:
    """The published interface says int32 of whole numbers, not of times."""
    if not -(2**31) <= _whole(value) < 2**31:
        raise Refused(f"{value} is not a whole number of 32 bits")
    return _whole(value)


def _exactly(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Refused(f"{value!r} is not a {kind.__name__}")
    return value


_ACTIONS: dict[str, Callable[[_Changes, str, Json], None]] = {
    "assignFloat": lambda c, path, op: c.assign("float", path, number_from(op["value"])),
    "assignInt": lambda c, path, op: c.assign("int", path, _whole_of_32_bits(op["value"])),
    "assignBool": lambda c, path, op: c.assign("bool", path, _exactly(bool, op["value"])),
    "assignString": lambda c, path, op: c.assign("string", path, _exactly(str, op["value"])),
    "assignDatetime": lambda c, path, op: c.assign(
        "datetime", path, _whole(op["valueMilliseconds"])
    ),
    "logFloats": lambda c, path, op: c.log_floats(path, op["entries"]),
    "logStrings": lambda c, path, op: c.log_strings(path, op["entries"]),
    "clearFloatSeries": lambda c, path, _: c.clear_series("float_series", path),
    "clearStringSeries": lambda c, path, _: c.clear_series("string_series", path),
    "configFloatSeries": lambda c, path, op: c.configure(path, op),
    "insertStrings": lambda c, path, op: c.change_set(
        path, lambda members: members.update(dict.fromkeys(op["values"]))
    ),
    "removeStrings": lambda c, path, op: c.change_set(
        path, lambda members: _without(members, op["values"])
    ),
    "clearStringSet": lambda c, path, _: c.change_set(path, dict.clear),
    "deleteAttribute": lambda c, path, _: c.delete(path),
    "logImages": lambda c, path, op: images.log_images(c.run, path, op["entries"]),
    "clearImageSeries": lambda c, path, _: images.clear_images(c.run, path),
    "deleteFiles": lambda c, path, op: file_sets.delete_files(c.run, path, op["filePaths"]),
    "assignArtifact": lambda c, path, op: artifacts.assign(c.run, path, op["hash"]),
    "clearArtifact": lambda c, path, _: artifacts.clear(c.run, path),
    "logHtml": lambda c, path, op: images.log_html(c.run, path, op["entries"]),
    "logFiles": lambda c, path, op: images.log_files(c.run, path, op["entries"]),
    "clearHtmlSeries": lambda c, path, _: images.clear_images(c.run, path),
    "clearFileSeries": lambda c, path, _: images.clear_images(c.run, path),
}
