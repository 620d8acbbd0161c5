"""An archive as the content of a server.

Every row becomes an attribute or a point with the value it has, and nothing is added: what is
served and exported again is the same archive. Rows without a value, which other tools write for
attributes that a run does not have, are none. Files stay where they are; their size is that on
disk, their MIME type is guessed from the name.
"""

from __future__ import annotations

import itertools
import logging
import mimetypes
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from migration_pipeline.archive.archive import Archive, ArchivedRun
from migration_pipeline.archive.location import local
from migration_pipeline.archive.schema import MICROS, VALUE_COLUMN, micros_from_steps

from .archive_store2 import restore
from .series import FloatSeries, ObjectSeries
from .store import (
    OBJECT_SERIES_TYPES,
    SCALAR_TYPES,
    Attribute,
    FileValue,
    HistogramValue,
    Run,
    Store,
)

_log = logging.getLogger(__name__)


_ARCHIVE = "the archive that is served"


def load_archive(store: Store, data: Path, files: Path) -> None:
    """Add all projects of an archive to the store.

    Runs are created in the order of `sys/creation_time`. A run is addressed by its `sys/id`, or by
    a free one where it has none or another run has the same; by `sys/custom_run_id`, or its run id
    in the archive. Forks are tied by `sys/forking/parent` (a sys/id or run id) and
    `sys/forking/step`. A project of which an object was exported from 2.x is one of 2.x, with its
    models, model versions and the project itself.

    Raises the archive's errors for a part that is damaged.
    """
    archive = Archive(data, files)
    for identifier in archive.projects():
        runs = archive.runs(identifier).values()
        store.project(identifier, version=2 if any(map(_is_of_2, runs)) else 3)
        loaded = [_load_run(store, found) for found in runs]
        loaded.sort(key=_creation_order)
        with store.lock:
            _address(store, identifier, loaded)


def _load_run(store: Store, found: ArchivedRun) -> Run:
    project = store.project(found.key.project)
    run = Run(project, found.key.run, sys_id="", kind=found.key.kind)
    reader = _Rows(run, found)
    for batch in found.batches():
        reader.add(batch)
    for attribute in run.attributes.values():
        if isinstance(attribute.value, FloatSeries | ObjectSeries):
            attribute.value.sort()
    if _is_of_2(found):
        restore(run, reader.listed)
    return run


def _is_of_2(found: ArchivedRun) -> bool:
    return found.manifest is not None and found.manifest.source == "neptune2"


class _Rows:
    """Puts batches of one run's rows into the run.

    `listed` are the file sets and artifacts of 2.x, which have several files: path → type, files.
    """

    def __init__(self, run: Run, found: ArchivedRun) -> None:
        self.run = run
        self.found = found
        self.listed: dict[str, tuple[str, list[Path]]] = {}
        self._names = {f.path: f.name or "" for f in found.manifest.files} if found.manifest else {}

    def add(self, batch: pa.RecordBatch) -> None:
        columns = {field.name: batch.column(i) for i, field in enumerate(batch.schema)}
        micros, _ = micros_from_steps(columns["step"])
        # In one division, millionths beyond 2**53 would be rounded twice.
        steps = micros // MICROS + (micros % MICROS) / MICROS
        times = _milliseconds(columns["timestamp"])
        for type_, path, rows in _groups(columns):
            column = columns[VALUE_COLUMN[type_]]
            if column.null_count:
                rows = rows[np.asarray(column.is_valid())[rows]]
            if not len(rows) or not self._same_type(path, type_):
                continue
            if type_ == "float_series":
                self._add_floats(path, column, rows, steps, times)
            elif type_ in OBJECT_SERIES_TYPES:
                self._add_objects(path, type_, column, rows, steps, times)
            elif type_ in ("file_set", "artifact") and _is_of_2(self.found):
                files = self.listed.setdefault(path, (type_, []))[1]
                for one in self._values(type_, column, rows):
                    files.append(local(self.found.file(one.path), _ARCHIVE))
            elif type_ in SCALAR_TYPES:
                for value in self._values(type_, column, rows):
                    self.run.attributes[path] = Attribute(type_, value)

    def _same_type(self, path: str, type_: str) -> bool:
        before = self.run.attributes.get(path)
        if before is None or before.type == type_:
            return True
        _log.warning(
            "run %s: %r is served as %s; its rows of type %s are not, as a run of Neptune has "
            "one type a path",
            self.found.key,
            path,
            before.type,
            type_,
        )
        return False

    def _add_floats(
        self,
        path: str,
        column: pa.Array,
        rows: NDArray[np.int64],
        steps: NDArray[np.float64],
        times: NDArray[np.int64],
    ) -> None:
        values = np.asarray(column.fill_null(0.0))
        series = self.run.float_series(path)
        series.append_unordered(steps[rows], times[rows], values[rows])

    def _add_objects(
        self,
        path: str,
        type_: str,
        column: pa.Array,
        rows: NDArray[np.int64],
        steps: NDArray[np.float64],
        times: NDArray[np.int64],
    ) -> None:
        series = self.run.object_series(path, type_)
        for row, value in zip(rows, self._values(type_, column, rows), strict=True):
            series.append(float(steps[row]), int(times[row]), value)

    def _values(self, type_: str, column: pa.Array, rows: NDArray[np.int64]) -> Iterator[Any]:
        """Values in the store's terms; every row has one."""
        if type_ == "datetime":
            column = column.cast(pa.int64())
        for value in column.take(pa.array(rows)).to_pylist():
            if VALUE_COLUMN[type_] == "file_value":
                yield self._file(value["path"] or "")
            elif type_ == "histogram_series":
                yield HistogramValue(
                    value["type"] or "", tuple(value["edges"] or ()), tuple(value["values"] or ())
                )
            else:
                yield tuple(value) if type_ == "string_set" else value

    def _file(self, path: str) -> FileValue:
        file = local(self.found.file(path), _ARCHIVE)
        project = self.run.project
        project.store.blobs.link(project.identifier, path, file)
        size = file.stat().st_size if file.is_file() else 0
        mime_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        name = self._names.get(path, "")
        return FileValue(path, size, mime_type, name, PurePosixPath(name).suffix[1:])


