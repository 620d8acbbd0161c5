"""The sums over a project's parts, made by DuckDB.

Only the columns that are counted are read: paths, types, steps, times, the values of some `sys`
attributes, and the paths of files. What is kept of a set of parts lies in DuckDB's tables, so
memory depends neither on the number of points nor on that of runs.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.location import Location, files_below, stats
from migration_pipeline.archive.schema import FILE_TYPES, SERIES_TYPES
from migration_pipeline.archive.store import StorePath
from migration_pipeline.archive.summary.figures import (
    ProjectFigures,
    Range,
    RunFigures,
    Steps,
    TypeFigures,
)
from migration_pipeline.archive.summary.listing import Problem, list_runs
from migration_pipeline.archive.summary.reading import PARTS, PartReader, database, insert

DISTINCT_LIMIT = 10_000_000
"""Different steps are counted up to here: what is counted has to be remembered."""
BIGGEST = 10
_BY_BYTES = "parquet_bytes + coalesce(size, 0) DESC, run"
_FILES_AT_ONCE = 50_000

_TABLES = """
CREATE TABLE parts (part VARCHAR, run INTEGER);
CREATE TABLE runs (run INTEGER, parquet_bytes BIGINT, parts INTEGER);
CREATE TABLE totals (run INTEGER, type VARCHAR, attributes BIGINT, "rows" BIGINT, stepped BIGINT,
    least DECIMAL(18,6), most DECIMAL(18,6), first BIGINT, last BIGINT);
CREATE TABLE paths (type VARCHAR, path VARCHAR, runs BIGINT, "rows" BIGINT);
CREATE TABLE series (run INTEGER, path VARCHAR, points BIGINT, least DECIMAL(18,6),
    most DECIMAL(18,6));
CREATE TABLE steps (step DECIMAL(18,6));
CREATE TABLE facts (run INTEGER, path VARCHAR, text VARCHAR, time BIGINT, flag BOOLEAN,
    tags VARCHAR[]);
CREATE TABLE files (run INTEGER, path VARCHAR, size BIGINT);
"""
"""Times: ms since 1970 UTC. A size of NULL: the file is not there. `series`: of floats."""

_COUNT = f"""
CREATE OR REPLACE TEMP TABLE counted AS
WITH of_parts AS (
    SELECT part, attribute_type AS type, attribute_path AS path, count(*) AS "rows",
        count(step) AS stepped, min(step) AS least, max(step) AS most,
        epoch_ms(min(timestamp)) AS first, epoch_ms(max(timestamp)) AS last
    FROM {PARTS} GROUP BY ALL)
SELECT run, type, path, sum("rows") AS "rows", sum(stepped) AS stepped, min(least) AS least,
    max(most) AS most, min(first) AS first, max(last) AS last
FROM of_parts JOIN parts USING (part) GROUP BY ALL
"""
_FOLD = """
INSERT INTO totals SELECT run, type, count(*), sum("rows"), sum(stepped), min(least), max(most),
    min(first), max(last) FROM counted GROUP BY ALL;
INSERT INTO paths SELECT type, path, count(*), sum("rows") FROM counted GROUP BY ALL;
INSERT INTO series SELECT run, path, stepped, least, most FROM counted
    WHERE type = 'float_series' AND stepped > 0;
"""
_STEPS = f"""
INSERT INTO steps SELECT step FROM (SELECT DISTINCT step FROM {PARTS} WHERE step IS NOT NULL)
ANTI JOIN steps USING (step)
"""
_FACTS = f"""
INSERT INTO facts SELECT run, attribute_path, string_value, epoch_ms(datetime_value), bool_value,
    string_set_value FROM {PARTS} JOIN parts USING (part)
WHERE attribute_path > 'sys/' AND attribute_path < 'sys0' AND list_contains(['sys/name', 'sys/id',
    'sys/owner', 'sys/creation_time', 'sys/modification_time', 'sys/failed', 'sys/trashed',
    'sys/tags', 'sys/group_tags'], attribute_path)
"""
"""With the two bounds it takes half the time that it takes with the list alone (DuckDB 2.0)."""
_FILES = f"""
CREATE OR REPLACE TEMP TABLE named AS
WITH once AS (
    SELECT DISTINCT run, file_value.path AS path FROM {PARTS} JOIN parts USING (part)
    WHERE attribute_type IN {tuple(sorted(FILE_TYPES))} AND file_value.path IS NOT NULL)
SELECT run, path, row_number() OVER () AS number FROM once
"""
_RUNS = f"""
WITH summed AS (
    SELECT run, sum(attributes) AS attributes, sum("rows") AS "rows",
        sum("rows") FILTER (type IN {tuple(sorted(SERIES_TYPES))}) AS points,
        min(least) AS least, max(most) AS most, min(first) AS first, max(last) AS last
    FROM totals GROUP BY run),
