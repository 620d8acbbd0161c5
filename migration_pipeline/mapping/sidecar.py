"""What is kept beside a run at a target that takes files: all that the target cannot hold itself.

`neptune/migration.json` says what was done; the others are JSON lines, so that a person can read
them and a run of any size can be written and read without being held. Text and histogram series
have the same form where a target has nothing of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from migration_pipeline.archive.schema import make_batch
from migration_pipeline.mapping.steps import step_micros, step_text
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.mapping.values import float_from_json, float_json

MIGRATION = "neptune/migration.json"
PARAMETERS = "neptune/parameters.jsonl"
"""Parameters whose text at the target is not all of their value."""
POINTS = "neptune/points.jsonl"
"""Float points that the target's points alone do not give back."""
WHOLE_SERIES = "neptune/series"
"""Folder of float series of which the target keeps a sample, whole."""
FILES = "neptune/files.jsonl"
"""Which file of the run is which attribute, step and time."""
FORMAT = 1
_BATCH_LINES = 1000
_BATCH_BYTES = 8 * 1024 * 1024


class AttributeEntry(BaseModel):
    """One attribute: where it is at the target. `name` is its key there, or the file that holds a
    series; files of file attributes are in `FILES`."""

    model_config = ConfigDict(frozen=True)

    path: str
    type: str
    rows: int
    name: str = ""


class LossEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    attribute: str
    reason: str
    count: int
    kept: str = ""


class Migration(BaseModel):
    """`neptune/migration.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    written_by: str
    project: str
    run: str
    kind: str
    digest: str
    step_multiplier: int
    start: int
    """Stands for the time of points that have none, ms."""
    attributes: list[AttributeEntry]
    renamed: dict[str, str] = Field(default_factory=dict)
    """Attribute → its name at the target, where that is another one."""
    timeless: list[str] = Field(default_factory=list)
    """Float series of which no point has a time."""
    losses: list[LossEntry] = Field(default_factory=list)
    damage: list[str] = Field(default_factory=list)
    """What was wrong with the run in the archive: only what could be read of it is here."""


def loss_entries(losses: list[Loss]) -> list[LossEntry]:
    return [
        LossEntry(attribute=loss.attribute, reason=loss.reason, count=loss.count, kept=loss.kept)
        for loss in losses
    ]


def write_line(stream: Any, item: dict[str, Any]) -> None:
    """One JSON object and a newline to a binary stream."""
    stream.write(json.dumps(item, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON lines file, one at a time."""
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def text_line(step: int | None, time: int | None, text: str | None) -> dict[str, Any]:
    """A point of a string series; step in millionths, time in ms."""
    return {"step": None if step is None else step_text(step), "time": time, "value": text}


def histogram_line(
    step: int | None, time: int | None, value: dict[str, Any] | None
) -> dict[str, Any]:
    """A point of a histogram series."""
    line: dict[str, Any] = {"step": None if step is None else step_text(step), "time": time}
    if value is None:
        return {**line, "value": None}
    return {
        **line,
        "type": value["type"],
        "edges": _numbers(value["edges"]),
        "values": _numbers(value["values"]),
    }


def _numbers(values: list[float] | None) -> list[float | str | None] | None:
    return None if values is None else [float_json(v) for v in values]


def series_rows(path: str, kind: str, lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines of a text or histogram series as rows for `make_batch`."""
    for line in lines:
        row: dict[str, Any] = {"path": path, "type": kind}
        row["step"] = None if line["step"] is None else step_micros(line["step"])
        row["timestamp"] = line["time"]
        if kind == "string_series" or "edges" not in line:
            row["value"] = line["value"]
        else:
            row["value"] = {
                "type": line["type"],
                "edges": _floats(line["edges"]),
                "values": _floats(line["values"]),
            }
        yield row


def _floats(values: list[Any] | None) -> list[float | None] | None:
    return None if values is None else [float_from_json(v) for v in values]


def batched(project: str, run: str, rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows as batches of bounded size."""
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += _size(row["value"])
        if len(held) >= _BATCH_LINES or size >= _BATCH_BYTES:
            yield make_batch(project, run, held)
            held, size = [], 0
    if held:
        yield make_batch(project, run, held)


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return 8 * len(value.get("edges") or ()) + 8 * len(value.get("values") or ())
    return 8
