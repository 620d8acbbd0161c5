"""Attributes as the 2.x protocol tells them: all of an object, and single values.

An attribute is `{name, type, <type>Properties: {attributeName, attributeType, ...}}`, the same in
tables and in the list of an object's attributes. GitRef, RunState and NotebookRef have no address
of their own: these two are where they are found.

JSON has no NaN. How a real server writes one is unknown, its clients never send it; here it and
the infinities are the strings "NaN", "Infinity" and "-Infinity", which `float` reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.series import FloatSeries, ObjectSeries
from migration_pipeline.neptune_server.store import Attribute, FileSetValue, FileValue, Run, Store

from .finding import find_attribute, find_object
from .images import wire_type
from .states import Liveness

WIRE_TYPES = {
    "float": "float",
    "int": "int",
    "bool": "bool",
    "string": "string",
    "datetime": "datetime",
    "run_state": "experimentState",
    "string_set": "stringSet",
    "float_series": "floatSeries",
    "string_series": "stringSeries",
    "file_series": "imageSeries",
    "file": "file",
    "file_set": "fileSet",
    "artifact": "artifact",
    "git_ref": "gitRef",
    "notebook_ref": "notebookRef",
}
"""Archive's name → 2.x name. Histogram series are not served; file series have other names, too."""

Json = dict[str, Any]


def described(path: str, attribute: Attribute) -> Json | None:
    """The attribute as an entry of tables and lists; None for what 2.x does not have."""
    type_ = wire_name(attribute)
    properties = None if type_ is None else _properties(attribute)
    if properties is None:
        return None
    return {
        "name": path,
        "type": type_,
        f"{type_}Properties": {"attributeName": path, "attributeType": type_, **properties},
    }


def wire_name(attribute: Attribute) -> str | None:
    """The 2.x name of the attribute's type; None for what 2.x does not have."""
    if attribute.type == "file_series":
        return wire_type(attribute.value)
    return WIRE_TYPES.get(attribute.type)


def json_number(value: float | None) -> float | str | None:
    """The value, or what stands for one that JSON does not have."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def iso(milliseconds: int) -> str:
    """UTC with milliseconds, as the clients parse it."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y}".zfill(4) + f"{moment:-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


class Attributes:
    """All attributes of an object, and one value at a time. One instance per server."""

    def __init__(self, store: Store, liveness: Liveness) -> None:
        self.store = store
        self.liveness = liveness

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method. Of an artifact its own module tells the hash."""
        single = {
            "getFloatAttribute": "float",
            "getIntAttribute": "int",
            "getBoolAttribute": "bool",
            "getStringAttribute": "string",
            "getDatetimeAttribute": "datetime",
            "getStringSetAttribute": "string_set",
            "getFileAttribute": "file",
            "getFloatSeriesAttribute": "float_series",
            "getStringSeriesAttribute": "string_series",
        }
        return {
            "getExperimentAttributes": self.all,
            **{operation: self._single(type_) for operation, type_ in single.items()},
        }

    def all(self, request: Request, _: bytes) -> Response:
        """Every attribute; the clients of the older API need `systemAttributes`."""
        with self.store.lock:
            run = find_object(self.store, request.query_params.get("experimentId", ""))
            self.liveness.settle()
            attributes = [
                one for path, found in run.attributes.items() if (one := described(path, found))
            ]
            system = _system(run)
        return JSONResponse(
            {
                "id": run.uuid,
                "type": kind_on_wire(run),
                "shortId": run.sys_id,
                "organizationName": run.project.workspace,
                "projectName": run.project.name,
                "attributes": attributes,
                "systemAttributes": system,
            }
        )

    def _single(self, type_: str) -> Callable[[Request, bytes], Response]:
        def handler(request: Request, _: bytes) -> Response:
            with self.store.lock:
                _run, path, found = find_attribute(self.store, request, type_)
                properties = _properties(found) or {}
                if isinstance(found.value, FloatSeries):
                    low, high, unit = found.value.config or (None, None, None)
                    properties["config"] = {"min": low, "max": high, "unit": unit}
            return JSONResponse(
                {"attributeName": path, "attributeType": WIRE_TYPES[type_], **properties}
            )

        return handler


def kind_on_wire(run: Run) -> str:
    """run, model, modelVersion or project."""
    return "modelVersion" if run.kind == "model_version" else run.kind


def _properties(attribute: Attribute) -> Json | None:
    """The fields that say the value; None when it is none that 2.x has (from another's archive)."""
    value = attribute.value
    if isinstance(value, FloatSeries):
        return _float_series(value)
    if isinstance(value, ObjectSeries):
        return _object_series(attribute.type, value)
    if isinstance(value, FileValue):
        return _file(value) if attribute.type == "file" else None
    if isinstance(value, FileSetValue):
        return {"size": sum(file.size for file in value.files.values())}
    match attribute.type:
        case "float":
            return {"value": json_number(value)}
        case "datetime":
            return {"value": iso(value)}
        case "string_set":
            return {"values": list(value)}
        case "artifact":
            return {"hash": value}
        case "git_ref" | "notebook_ref":
            return dict(value)
    return {"value": value}


def _float_series(series: FloatSeries) -> Json:
    found = series.aggregates()
    if found is None:
        return dict.fromkeys(("last", "lastStep", "min", "max", "average", "variance"))
    known = not math.isnan(found.minimum)
    return {
        "last": json_number(found.last),
        "lastStep": found.last_step,
        "min": found.minimum if known else None,
        "max": found.maximum if known else None,
        "average": json_number(found.average) if known else None,
        "variance": json_number(found.variance) if known else None,
    }


def _object_series(type_: str, series: ObjectSeries) -> Json:
    properties: Json = {"lastStep": series.steps[-1] if len(series) else None}
    if type_ == "string_series":
        properties["last"] = series.values[-1] if len(series) else None
    return properties


def _file(value: FileValue) -> Json:
    """What an archive of another protocol does not say is taken from the stored path."""
    path = PurePosixPath(value.path)
    extension = value.extension if value.name else path.suffix[1:]
    return {"name": value.name or path.name, "ext": extension, "size": value.size}


def _system(run: Run) -> Json:
    """`systemAttributes`: some of those under sys by names of their own; only the host may lack."""

    def value(name: str, field: str = "value") -> Json | None:
        found = run.attributes.get(f"sys/{name}")
        properties = None if found is None else _properties(found)
        return None if properties is None else {field: properties[field]}

    described = {
        "shortId": {"value": run.sys_id},
        "name": value("name") or {"value": None},
        "description": value("description") or {"value": None},
        "owner": value("owner") or {"value": None},
        "creationTime": value("creation_time") or {"value": None},
        "runningTime": value("running_time") or {"value": None},
        "size": value("size") or {"value": None},
        "state": value("state") or {"value": None},
        "tags": value("tags", "values") or {"values": []},
        "hostname": value("hostname"),
    }
    return {name: one for name, one in described.items() if one is not None}