said AS (
    SELECT run, min(text) FILTER (path = 'sys/name') AS name,
        min(text) FILTER (path = 'sys/id') AS sys_id,
        min(text) FILTER (path = 'sys/owner') AS owner,
        min(time) FILTER (path = 'sys/creation_time') AS created,
        max(time) FILTER (path = 'sys/modification_time') AS modified,
        bool_or(flag) FILTER (path = 'sys/failed') AS failed,
        bool_or(flag) FILTER (path = 'sys/trashed') AS trashed,
        flatten(list(tags ORDER BY path DESC) FILTER (path IN ('sys/tags', 'sys/group_tags')))
            AS tags
    FROM facts GROUP BY run),
named AS (
    SELECT run, count(size) AS files, count(*) - count(size) AS missing, sum(size) AS size
    FROM files GROUP BY run)
SELECT run, parts, parquet_bytes, coalesce(attributes, 0), coalesce("rows", 0),
    coalesce(points, 0), least, most, first, last, coalesce(files, 0), coalesce(missing, 0),
    coalesce(size, 0), coalesce(name, ''), coalesce(sys_id, ''), coalesce(owner, ''), created,
    modified, failed, trashed, coalesce(tags, [])
FROM runs LEFT JOIN summed USING (run) LEFT JOIN said USING (run) LEFT JOIN named USING (run)
"""
_TYPES = """
WITH of_paths AS (SELECT type, count(DISTINCT path) AS attributes FROM paths GROUP BY type),
of_runs AS (SELECT type, sum("rows") AS "rows", sum(stepped) AS stepped, min(least) AS least,
    max(most) AS most FROM totals GROUP BY type)