def _groups(columns: dict[str, pa.Array]) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """(type, path, row numbers) of the attributes in a batch, rows in their order."""
    types, paths = columns["attribute_type"], columns["attribute_path"]
    path_codes = np.asarray(paths.indices).astype(np.int64)
    codes = np.asarray(types.indices).astype(np.int64) * len(paths.dictionary) + path_codes
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    for rows in np.split(order, edges):
        if len(rows):
            yield types[int(rows[0])].as_py(), paths[int(rows[0])].as_py(), rows


def _milliseconds(column: pa.Array) -> NDArray[np.int64]:
    """0 where there is none: neptune-exporter gives files of 2.x no time."""
    return np.asarray(column.cast(pa.int64()).fill_null(0))


def _text(run: Run, path: str) -> str | None:
    found = run.attributes.get(path)
    return found.value if found is not None and found.type == "string" else None


def _creation_order(run: Run) -> tuple[float, int, str]:
    created = run.attributes.get("sys/creation_time")
    number = re.search(r"(\d+)$", _text(run, "sys/id") or "")
    return (
        created.value if created is not None and created.type == "datetime" else float("inf"),
        int(number[1]) if number else 0,
        run.run_id,
    )


def _address(store: Store, identifier: str, runs: list[Run]) -> None:
    """Give every run its ids, free ones last, and register it; then tie the forks."""
    project = store.project(identifier)
    taken = {*project.runs}
    for run in runs:
        own = _text(run, "sys/id") or (run.run_id if project.version == 2 else None)
        if own and "/" not in own and own not in taken:
            run.sys_id = own
            taken.add(own)
            project.key = own.split("-")[0] if project.version == 2 else own.rsplit("-", 1)[0]
    numbers = itertools.count(1)
    for run in runs:
        while not run.sys_id:
            name = f"{project.key}-{next(numbers)}"
            run.sys_id = "" if name in taken else name
        if run.kind == "project":
            run.uuid = project.uuid
    named = {run.run_id: run for run in reversed(runs)}
    named.update((run.sys_id, run) for run in runs)
    for run in runs:
        run.run_id = _text(run, "sys/custom_run_id") or run.run_id
        named.setdefault(run.run_id, run)
        project.add(run)
    for run in runs:
        _tie(run, named)


def _tie(run: Run, named: dict[str, Run]) -> None:
    parent = named.get(_text(run, "sys/forking/parent") or "")
    step = run.attributes.get("sys/forking/step")
    if parent is not None and parent is not run:
        run.parent = parent
        if step is not None and step.type in ("float", "int"):
            run.fork_step = float(step.value)
