"""DuckDB over a project's parts: some at a time, and around those that cannot be read."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import duckdb
import pyarrow as pa

from migration_pipeline.archive.location import Location
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.store_files import on_this_machine
from migration_pipeline.archive.summary.listing import ListedRun, Problem

PARTS_AT_ONCE = 128
FETCHED_BYTES = 512 << 20
"""Of parts that lie on an object store, near so many are on this machine at once, or one run's."""
MEMORY_LIMIT = "192MB"
PARTS = "read_parquet($files, filename = 'part', hive_partitioning = false)"
"""The rows of some parts; the column `part` says of which. The table `parts` has the run of each:
its place in the listing."""

Connection = duckdb.DuckDBPyConnection
T = TypeVar("T")


@contextlib.contextmanager
def database() -> Iterator[Connection]:
    """A DuckDB in memory that goes to a temporary directory rather than beyond its limit.

    It loads no extension from anywhere, and removes what it wrote.
    """
    with tempfile.TemporaryDirectory() as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "threads": min(4, os.cpu_count() or 1),
            "temp_directory": spill,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            # It takes a Parquet column's bounds, which leave NaN out, for those of all its values,
            # and then answers isnan() by no, and v < 1e300 by yes, without looking (2.0.0).
            "disabled_optimizers": "statistics_propagation",
        }
        with duckdb.connect(config=settings) as connection:
            yield connection


class PartReader:
    """Runs a piece of work over the parts of runs, and leaves out what makes it fail.

    Args:
        problems: what was left out is added here.
    """

    def __init__(
        self, connection: Connection, runs: Sequence[ListedRun], problems: list[Problem]
    ) -> None:
        self._connection = connection
        self._runs = runs
        self._problems = problems
        self._bad: set[Location] = set()

    def each(self, runs: Sequence[int], work: Callable[[list[str]], T]) -> Iterator[T]:
        """What `work` makes of each set of parts; all parts of a run are in one set.

        Args:
            runs: places in the listing.
            work: gets the value of `$files`. It is called inside a transaction, and again with
                fewer files when DuckDB could not read them.
        """
        chunk: list[int] = []
        parts = fetched = 0
        for run in runs:
            chunk.append(run)
            parts += len(self._runs[run].parts)
            if any(isinstance(part, StorePath) for part in self._runs[run].parts):
                fetched += self._runs[run].parquet_bytes
            if parts >= PARTS_AT_ONCE or fetched >= FETCHED_BYTES:
                yield from self._attempt(chunk, work)
                chunk, parts, fetched = [], 0, 0
        yield from self._attempt(chunk, work)

    def _attempt(self, runs: Sequence[int], work: Callable[[list[str]], T]) -> Iterator[T]:
        parts = {p: run for run in runs for p in self._runs[run].parts if p not in self._bad}
        if not parts:
            return
        with _here(parts) as here:
            try:
                with self._transaction({here[part]: run for part, run in parts.items()}):
                    made = work(list(here.values()))
            except duckdb.OutOfMemoryException:
                raise
            except duckdb.Error as error:
                if len(runs) == 1:
                    self._leave_out(parts, here, work, error)
            else:
                yield made
                return
        middle = (len(runs) + 1) // 2
        yield from self._attempt(runs[:middle], work)
        yield from self._attempt(runs[middle:], work)

    def _leave_out(
        self,
        parts: dict[Location, int],
        here: Mapping[Location, str],
        work: Callable[[list[str]], T],
        error: duckdb.Error,
    ) -> None:
        """Finds the parts of a run that fail alone; when none does, all of them are left out."""
        failing = {}
        for part, run in parts.items():
            try:
                with self._transaction({here[part]: run}):
                    work([here[part]])
                    raise _Probed
            except _Probed:
                continue
            except duckdb.Error as its_own:
                failing[part] = its_own
        for part, why in (failing or dict.fromkeys(parts, error)).items():
            self._bad.add(part)
            said = str(why).strip().splitlines()[0].replace(here[part], str(part))
            what = f"its rows cannot be read ({said}); left out"
            self._problems.append(Problem(str(part), what))

    @contextlib.contextmanager
    def _transaction(self, parts: dict[str, int]) -> Iterator[None]:
        self._connection.begin()
        try:
            insert(self._connection, "parts", part=list(parts), run=list(parts.values()))
            yield
            self._connection.execute("DELETE FROM parts")
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()


@contextlib.contextmanager
def _here(parts: Collection[Location]) -> Iterator[dict[Location, str]]:
    """What DuckDB calls each part: parts on an object store are fetched while the block lasts."""
    if not any(isinstance(part, StorePath) for part in parts):
        yield {part: str(part) for part in parts}
        return
    with contextlib.ExitStack() as fetched:
        yield {part: str(fetched.enter_context(on_this_machine(part))) for part in parts}


class _Probed(Exception):
    """Ends a transaction of which nothing is to be kept."""


def insert(connection: Connection, table: str, **columns: Sequence[object]) -> None:
    """Adds rows, given as columns, to a table."""
    connection.register("given", pa.table(columns))
    try:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM given")
    finally:
        connection.unregister("given")
