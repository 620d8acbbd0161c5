"""Runs made for a test: rows in plain Python, written through the archive's own writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.archive.schema import FILE_TYPES, VALUE_COLUMN, make_batch
from migration_pipeline.archive.writer import RunWriter

KEY = RunKey("acme/vision", "run 1")
Row = dict[str, Any]


def row(
    path: str, type_: str, value: Any, step: int | None = None, timestamp: int | None = None
) -> Row:
    """As `make_batch` takes it, except that the value of a file is its content."""
    return {"path": path, "type": type_, "value": value, "step": step, "timestamp": timestamp}


def points(path: str, steps: Iterable[int], values: Iterable[float], at: int = 0) -> list[Row]:
    """A float series with a point every second from `at`."""
    pairs = enumerate(zip(steps, values, strict=True))
    return [row(path, "float_series", v, s, at + 1000 * i) for i, (s, v) in pairs]


def fill(writer: RunWriter, rows: Iterable[Row]) -> None:
    """Hands rows to a writer, files first."""
    ready = []
    for i, one in enumerate(rows):
        if one["type"] in FILE_TYPES:
            staged = writer.staging_path(f"made-{i}")
            staged.write_bytes(one["value"])
            step = one["step"]
            at = "" if step is None else f"{step // 10**6}.{step % 10**6:06d}"
            extension = extension_of("", "", one["path"])
            one = one | {"value": writer.add_file(staged, one["path"], at, extension)}
        ready.append(one)
    if ready:
        writer.write(make_batch(writer.key.project, writer.key.run, ready))


def write_run(archive: Archive, key: RunKey, rows: Iterable[Row], **of_the_run: object) -> Manifest:
    """One whole run."""
    with RunWriter(archive, key, "test") as writer:
        fill(writer, rows)
        return writer.commit(**of_the_run)


def archive_in(place: Location) -> Archive:
    return Archive(place / "data", place / "files")


def read_rows(archive: Archive, key: RunKey) -> list[Row]:
    """Back as `row`, sorted; a file's value is the content that lies there."""
    run = archive.find(key)
    assert run is not None, f"{key} is not there"
    found = []
    for batch in run.batches():
        for one in batch.to_pylist():
            assert (one["project_id"], one["run_id"]) == (key.project, key.run)
            column = VALUE_COLUMN[one["attribute_type"]]
            others = [c for c in set(VALUE_COLUMN.values()) - {column} if one[c] is not None]
            assert not others, f"{one['attribute_path']} has values in {others}"
            value = one[column]
            if column == "file_value":
                value = run.file(value["path"]).read_bytes()
            if column == "datetime_value":
                value = milliseconds(value)
            step, time = one["step"], one["timestamp"]
            found.append(
                row(
                    one["attribute_path"],
                    one["attribute_type"],
                    value,
                    None if step is None else int(step.scaleb(6)),
                    None if time is None else milliseconds(time),
                )
            )
    return sorted(found, key=lambda r: (r["path"], r["type"], r["step"] or 0))


def milliseconds(time: Any) -> int:
    """A datetime as the archive stores it, without a float on the way."""
    from datetime import UTC, datetime, timedelta

    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def values(archive: Archive, key: RunKey) -> Mapping[str, Any]:
    """path → value of everything that is not a series."""
    return {r["path"]: r["value"] for r in read_rows(archive, key) if r["step"] is None}


def contents(archive: Archive) -> dict[RunKey, str]:
    """Every published run's digest, made from its rows and files; the manifest must agree."""
    found = {}
    for project in archive.projects():
        for key, run in archive.runs(project).items():
            found[key] = run.sums().digest()
            assert run.manifest is not None
            assert run.manifest.digest == found[key], f"{key}: its manifest says something else"
    return found
