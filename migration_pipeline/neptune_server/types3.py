"""Names of attribute types and answers' parts of the 3.x protocol, and errors it answers with."""

from __future__ import annotations

from typing import Any

from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    leaderboard_entries_pb2 as entries_pb2,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    series_values_pb2 as values_pb2,
)

from .series import FloatSeries, ObjectSeries
from .store import Attribute, FileValue, HistogramValue

WIRE_TYPES = {
    "float": "float",
    "int": "int",
    "string": "string",
    "bool": "bool",
    "datetime": "datetime",
    "string_set": "stringSet",
    "file": "fileRef",
    "float_series": "floatSeries",
    "string_series": "stringSeries",
    "histogram_series": "histogramSeries",
    "file_series": "fileRefSeries",
}
"""Archive's name → 3.x name. What 3.x does not have is not served: artifact, file_set, and 2.x's
references to git, notebooks and the run's state."""


class ApiError(Exception):
    """An answer other than 200: HTTP status, Neptune's errorType and a message.

    `details` are further fields of the answer, which some of the clients' errors show.
    """

    def __init__(self, status: int, error_type: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.details = details


def access_denied(project: str) -> ApiError:
    """An unknown project or workspace and one without permission are answered alike.

    The errorType is asserted by Neptune's end-to-end tests, the status is assumed.
    """
    return ApiError(403, "ACCESS_DENIED", f"Access to project {project} denied.")


def bad_request(message: str) -> ApiError:
    """400 with BAD_REQUEST, which no client retries."""
    return ApiError(400, "BAD_REQUEST", message)


def attribute_message(path: str, attribute: Attribute) -> Any:
    """ProtoAttributeDTO of an attribute; None when there is nothing to say.

    That is: a type that 3.x does not have, or a series without a committed point.
    """
    wire = WIRE_TYPES.get(attribute.type)
    if wire is None:
        return None
    message = entries_pb2.ProtoAttributeDTO(name=path, type=wire)
    value = attribute.value
    if isinstance(value, FloatSeries):
        return _float_series(message, value)
    if isinstance(value, ObjectSeries):
        return _object_series(message, attribute.type, value)
    if attribute.type == "file":
        ref = message.file_ref_properties
        ref.path, ref.sizeBytes, ref.mimeType = value.path, value.size, value.mime_type
    elif attribute.type == "string_set":
        # A set without members must still be present as a field.
        message.string_set_properties.SetInParent()
        message.string_set_properties.value.extend(value)
    else:
        properties = getattr(message, f"{attribute.type}_properties")
        properties.SetInParent()
        properties.value = value
    return message


def point_value(type_: str, value: Any, target: Any) -> None:
    """Write a string, histogram or file into a ProtoSeriesPointValueObjectDTO."""
    if type_ == "string_series":
        target.stringValue = value
    elif type_ == "histogram_series":
        write_histogram(value, target.histogram)
    else:
        write_file(value, target.fileRef)


def write_histogram(value: HistogramValue, target: values_pb2.ProtoHistogram) -> None:
    target.type = value.type
    target.edges.extend(value.edges)
    target.values.extend(value.values)


def write_file(value: FileValue, target: values_pb2.ProtoFileRef) -> None:
    target.path, target.sizeBytes, target.mimeType = value.path, value.size, value.mime_type


def _float_series(message: Any, series: FloatSeries) -> Any:
    properties = message.float_series_properties
    properties.has_preview = bool(series.previews)
    found = series.aggregates()
    if found is not None:
        properties.last_step, properties.last = found.last_step, found.last
        properties.min, properties.max = found.minimum, found.maximum
        properties.average, properties.variance = found.average, found.variance
    return message if found is not None or series.previews else None


def _object_series(message: Any, type_: str, series: ObjectSeries) -> Any:
    if not len(series):
        return None
    last = series.values[-1]
    if type_ == "string_series":
        properties = message.string_series_properties
        properties.last = last
    elif type_ == "histogram_series":
        properties = message.histogram_series_properties
        write_histogram(last, properties.last)
    else:
        properties = message.file_ref_series_properties
        write_file(last, properties.last)
    properties.last_step = series.steps[-1]
    return message
