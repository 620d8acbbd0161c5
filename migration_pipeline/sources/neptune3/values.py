"""Attribute values of many runs at once, and what they announce: series and files.

One answer says of each run which attributes it has, with the values of all that are not series.
Project-wide definitions are not used: the server leaves a name out of them when two runs give it
different types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from migration_pipeline.archive.schema import make_batch
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.source import Rows, RunRef, Selection

PAGE_VALUES = 10_000
BACKEND_TYPES = {
    "float": "float",
    "int": "int",
    "string": "string",
    "bool": "bool",
    "datetime": "datetime",
    "string_set": "stringSet",
    "float_series": "floatSeries",
    "string_series": "stringSeries",
    "histogram_series": "histogramSeries",
    "file": "fileRef",
    "file_series": "fileRefSeries",
}
"""Attribute types of the archive → of the 3.x protocol."""
_ARCHIVE_TYPES = {backend: ours for ours, backend in BACKEND_TYPES.items()}
_PARAMETERS: dict[str, Callable[[Any], Any]] = {
    "float": lambda a: a.float_properties.value,
    "int": lambda a: a.int_properties.value,
    "string": lambda a: a.string_properties.value,
    "bool": lambda a: a.bool_properties.value,
    "datetime": lambda a: a.datetime_properties.value,
    "string_set": lambda a: list(a.string_set_properties.value),
}


@dataclass(frozen=True)
class StoredFile:
    """A file as the server names it; `step` in millionths for a point of a file series."""

    run: RunRef
    attribute: str
    type: str
    path: str
    size: int
    mime_type: str
    step: int | None = None
    timestamp: int | None = None


@dataclass(frozen=True)
class Series:
    """A series that a run has; `last_step` where the server tells."""

    run: RunRef
    attribute: str
    type: str
    last_step: float | None


@dataclass
class Announced:
    """What a run's values announce."""

    float_series: list[Series] = field(default_factory=list)
    other_series: list[Series] = field(default_factory=list)
    files: list[StoredFile] = field(default_factory=list)
    attributes: int = 0


def read_values(
    client: Neptune3Client, runs: Sequence[RunRef], selection: Selection
) -> Iterator[Rows | dict[RunRef, Announced]]:
    """Yields the parameters as rows, page by page, and last what the runs announce."""
    project = runs[0].key.project
    by_handle = {run.handle: run for run in runs}
    announced = {run: Announced() for run in runs}
    body: dict[str, Any] = {
        "experimentIdsFilter": [f"{project}/{run.handle}" for run in runs],
        "attributeNameFilter": {},
        "attributeFilter": [
            {"attributeType": BACKEND_TYPES[t]}
            for t in sorted(selection.types)
            if t in BACKEND_TYPES
        ],
        "nextPage": {"limit": PAGE_VALUES},
    }
    if selection.attribute_names:
        body["attributeNamesFilter"] = list(selection.attribute_names)
        del body["attributeNameFilter"], body["attributeFilter"]
    while True:
        page = client.values(project, body)
        for entry in page.entries:
            run = by_handle[entry.experimentShortId]
            rows = _rows(run, entry.attributes, selection, announced[run])
            if rows:
                yield Rows(run, make_batch(project, run.key.run, rows))
        if not page.nextPage.nextPageToken:
            break
        body["nextPage"]["nextPageToken"] = page.nextPage.nextPageToken
    yield announced


def _rows(
    run: RunRef, attributes: Any, selection: Selection, announced: Announced
) -> list[dict[str, Any]]:
    rows = []
    for attribute in attributes:
        kind = _ARCHIVE_TYPES.get(attribute.type)
        if kind is None or not selection.wants(attribute.name, kind):
            continue
        announced.attributes += 1
        if kind in _PARAMETERS:
            rows.append(
                {"path": attribute.name, "type": kind, "value": _PARAMETERS[kind](attribute)}
            )
        elif kind == "file":
            stored = attribute.file_ref_properties
            announced.files.append(
                StoredFile(
                    run, attribute.name, kind, stored.path, stored.sizeBytes, stored.mimeType
                )
            )
        else:
            series = Series(run, attribute.name, kind, _last_step(attribute, kind))
            floats = kind == "float_series"
            (announced.float_series if floats else announced.other_series).append(series)
    return rows


def _last_step(attribute: Any, kind: str) -> float | None:
    name = {"file_series": "file_ref_series_properties"}.get(kind, f"{kind}_properties")
    properties = getattr(attribute, name)
    if not properties.HasField("last_step"):
        return None
    return float(properties.last_step)
