"""MLflow's own tables, where the tracking address is a database.

MLflow writes a point through its object mapper, at some thousand a second; the same rows by plain
SQL go in ten to fifty times as fast, and what is there can be asked for without all that hangs on
it. Only for versions of the schema that were tested (`capabilities.TESTED_SCHEMAS`): what a row
means is read from store/tracking/dbmodels/models.py and sqlalchemy_store.py of MLflow 3.17.

Every batch is one transaction, and rows that are there already are left alone, so that a load may
be killed at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import sqlalchemy
from sqlalchemy import bindparam, text

from migration_pipeline.targets.mlflow.capabilities import TABLE_BATCH
from migration_pipeline.targets.mlflow.metrics import FoundRun
from migration_pipeline.targets.remote.pieces import Piece

_PAGE = 50_000
_BUSY_SECONDS = 20
"""As MLflow waits for another writer of an SQLite file (store/db/utils.py, busy_timeout)."""
_COLUMNS = "key, value, timestamp, step, is_nan, run_uuid"
_INTO_SQLITE = f"INSERT OR IGNORE INTO metrics ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
# One statement with five arrays: rows as such take several times as long on their way.
_INTO_POSTGRES = text(
    f"INSERT INTO metrics ({_COLUMNS}) SELECT k, v, t, s, n, :run FROM unnest("
    "CAST(:keys AS text[]), CAST(:values AS float8[]), CAST(:times AS bigint[]), "
    "CAST(:steps AS bigint[]), CAST(:nans AS boolean[])) AS point(k, v, t, s, n)"
)
# Looking for each row first costs a quarter more, and there is nothing to be found as a rule.
_INTO_POSTGRES_AGAIN = text(f"{_INTO_POSTGRES} ON CONFLICT DO NOTHING")
# What a crash of the server loses then are the last batches; a later commit that waits, as that of
# the mark of completion, waits for them too.
_NO_WAITING = text("SET LOCAL synchronous_commit = off")
# As `_update_latest_metrics_if_necessary` compares: step, time, value, and NaN is 0.
_LATEST = text(
    f"INSERT INTO latest_metrics ({_COLUMNS}) SELECT {_COLUMNS} FROM (SELECT m.*, row_number() "
    "OVER (PARTITION BY m.key ORDER BY m.timestamp DESC, m.value DESC, m.is_nan) AS place "
    "FROM metrics m JOIN (SELECT key AS last_key, max(step) AS last_step FROM metrics "
    "WHERE run_uuid = :run GROUP BY key) AS last ON m.key = last_key AND m.step = last_step "
    "WHERE m.run_uuid = :run) AS ranked WHERE place = 1 "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, "
    "timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan"
)
# An entry of SQLite's index over run_uuid ends with the rowid: pages need no sorting, and between
# them nobody who wants to write has to wait.
_OUT_OF_SQLITE = (
    "SELECT rowid, key, step, timestamp, value, is_nan FROM metrics "
    "WHERE run_uuid = :run AND rowid > :after {only} ORDER BY rowid LIMIT :most"
)
_OUT_OF_POSTGRES = (
    "SELECT 0, key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = :run {only}"
)
_RUNS = (
    "SELECT r.run_uuid, r.experiment_id, r.start_time, r.artifact_uri, t.key, t.value "
    "FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
    "WHERE r.experiment_id IN :experiments AND r.lifecycle_stage = 'active'"
)
_ONE = " AND r.run_uuid IN (SELECT run_uuid FROM tags WHERE key = :name AND value = :wanted)"


class Tables:
    """One database. A `metrics.Metrics`, and a listing of runs."""

    batch = TABLE_BATCH

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._sqlite = uri.startswith("sqlite:")

    @cached_property
    def _engine(self) -> sqlalchemy.Engine:
        options = {"timeout": _BUSY_SECONDS} if self._sqlite else {}
        # Between two uses a firewall may have closed what nobody used.
        engine = sqlalchemy.create_engine(self._uri, connect_args=options, pool_pre_ping=True)
        if self._sqlite:

            @sqlalchemy.event.listens_for(engine, "connect")
            def as_mlflow_does(connection: Any, _: Any) -> None:
                connection.execute("PRAGMA foreign_keys = ON")

        return engine

    @property
    def schema(self) -> str:
        """The version that alembic wrote into it."""
        with self._engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return str(found)

    def send(self, run_id: str, pieces: Sequence[Piece]) -> None:
        if self._sqlite:
            rows = [row for piece in pieces for row in _rows(run_id, piece)]
            with self._engine.begin() as connection:
                connection.exec_driver_sql(_INTO_SQLITE, rows)
            return
        keys = ",".join(
            ",".join([f'"{piece.key.translate(_ESCAPED)}"'] * len(piece)) for piece in pieces
        )
        nans = [np.isnan(piece.values) for piece in pieces]
        values = [np.where(nan, 0.0, piece.values) for nan, piece in zip(nans, pieces, strict=True)]
        arrays = {
            "run": run_id,
            "keys": f"{{{keys}}}",
            "values": _array(values),
            "times": _array([piece.times for piece in pieces]),
            "steps": _array([piece.steps for piece in pieces]),
            "nans": _array(nans),
        }
        try:
            self._into_postgres(_INTO_POSTGRES, arrays)
        except sqlalchemy.exc.IntegrityError:
            self._into_postgres(_INTO_POSTGRES_AGAIN, arrays)

    def _into_postgres(self, statement: Any, arrays: dict[str, str]) -> None:
        with self._engine.begin() as connection:
            connection.execute(_NO_WAITING)
            connection.execute(statement, arrays)

    def finish(self, run_id: str) -> None:
        """Fills what MLflow shows as the latest values."""
        with self._engine.begin() as connection:
            connection.execute(_LATEST, {"run": run_id})

    def points(self, run_id: str, keys: Collection[str], others: bool) -> Iterator[Piece]:
        asked: dict[str, Any] = {"run": run_id}
        # A sign before the column keeps SQLite at the index over the run.
        only = "" if others else f"AND {'+' if self._sqlite else ''}key IN :keys"
        if not others:
            asked["keys"] = list(keys)
        pages = self._pages_of_sqlite if self._sqlite else self._pages_of_postgres
        for rows in pages(asked, only):
            yield from _pieces(rows)

    def _pages_of_sqlite(self, asked: dict[str, Any], only: str) -> Iterator[Sequence[Any]]:
        query = _query(_OUT_OF_SQLITE.format(only=only), asked)
        asked |= {"after": -1, "most": _PAGE}
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(query, asked).fetchall()
            if rows:
                yield rows
            if len(rows) < _PAGE:
                return
            asked["after"] = rows[-1][0]

    def _pages_of_postgres(self, asked: dict[str, Any], only: str) -> Iterator[Sequence[Any]]:
        query = _query(_OUT_OF_POSTGRES.format(only=only), asked)
        with self._engine.connect() as connection:
            # The server keeps the rows; who wants to write there need not wait for a reader.
            streaming = connection.execution_options(stream_results=True, max_row_buffer=_PAGE)
            yield from streaming.execute(query, asked).partitions(_PAGE)

    def runs(
        self, experiments: Collection[str], one: tuple[str, str] | None = None
    ) -> list[FoundRun]:
        """All runs of these experiments that are not in the trash; `one`: with this tag."""
        query = text(_RUNS + (_ONE if one else "")).bindparams(
            bindparam("experiments", expanding=True)
        )
        asked: dict[str, Any] = {"experiments": [int(e) for e in experiments]}
        if one:
            asked["name"], asked["wanted"] = one
        found: dict[str, FoundRun] = {}
        with self._engine.connect() as connection:
            for run, experiment, start, artifacts, key, value in connection.execute(query, asked):
                if run not in found:
                    found[run] = FoundRun(run, str(experiment), start or 0, artifacts or "", {})
                found[run].tags[key] = value or ""
        return list(found.values())

    def close(self) -> None:
        with contextlib.suppress(KeyError):
            self.__dict__.pop("_engine").dispose()


def _query(sql: str, asked: dict[str, Any]) -> Any:
    query = text(sql)
    return query.bindparams(bindparam("keys", expanding=True)) if "keys" in asked else query


def _rows(run_id: str, piece: Piece) -> Iterator[tuple[Any, ...]]:
    nan = np.isnan(piece.values)
    values = np.where(nan, 0.0, piece.values) if nan.any() else piece.values
    return zip(
        repeat(piece.key, len(piece)),
        values.tolist(),
        piece.times.tolist(),
        piece.steps.tolist(),
        nan.tolist(),
        repeat(run_id, len(piece)),
        strict=True,
    )


_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\"})


def _array(parts: Sequence[np.ndarray]) -> str:
    """PostgreSQL's form of an array; the repr of a double is exact."""
    return "{" + ",".join(str(part.tolist())[1:-1] for part in parts) + "}"


def _pieces(rows: Sequence[Any]) -> Iterator[Piece]:
    """Rows cut where the key changes."""
    _, keys, steps, times, values, nans = zip(*rows, strict=True)
    names = np.array(keys, dtype=object)
    numbers = np.array(values, dtype=np.float64)
    numbers[np.array(nans, dtype=bool)] = np.nan
    all_steps, all_times = np.array(steps, dtype=np.int64), np.array(times, dtype=np.int64)
    cuts = (np.flatnonzero(names[1:] != names[:-1]) + 1).tolist()
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        part = slice(start, stop)
        yield Piece(keys[start], all_steps[part], all_times[part], numbers[part])