SELECT type, attributes, "rows"::BIGINT, stepped::BIGINT, least, most
FROM of_paths JOIN of_runs USING (type) ORDER BY type
"""
_ALL_FILES = """
WITH once AS (SELECT DISTINCT path, size FROM files)
SELECT count(size), count(*) - count(size), coalesce(sum(size), 0)::BIGINT FROM once
"""


@contextlib.contextmanager
def aggregate(archive: Archive, project: str) -> Iterator[Aggregates]:
    """Reads a project; what is yielded can be asked until the block ends."""
    with database() as connection:
        yield Aggregates(connection, archive, project)


class Aggregates:
    """A project's tables, filled, and the questions that are asked of them.

    Args:
        problems: what was left out or looks wrong, so far.
    """

    def __init__(self, connection: Any, archive: Archive, project: str) -> None:
        listing = list_runs(archive, project)
        self.project = project
        self.listed = listing.runs
        self.problems: list[Problem] = listing.problems
        self._unreadable = listing.unreadable
        self._count_steps = True
        self.connection = connection
        connection.execute(_TABLES)
        insert(
            connection,
            "runs",
            run=range(len(self.listed)),
            parquet_bytes=[run.parquet_bytes for run in self.listed],
            parts=[len(run.parts) for run in self.listed],
        )
        self.reader = PartReader(connection, self.listed, self.problems)
        for _ in self.reader.each(range(len(self.listed)), self._count):
            pass

    def _count(self, files: list[str]) -> None:
        given = {"files": files}
        self.connection.execute(_COUNT, given)
        self.connection.execute(_FOLD)
        self.connection.execute(_FACTS, given)
        self.connection.execute(_FILES, given)
        self._measure_files()
        if self._count_steps:
            self.connection.execute(_STEPS, given)
            self._count_steps = self._one("SELECT count(*) FROM steps")[0] <= DISTINCT_LIMIT

    def _measure_files(self) -> None:
        """Asks the file system for the size of every file in the table `named`."""
        named = self._one("SELECT count(*) FROM named")[0]
        for start in range(0, named, _FILES_AT_ONCE):
            rows = self.connection.execute(
                "SELECT run, path FROM named WHERE number > ? AND number <= ?",
                [start, start + _FILES_AT_ONCE],
            ).fetchall()
            runs = [run for run, _ in rows]
            roots = [self.listed[run].files_root for run in runs]
            names = [path for _, path in rows]
            paths = [os.path.join(str(root), path) for root, path in zip(roots, names, strict=True)]
            if any(isinstance(root, StorePath) for root in roots):
                sizes = _stored_sizes(roots, names)
            else:
                sizes = [_size(there) if _is_inside(path) else None
                         for there, path in zip(paths, names, strict=True)]  # fmt: skip
            insert(self.connection, "files", run=runs, path=paths, size=pa.array(sizes, pa.int64()))

    def runs(self, order: str = "run", limit: int | None = None) -> Iterator[RunFigures]:
        """The runs, in the listing's order or another; one at a time.

        Args:
            order: SQL after ORDER BY.
        """
        with self.connection.cursor() as cursor:
            until = "" if limit is None else f"LIMIT {limit}"
            cursor.execute(f"{_RUNS} ORDER BY {order} {until}")
            while some := cursor.fetchmany(1000):
                yield from (self._run(*row) for row in some)

    def _run(self, run: int, parts: int, parquet_bytes: int, *row: Any) -> RunFigures:
        attributes, rows, points, least, most, first, last, files, missing, size, *facts = row
        name, sys_id, owner, created, modified, failed, trashed, tags = facts
        return RunFigures(
            key=self.listed[run].key,
            adopted=self.listed[run].adopted,
            parts=parts,
            parquet_bytes=parquet_bytes,
            attributes=int(attributes),
            rows=int(rows),
            points=int(points),
            steps=Range(least, most),
            times=Range(first, last),
            files=files,
            missing_files=missing,
            file_bytes=int(size),
            name=name,
            sys_id=sys_id,
            owner=owner,
            created=created,
            modified=modified,
            failed=failed,
            trashed=trashed,
            tags=tuple(tags),
        )

    def float_series(self) -> Iterator[tuple[str, int, int]]:
        """Path, number of runs and number of points of every float series."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                """SELECT path, sum(runs)::BIGINT, sum("rows")::BIGINT FROM paths
                WHERE type = 'float_series' GROUP BY path ORDER BY path"""
            )
            while some := cursor.fetchmany(10_000):
                yield from some

    def figures(self) -> ProjectFigures:
        """The sums over all runs."""
        types = tuple(
            TypeFigures(type_, attributes, rows, stepped, Range(least, most))
            for type_, attributes, rows, stepped, least, most in self.connection.execute(
                _TYPES
            ).fetchall()
        )
        stepped, least, most, first, last = self._one(
            "SELECT coalesce(sum(stepped), 0)::BIGINT, min(least), max(most), min(first), "
            "max(last) FROM totals"
        )
        distinct = self._one("SELECT count(*) FROM steps")[0] if self._count_steps else None
        created = self._one(
            "SELECT min(time), max(time) FROM facts WHERE path = 'sys/creation_time'"
        )
        files, missing, file_bytes = self._one(_ALL_FILES)
        return ProjectFigures(
            project=self.project,
            kinds=dict(Counter(run.key.kind for run in self.listed)),
            adopted=sum(run.adopted for run in self.listed),
            unreadable=self._unreadable,
            parts=sum(len(run.parts) for run in self.listed),
            parquet_bytes=sum(run.parquet_bytes for run in self.listed),
            attributes=sum(t.attributes for t in types),
            rows=sum(t.rows for t in types),
            points=sum(t.rows for t in types if t.type in SERIES_TYPES),
            types=types,
            steps=Steps(stepped, distinct, Range(least, most)),
            times=Range(first, last),
            created=Range(*created),
            files=files,
            missing_files=missing,
            file_bytes=file_bytes,
            biggest=tuple(self.runs(_BY_BYTES, BIGGEST)),
            problems=tuple(self.problems),
        )

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self.connection.execute(query).fetchone()
        return row


def _is_inside(path: str) -> bool:
    """What leads out of the directory of files is none of the archive's, if it is there."""
    plain = os.path.normpath(path)
    return plain != "." and plain.split(os.sep)[0] != ".." and not os.path.isabs(plain)


def _stored_sizes(roots: Sequence[Location], names: Sequence[str]) -> list[int | None]:
    """The same of files of which some lie on object stores, from listings."""
    sizes: list[int | None] = [None] * len(names)
    for root in set(roots):
        at = [i for i, own in enumerate(roots) if own == root and _is_inside(names[i])]
        for i, found in zip(at, stats(root, [names[i] for i in at]), strict=True):
            if found is not None and stat.S_ISDIR(found.st_mode):
                inside = files_below(root / names[i])
                sizes[i] = sum((root / names[i] / each).stat().st_size for each in inside)
            elif found is not None:
                sizes[i] = found.st_size
    return sizes


def _size(path: str) -> int | None:
    """Bytes of a file, or of what lies in a directory (neptune-exporter unpacks file sets).

    None: it is not there.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_size
        inside = (os.path.join(at, name) for at, _, names in os.walk(path) for name in names)
        return sum(os.stat(each).st_size for each in inside)
    except (OSError, ValueError):  # a path may hold anything, a zero byte too
        return None
