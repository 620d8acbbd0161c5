"""Attributes of 2.x as the archive has them, each with the properties that lists and tables give.

References (to git, to a notebook) and the run's state have no address of their own: these lists are
where they are found. They become strings under their own path, references as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from migration_pipeline.sources.neptune2.times import milliseconds

Json = dict[str, Any]
ARCHIVE_TYPES = {
    "float": "float",
    "int": "int",
    "bool": "bool",
    "string": "string",
    "datetime": "datetime",
    "stringSet": "string_set",
    "experimentState": "string",
    "gitRef": "string",
    "notebookRef": "string",
    "file": "file",
    "fileSet": "file_set",
    "artifact": "artifact",
    "floatSeries": "float_series",
    "stringSeries": "string_series",
    "imageSeries": "file_series",
}
"""Types of the 2.x protocol → of the archive."""
_SPOKEN = {"PosInf": "inf", "NegInf": "-inf", "NegZero": "-0.0"}


def number(value: Any) -> float | None:
    """A float as JSON gives it: a number, or a word for what JSON has no number for.

    The words are those of minfx.neptune_v2; `float` reads the usual ones.
    """
    if value is None:
        return None
    return float(_SPOKEN.get(value, value) if isinstance(value, str) else value)


def _reference(properties: Json) -> str:
    said = {k: v for k, v in properties.items() if k not in ("attributeName", "attributeType")}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _as_it_is(properties: Json) -> Any:
    return properties["value"]


_VALUES: dict[str, Callable[[Json], Any]] = {
    "float": lambda p: number(p["value"]),
    "int": _as_it_is,
    "bool": _as_it_is,
    "string": _as_it_is,
    "experimentState": _as_it_is,
    "datetime": lambda p: None if p["value"] is None else milliseconds(p["value"]),
    "stringSet": lambda p: list(p["values"]),
    "gitRef": _reference,
    "notebookRef": _reference,
}


def parameters(attributes: list[Json]) -> Iterator[Json]:
    """Rows for `make_batch` of those that are single values; one without a value is none.

    Raises:
        KeyError, TypeError, ValueError: an attribute is not as the protocol has it.
    """
    for one in attributes:
        if (read := _VALUES.get(one["type"])) is None:
            continue
        value = read(properties_of(one))
        if value is not None:
            yield {"path": one["name"], "type": ARCHIVE_TYPES[one["type"]], "value": value}


def properties_of(attribute: Json) -> Json:
    """What a list says of an attribute besides name and type."""
    found: Json = attribute[f"{attribute['type']}Properties"]
    return found
