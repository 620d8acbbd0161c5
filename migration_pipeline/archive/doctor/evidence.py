"""What is known of all runs of a project, in a database of its own, so that runs can be compared.

A project may have millions of attributes; they lie in a DuckDB database with a bound on memory,
which spills to a temporary directory, and every comparison is a query. Both go with the `with`
block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from migration_pipeline.archive.doctor.errors_file import Failure
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.schema import FILE_TYPES, PARAMETER_TYPES

MEMORY = "160MB"
_ROWS_AT_ONCE, _RUNS_AT_ONCE = 100_000, 200
_TABLES = """
create table runs (run integer, id varchar, kind varchar, adopted boolean, name varchar,
                   failed boolean);
create table attributes (run integer, path varchar, type varchar, rows bigint, valued bigint,
                         step_max bigint);
create table claims (run integer, root varchar, file varchar, attribute varchar, step bigint);
create table found (root varchar, file varchar, size bigint);
create table failures (id varchar, attribute varchar, error varchar);
create table classes (type varchar, class varchar);
"""
CLASSES = {
    "float_series": "metrics",
    "string_series": "text",
    "histogram_series": "histograms",
    **dict.fromkeys(sorted(FILE_TYPES), "files"),
    **dict.fromkeys(sorted(PARAMETER_TYPES), "parameters"),
}
"""Attribute type → class, by which neptune-exporter asks for it."""


class Evidence:
    """The database; `add` takes runs in any order and numbers them."""

    def __enter__(self) -> Evidence:
        self._open = ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))
        config: Any = {"memory_limit": MEMORY, "threads": "2", "temp_directory": str(folder)}
        self._db = duckdb.connect(config=config)
        self._open.callback(self._db.close)
        self._db.execute(_TABLES)
        self._db.executemany("insert into classes values (?, ?)", list(CLASSES.items()))
        self._waiting: dict[str, list[pa.RecordBatch]] = {"attributes": [], "claims": []}
        self._runs: list[tuple[Any, ...]] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def add(self, facts: RunFacts) -> None:
        """Takes what is to be compared, and removes it from the facts."""
        run, system = len(self._runs), facts.system
        name, failed = system.get("sys/name"), system.get("sys/failed")
        adopted = facts.attributes is not None
        self._runs.append(
            (run, facts.key.run, facts.key.kind, adopted, str(name or ""), failed is True)
        )
        if facts.attributes is not None:
            self._wait("attributes", run, facts.attributes)
        for claims in facts.claims:
            root = pa.array([str(facts.files_root)] * claims.num_rows, pa.string())
            self._wait("claims", run, claims.add_column(0, "root", root))
        facts.attributes, facts.claims = None, []

    def add_failures(self, failures: Iterable[Failure]) -> None:
        rows = ((f.run, f.attribute, f.error) for f in failures)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            columns = [pa.array(column, pa.string()) for column in zip(*some, strict=True)]
            batch = pa.RecordBatch.from_arrays(columns, ["id", "attribute", "error"])
            self._insert("failures", batch, "id, attribute, error")

    def add_found(self, root: Location, files: Iterable[tuple[str, int]]) -> None:
        """Files that lie below a directory: path relative to it, bytes."""
        rows = iter(files)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            paths, sizes = zip(*some, strict=True)
            batch = pa.RecordBatch.from_arrays(
                [pa.array(paths, pa.string()), pa.array(sizes, pa.int64())], ["file", "size"]
            )
            self._insert("found", batch, "?, file, size", root)

    def close_lists(self) -> None:
        """Call it when all runs were added, before any query."""
        for table in self._waiting:
            self._flush(table)
        for start in range(0, len(self._runs), _ROWS_AT_ONCE):
            columns = zip(*self._runs[start : start + _ROWS_AT_ONCE], strict=True)
            names = ["run", "id", "kind", "adopted", "name", "failed"]
            batch = pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names)
            self._insert("runs", batch, "*")

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of an answer."""
        return self._db.execute(query, list(values)).fetchall()

    def run(self, statement: str) -> None:
        self._db.execute(statement)

    def _wait(self, table: str, run: int, rows: pa.RecordBatch) -> None:
        """An insertion costs milliseconds, so those of many runs are one."""
        numbers = pa.array([run] * rows.num_rows, pa.int32())
        waiting = self._waiting[table]
        waiting.append(rows.add_column(0, "run", numbers))
        if len(waiting) >= _RUNS_AT_ONCE or sum(map(len, waiting)) >= _ROWS_AT_ONCE:
            self._flush(table)

    def _flush(self, table: str) -> None:
        if self._waiting[table]:
            self._insert(table, pa.Table.from_batches(self._waiting[table]), "*")
        self._waiting[table] = []

    def _insert(self, table: str, rows: Any, columns: str, root: Location | None = None) -> None:
        if not rows.num_rows:
            return
        self._db.register("given", pa.table(rows) if isinstance(rows, pa.RecordBatch) else rows)
        values = [] if root is None else [str(root)]
        self._db.execute(f"insert into {table} select {columns} from given", values)
        self._db.unregister("given")
